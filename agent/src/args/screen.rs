//! How the program speaks to people: the options that every verb has.

use clap::{Args, ValueEnum};

/// How results are shown, whatever the verb.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Screen")]
pub struct ScreenArgs {
    /// Whether words are coloured; `auto` colours on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = true
    )]
    pub color: Color,
    /// Print long results on a terminal as they are, not through $PAGER
    #[arg(long, global = true)]
    pub no_pager: bool,
    /// Print results and errors alone: no warning, no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// When words are coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}
