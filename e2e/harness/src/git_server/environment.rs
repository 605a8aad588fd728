//! The environment of every `git` process of the lab: the same on every machine, whoever's it is.

use std::env;
use std::ffi::OsString;

/// Name and address of whoever commits in the lab.
pub(super) const AUTHOR: &str = "Ada Lovelace <ada@skiff.example>";

/// Returns the variables of a `git` process that reads nobody's settings and asks nobody anything.
pub(crate) fn fixed() -> Vec<(&'static str, OsString)> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    vec![
        ("PATH", path),
        ("HOME", OsString::from("/nonexistent")),
        ("LC_ALL", OsString::from("C")),
        ("TZ", OsString::from("UTC")),
        ("GIT_CONFIG_NOSYSTEM", OsString::from("1")),
        ("GIT_CONFIG_GLOBAL", OsString::from("/dev/null")),
        ("GIT_TERMINAL_PROMPT", OsString::from("0")),
    ]
}
