//! `skiff __sandbox … -- tool args…`: limits on itself, then the tool in its place.
//!
//! Renderers run untrusted input. The agent starts itself under this hidden verb, which gives up what a renderer does
//! not need and becomes the tool; so no code of ours runs between fork and exec. Knows nothing of what the tool does.
//!
//! What is given up, and by what:
//!
//! - memory, processor time, the size of files, open files, core dumps: rlimits, on every kernel;
//! - sockets of every kind, other processes (to start, to trace, to signal), mounts, namespaces, `io_uring` and what
//!   only administrators use: seccomp, in [`calls`];
//! - every file but the revision's, the tool's own and a throw-away folder: Landlock, in [`files`].
//!
//! The tool can start no process, so there is none that could outlive it; with the agent it is killed as well. What it
//! writes altogether no kernel limits: who started it watches the folder.

mod calls;
mod files;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rlimit::Resource;
use rustix::process::{Signal, set_parent_process_death_signal};

/// The hidden verb of the program.
pub const VERB: &str = "__sandbox";

/// The exit code of a sandbox that could not become its tool.
pub const FAILED: u8 = 125;

/// The exit code of a sandbox that this kernel cannot make as strong as is demanded.
pub const UNMET: u8 = 124;

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

/// What becomes of a tool where the kernel cannot restrict it as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Demand {
    /// It runs with what the kernel can do.
    #[default]
    BestEffort,
    /// It does not run.
    Required,
}

/// A tool's surroundings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sandbox {
    pub limits: Limits,
    pub demand: Demand,
    /// The folders that it may read, beside its own program.
    pub read: Vec<PathBuf>,
    /// The folders that it may read and write.
    pub write: Vec<PathBuf>,
}

/// How far this kernel can restrict a tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// The version of Landlock; 0 where there is none.
    pub landlock: u8,
    pub seccomp: Seccomp,
}

/// Whether the kernel filters system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seccomp {
    Here,
    Missing,
}

/// Why a sandbox could not become its tool.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox is started by the agent only: {VERB} NAME=VALUE… -- PROGRAM ARGUMENTS…")]
    Usage,
    #[error("failed to limit {what} to {limit}")]
    Limit { what: &'static str, limit: u64, source: io::Error },
    #[error("failed to have it end with the agent")]
    Tie { source: io::Error },
    #[error(
        "this kernel cannot keep a renderer to its files: Landlock 3 (Linux 6.2) or later is missing and render.sandbox is required; upgrade the node, or set it to bestEffort"
    )]
    Unmet,
    #[error("failed to keep {program:?} to its files")]
    Files { program: OsString, source: landlock::RulesetError },
    #[error("failed to keep {program:?} from system calls")]
    Calls { program: OsString, source: seccompiler::Error },
    #[error("failed to start {program:?}")]
    Start { program: OsString, source: io::Error },
}

impl SandboxError {
    /// Returns the code that the process ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unmet => UNMET,
            _ => FAILED,
        }
    }
}

impl Level {
    /// Asks the kernel.
    pub fn of_this_kernel() -> Self {
        Self { landlock: files::version(), seccomp: calls::seccomp() }
    }

    /// Whether this is as strong as `render.sandbox: required` asks for.
    pub fn is_full(self) -> bool {
        self.landlock >= files::NEEDED && self.seccomp == Seccomp::Here
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.landlock {
            0 => f.write_str("rlimits, no Landlock")?,
            version => write!(f, "rlimits, Landlock {version}")?,
        }
        f.write_str(match self.seccomp {
            Seccomp::Here => ", seccomp",
            Seccomp::Missing => ", no seccomp",
        })
    }
}

impl Sandbox {
    /// Returns the arguments under which the program becomes `tool` in this sandbox.
    pub fn arguments(&self, tool: impl Into<OsString>) -> Vec<OsString> {
        let Limits { memory_bytes, cpu_seconds, file_bytes, open_files } = self.limits;
        let demand = match self.demand {
            Demand::Required => "required",
            Demand::BestEffort => "bestEffort",
        };
        let settings = format!(
            "memory={memory_bytes} cpu={cpu_seconds} file={file_bytes} open={open_files} demand={demand}"
        );
        let mut arguments: Vec<OsString> = vec![VERB.into()];
        arguments.extend(settings.split(' ').map(OsString::from));
        for (name, folders) in [("read=", &self.read), ("write=", &self.write)] {
            arguments.extend(folders.iter().map(|folder| {
                let mut argument = OsString::from(name);
                argument.push(folder);
                argument
            }));
        }
        arguments.extend(["--".into(), tool.into()]);
        arguments
    }

    /// Reads the arguments after the verb, up to the tool.
    fn read(arguments: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut sandbox = Self {
            limits: Limits { memory_bytes: 0, cpu_seconds: 0, file_bytes: 0, open_files: 0 },
            demand: Demand::Required,
            read: Vec::new(),
            write: Vec::new(),
        };
        let mut given = 0;
        loop {
            let argument = arguments.next()?;
            if argument == "--" {
                return (given == 4).then_some(sandbox);
            }
            let (name, value) = split(&argument)?;
            let Limits { memory_bytes, cpu_seconds, file_bytes, open_files } = &mut sandbox.limits;
            let number = match name {
                "memory" => memory_bytes,
                "cpu" => cpu_seconds,
                "file" => file_bytes,
                "open" => open_files,
                "demand" => {
                    sandbox.demand =
                        if value == "bestEffort" { Demand::BestEffort } else { Demand::Required };
                    continue;
                }
                "read" => {
                    sandbox.read.push(value.into());
                    continue;
                }
                "write" => {
                    sandbox.write.push(value.into());
                    continue;
                }
                _ => return None,
            };
            *number = value.to_str()?.parse().ok()?;
            given += 1;
        }
    }
}

fn split(argument: &OsStr) -> Option<(&str, &OsStr)> {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = argument.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    Some((str::from_utf8(&bytes[..at]).ok()?, OsStr::from_bytes(&bytes[at + 1..])))
}

/// Takes the arguments after the verb, gives up what the tool does not need and becomes it. Returns only if that
/// fails: the caller prints the error and exits with its code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> SandboxError {
    let mut arguments = arguments.into_iter();
    let Some(sandbox) = Sandbox::read(&mut arguments) else { return SandboxError::Usage };
    let Some(program) = arguments.next() else { return SandboxError::Usage };
    if let Err(error) = sandbox.enter(&program) {
        return error;
    }
    let source = Command::new(&program).args(arguments).exec();
    SandboxError::Start { program, source }
}

impl Sandbox {
    /// Restricts this process for good. What needs most goes first: each step takes away what the next need not have.
    fn enter(&self, program: &OsStr) -> Result<(), SandboxError> {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| SandboxError::Tie { source: error.into() })?;
        self.limits.apply()?;
        files::restrict(self, program)?;
        calls::restrict(self.demand, program)
    }
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
        let sandbox = Sandbox { limits, demand: Demand::BestEffort, read: Vec::new(), write: Vec::new() };
        let mut arguments = sandbox.arguments("/bin/sh");
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
        let right = ["memory=1", "cpu=2", "file=3", "open=4"];
        let wrong = [
            [&right[..3], &["--", "sh"]].concat(),
            [&right[..], &["sh"]].concat(),
            [&right[..], &["--"]].concat(),
            [&right[..3], &["open=a", "--", "sh"]].concat(),
            [&right[..], &["other=1", "--", "sh"]].concat(),
        ];
        for wrong in wrong {
            let error = run(wrong.iter().map(OsString::from));
            assert!(matches!(error, SandboxError::Usage));
        }
    }
}
