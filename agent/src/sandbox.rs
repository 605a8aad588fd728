//! `skiff __sandbox -- tool args…`: limits on itself, then the tool in its place.
//!
//! Renderers run untrusted input. The agent starts itself under this hidden verb, which lowers its own limits and
//! becomes the tool; so no code of ours runs between fork and exec. Knows nothing of what the tool does.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rlimit::Resource;

/// The hidden verb of the program.
pub const VERB: &str = "__sandbox";

/// The exit code of a sandbox that could not become its tool.
pub const FAILED: u8 = 125;

/// What a tool may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory that it writes to, `RLIMIT_DATA`: Go reserves address space far beyond what it uses.
    pub memory_bytes: u64,
    /// Processor time.
    pub cpu_seconds: u64,
    /// The size of a file that it writes.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, cpu_seconds: 60, file_bytes: 64 << 20, open_files: 1024 }
    }
}

/// Why a sandbox could not become its tool.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox is started by the agent only: {VERB} MEMORY CPU FILE OPEN -- PROGRAM ARGUMENTS…")]
    Usage,
    #[error("failed to limit {what} to {limit}")]
    Limit { what: &'static str, limit: u64, source: io::Error },
    #[error("failed to start {program:?}")]
    Start { program: OsString, source: io::Error },
}

impl Limits {
    /// Returns the arguments under which the program becomes `tool` with these limits.
    pub fn arguments(&self, tool: impl Into<OsString>) -> Vec<OsString> {
        let numbers = [self.memory_bytes, self.cpu_seconds, self.file_bytes, self.open_files];
        let mut arguments: Vec<OsString> = vec![VERB.into()];
        arguments.extend(numbers.iter().map(|number| OsString::from(number.to_string())));
        arguments.extend(["--".into(), tool.into()]);
        arguments
    }
}

/// Takes the arguments after the verb, sets the limits and becomes the tool. Returns only if that fails: the caller
/// prints the error and exits with [`FAILED`].
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> SandboxError {
    let Some((limits, mut command)) = read(arguments.into_iter()) else { return SandboxError::Usage };
    if let Err(error) = limits.apply() {
        return error;
    }
    let source = command.exec();
    SandboxError::Start { program: command.get_program().to_owned(), source }
}

fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<(Limits, Command)> {
    let mut number = || arguments.next()?.to_str()?.parse().ok();
    let limits = Limits {
        memory_bytes: number()?,
        cpu_seconds: number()?,
        file_bytes: number()?,
        open_files: number()?,
    };
    if arguments.next()? != "--" {
        return None;
    }
    let mut command = Command::new(arguments.next()?);
    command.args(arguments);
    Some((limits, command))
}

impl Limits {
    fn apply(&self) -> Result<(), SandboxError> {
        lower(Resource::DATA, "memory", self.memory_bytes)?;
        lower(Resource::CPU, "processor seconds", self.cpu_seconds)?;
        lower(Resource::FSIZE, "the size of files", self.file_bytes)?;
        lower(Resource::NOFILE, "open files", self.open_files)?;
        lower(Resource::CORE, "core dumps", 0)
    }
}

/// Lowers a limit for good. A limit that is lower already stays.
fn lower(resource: Resource, what: &'static str, limit: u64) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Limit { what, limit, source };
    let (_, hard) = resource.get().map_err(failed)?;
    let limit = limit.min(hard);
    resource.set(limit, limit).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process that [`tool_runs_under_the_limits`] starts: this very test program.
    const INSIDE: &str = "SKIFF_TEST_SANDBOX";

    fn arguments(limits: Limits, script: &str) -> Vec<String> {
        let mut arguments = limits.arguments("/bin/sh");
        arguments.extend(["-c".into(), script.into()]);
        arguments.into_iter().skip(1).map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn tool_runs_under_the_limits() {
        if let Ok(arguments) = std::env::var(INSIDE) {
            let error = run(arguments.split('\u{1f}').map(OsString::from));
            panic!("the test did not become the shell: {error}");
        }
        let limits = Limits { memory_bytes: 256 << 20, cpu_seconds: 7, file_bytes: 1024, open_files: 33 };
        let script = "echo; ulimit -d; ulimit -t; ulimit -f; ulimit -n; ulimit -c";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sandbox::tests::tool_runs_under_the_limits", "--nocapture"])
            .env(INSIDE, arguments(limits, script).join("\u{1f}"))
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.ends_with("\n262144\n7\n2\n33\n0\n"), "{printed}");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [&["1", "2"][..], &["1", "2", "3", "4", "sh"], &["a", "2", "3", "4", "--", "sh"]] {
            let error = run(wrong.iter().map(OsString::from));
            assert!(matches!(error, SandboxError::Usage));
        }
    }
}
