//! The verbs, one file each, and how each of them ends.
//!
//! Exit codes: 0 it is as it should be, 1 it failed, 2 the words or the configuration are wrong,
//! 3 there is a difference (`diff`, `plan`), 4 what was waited for did not come in time.

mod agent;
mod approve;
mod ask;
mod bootstrap;
mod compare;
mod delete;
mod described;
mod diff;
mod doctor;
mod document;
mod elsewhere;
mod events;
mod export;
mod get;
mod history;
mod import;
mod kin;
mod local;
mod logs;
mod mask;
mod outlook;
mod pause;
mod plan;
mod render;
mod rollback;
mod schema;
mod sync;
mod tree;
mod ui;
mod validate;
mod wait;

use std::process::ExitCode;

use skiff_shared::desired::Problem;

use crate::args::{Cli, ClusterArgs, Verb};
use crate::cluster::Connection;
use crate::cluster::connection::KubeconfigChoice;
use crate::sandbox::SandboxError;

pub use described::schema as description_schema;

/// Something the person who called must mend: words, files, configuration.
pub const USAGE: u8 = 2;

/// There is a difference.
pub const DIFFERENT: u8 = 3;

/// What was waited for did not come in time.
pub const TIMEOUT: u8 = 4;

/// Carries out a verb.
pub async fn run(cli: Cli) -> ExitCode {
    ui::speak_as(cli.screen);
    let ended = match cli.verb {
        Verb::Agent(arguments) => agent::run(arguments).await,
        Verb::Bootstrap(arguments) => bootstrap::run(*arguments).await,
        Verb::Get(arguments) => get::run(arguments).await,
        Verb::Tree(arguments) => tree::run(arguments).await,
        Verb::Events(arguments) => events::run(arguments).await,
        Verb::Logs(arguments) => logs::run(arguments).await,
        Verb::Plan(arguments) => plan::run(arguments).await,
        Verb::Diff(arguments) => diff::run(arguments).await,
        Verb::Approve(arguments) => approve::run(arguments).await,
        Verb::Sync(arguments) => sync::run(arguments).await,
        Verb::Wait(arguments) => wait::run(arguments).await,
        Verb::History(arguments) => history::run(arguments).await,
        Verb::Rollback(arguments) => rollback::run(arguments).await,
        Verb::Delete(arguments) => delete::run(arguments).await,
        Verb::Pause(arguments) => pause::pause(arguments).await,
        Verb::Resume(arguments) => pause::resume(arguments).await,
        Verb::Export(arguments) => export::run(arguments).await,
        Verb::Import(arguments) => import::run(arguments).await,
        Verb::Render(arguments) => render::run(arguments).await,
        Verb::Validate(arguments) => validate::run(arguments).await,
        Verb::Schema(arguments) => Ok(schema::run(&arguments)),
        Verb::Doctor(arguments) => doctor::run(arguments).await,
        Verb::Version => {
            ui::line(&format!("skiff {}", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
    };
    let ended = ended.unwrap_or_else(|error| failed(&error));
    ui::finish();
    ended
}

/// Tells why a verb failed.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    ui::error(&crate::telemetry::chain(error.as_ref()));
    ExitCode::FAILURE
}

/// Tells what is wrong with a file that the words name.
fn refused(problems: &[Problem]) -> ExitCode {
    problems.iter().for_each(|problem| ui::error(&problem.to_string()));
    ExitCode::from(USAGE)
}

/// Tells why a tool could not be started under limits.
pub fn sandbox_failed(error: &SandboxError) -> ExitCode {
    ui::error(&crate::telemetry::chain(error));
    ExitCode::from(error.exit_code())
}

/// Connects as a person does: with their kubeconfig and context.
async fn connect(cluster: ClusterArgs) -> anyhow::Result<Connection> {
    let ClusterArgs { kubeconfig, context } = cluster;
    let choice = KubeconfigChoice { path: kubeconfig, context, ..KubeconfigChoice::default() };
    Ok(Connection::kubeconfig(choice).await?)
}
