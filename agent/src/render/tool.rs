//! Runs `helm` and `kustomize`: in the revision's folder, with nothing of the agent's environment, under limits.
//!
//! What the tool prints is handed on document by document while it prints. The tool and what it started are killed
//! when its time is over, and when the render is given up.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::split::{Chunk, Splitter, TooLarge};
use super::{Reason, RenderError, Request, Tools, tree};
use crate::sandbox::{self, Sandbox};

/// What is kept of what a tool says on stderr.
const SAID: usize = 64 << 10;

/// How often the size of what a tool writes is looked at.
const INSPECTION: Duration = Duration::from_millis(100);

/// What a file takes at least, with its name.
const BLOCK: u64 = 4 << 10;

/// An address where nobody listens: tools have no network.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Takes each document that a tool prints.
pub(super) type Sink<'a> = dyn FnMut(Chunk) -> Result<(), RenderError> + Send + 'a;

/// One render's tools: where they may write, and how long they may take together.
pub(super) struct Workshop<'a> {
    request: &'a Request<'a>,
    tools: &'a Tools,
    scratch: tempfile::TempDir,
    root: PathBuf,
    /// Where the environment's value files are, if they are elsewhere.
    values: Option<PathBuf>,
    deadline: Instant,
}

/// One call of a tool.
pub(super) struct Call<'a> {
    pub(super) name: &'static str,
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<OsString>,
}

/// How a call ended, with what the tool said on stderr.
pub(super) enum Ended {
    Well(String),
    Badly(String),
}

impl<'a> Workshop<'a> {
    pub(super) fn open(request: &'a Request<'a>) -> Result<Self, RenderError> {
        let tools = request.tools;
        let failed = |error| RenderError::internal("make a scratch folder", &error);
        let scratch = throw_away(&tools.scratch, "render-").map_err(failed)?;
        let root = tree::root(request.directory)?;
        let values = request.values.map(tree::root).transpose()?;
        Ok(Self { request, tools, scratch, root, values, deadline: Instant::now() + tools.timeout })
    }

    /// Returns the folder that tools may write to.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns the root of the revision's tree, in which tools run.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the environment's value files are, if that is not the revision's tree.
    pub(super) fn values(&self) -> Option<&Path> {
        self.values.as_deref()
    }

    /// Runs a tool to its end. Fails if the tool cannot be judged: it did not start, took too long or printed too
    /// much.
    pub(super) async fn run(&self, call: Call<'_>, sink: &mut Sink<'_>) -> Result<Ended, RenderError> {
        let mut child = self.start(&call)?;
        let mut group = Group::of(&child);
        let ended = tokio::select! {
            ended = self.attend(&mut child, sink) => ended,
            () = tokio::time::sleep_until(self.deadline) => Err(self.took_too_long(call.name)),
            () = self.written_too_much() => {
                let limit = self.tools.bounds.scratch_bytes;
                Err(self.error(Reason::TooLarge, format!("{} wrote more than {limit} bytes to disk", call.name)))
            }
        };
        if ended.is_err() {
            group.kill();
            // It was killed: this only takes its number back.
            let _ = child.wait().await;
        }
        let (status, said) = ended?;
        group.disarm();
        let said = self.without_paths(&said);
        let failed = self.tools.sandbox.as_ref().and(status.code()).and_then(not_begun);
        if let Some(reason) = failed {
            let message = format!("failed to run {}: {}", call.name, said.trim_start_matches("error: "));
            return Err(RenderError::new(reason, "", message));
        }
        Ok(if status.success() {
            Ended::Well(said)
        } else {
            Ended::Badly(self.reproach(&call, status, said))
        })
    }

    /// Returns when the tool has written more than it may; no limit of the kernel covers all files together.
    async fn written_too_much(&self) {
        let limit = self.tools.bounds.scratch_bytes;
        loop {
            tokio::time::sleep(INSPECTION).await;
            let folder = self.scratch().to_owned();
            let exceeds = tokio::task::spawn_blocking(move || exceeds(&folder, limit)).await;
            if exceeds.is_ok_and(|exceeds| exceeds) {
                return;
            }
        }
    }

    fn start(&self, call: &Call<'_>) -> Result<Child, RenderError> {
        let read = [Some(self.root.as_path()), self.values()].into_iter().flatten();
        let mut command = confined(self.tools, call.program, &read.collect::<Vec<_>>(), self.scratch());
        command.args(&call.arguments).spawn().map_err(|error| {
            let what = format!("start {} ({})", call.name, call.program.display());
            RenderError::internal(&what, &error)
        })
    }

    /// Reads what a child prints until it ends.
    async fn attend(
        &self,
        child: &mut Child,
        sink: &mut Sink<'_>,
    ) -> Result<(ExitStatus, String), RenderError> {
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let failed = |error: io::Error| RenderError::internal("read what the renderer prints", &error);
        let said = async { beginning(stderr).await.map_err(failed) };
        let ((), said) = tokio::try_join!(self.documents(stdout, sink), said)?;
        Ok((child.wait().await.map_err(failed)?, said))
    }

    async fn documents(
        &self,
        mut stdout: impl AsyncRead + Unpin,
        sink: &mut Sink<'_>,
    ) -> Result<(), RenderError> {
        let bounds = self.tools.bounds;
        let mut splitter = Splitter::new(bounds.file_bytes);
        let mut buffer = vec![0; 64 << 10];
        let mut total: u64 = 0;
        loop {
            let read = stdout.read(&mut buffer).await;
            let read =
                read.map_err(|error| RenderError::internal("read what the renderer prints", &error))?;
            if read == 0 {
                break;
            }
            total = total.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if total > bounds.output_bytes {
                return Err(self.too_large("the app", bounds.output_bytes));
            }
            for chunk in splitter.feed(&buffer[..read]).map_err(|TooLarge| self.document_too_large())? {
                sink(chunk)?;
                tokio::task::yield_now().await;
            }
        }
        match splitter.finish().map_err(|TooLarge| self.document_too_large())? {
            Some(chunk) => sink(chunk),
            None => Ok(()),
        }
    }

    fn document_too_large(&self) -> RenderError {
        self.too_large("a document", self.tools.bounds.file_bytes)
    }

    fn too_large(&self, what: &str, limit: u64) -> RenderError {
        let message = format!("{what} renders to more than {limit} bytes: split it");
        RenderError::new(Reason::TooLarge, self.request.path.to_string(), message)
    }

    fn error(&self, reason: Reason, message: String) -> RenderError {
        RenderError::new(reason, self.request.path.to_string(), message)
    }

    fn took_too_long(&self, tool: &str) -> RenderError {
        let limit = self.tools.timeout.as_secs_f32();
        let message =
            format!("{tool} was ended after {limit} seconds: make the app smaller or the limit larger");
        RenderError::new(Reason::Timeout, self.request.path.to_string(), message)
    }

    /// Returns what a tool that failed has to say.
    fn reproach(&self, call: &Call<'_>, status: ExitStatus, said: String) -> String {
        let limits = self.tools.limits;
        if ran_out_of_memory(&said) {
            let mebibytes = limits.memory_bytes >> 20;
            return format!("{} needs more memory than the {mebibytes} MiB that it may use", call.name);
        }
        match status.signal() {
            Some(signal) if said.is_empty() => format!(
                "{} was ended by signal {signal}: it may use {} MiB of memory and {} seconds of processor time",
                call.name,
                limits.memory_bytes >> 20,
                limits.cpu_seconds
            ),
            _ if said.is_empty() => format!("{} ended with {status} and said nothing", call.name),
            _ => said,
        }
    }

    /// Takes the paths of this machine out of a text: people know those of the repository.
    fn without_paths(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for folder in [Some(self.scratch()), Some(&*self.root), self.values()].into_iter().flatten() {
            let folder = folder.display().to_string();
            text = text.replace(&format!("{folder}/"), "").replace(&folder, ".");
        }
        text.trim().to_owned()
    }
}

/// Makes a folder that a tool may write to.
pub(super) fn throw_away(scratch: &Path, prefix: &str) -> io::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(scratch)?;
    for part in ["home", "tmp", "bin"] {
        std::fs::create_dir(folder.path().join(part))?;
    }
    Ok(folder)
}

/// Returns the command of a tool that sees the folders `read`, runs in the first of them, and sees its own throw-away
/// folder and nothing of the agent's environment.
pub(super) fn confined(tools: &Tools, program: &Path, read: &[&Path], scratch: &Path) -> Command {
    let mut command = match &tools.sandbox {
        Some(sandbox) => {
            let surroundings = Sandbox {
                limits: tools.limits,
                demand: tools.demand,
                read: read.iter().map(|folder| folder.to_path_buf()).collect(),
                write: vec![scratch.to_owned()],
            };
            let mut command = Command::new(sandbox);
            command.args(surroundings.arguments(program));
            command
        }
        None => Command::new(program),
    };
    let home = scratch.join("home");
    command
        .current_dir(read.first().unwrap_or(&scratch))
        .env_clear()
        .env("PATH", scratch.join("bin"))
        .env("TMPDIR", scratch.join("tmp"))
        .env("GOMEMLIMIT", (tools.limits.memory_bytes / 5 * 4).to_string())
        .envs(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, NOWHERE)))
        .env("HOME", &home)
        .envs(["XDG_CACHE_HOME", "HELM_CACHE_HOME"].map(|name| (name, home.join("cache"))))
        .envs(["XDG_CONFIG_HOME", "HELM_CONFIG_HOME"].map(|name| (name, home.join("config"))))
        .envs(["XDG_DATA_HOME", "HELM_DATA_HOME"].map(|name| (name, home.join("data"))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// The one place where the words of Go's runtime are matched: a limit that bites has no exit code of its own.
fn ran_out_of_memory(said: &str) -> bool {
    let fatal =
        said.split_once("fatal error: ").map_or("", |(_, fatal)| fatal.lines().next().unwrap_or_default());
    ["out of memory", "cannot allocate memory", "newosproc"].iter().any(|words| fatal.contains(words))
}

/// Returns why a sandbox could not become its tool, if that is what its exit code says.
fn not_begun(code: i32) -> Option<Reason> {
    if code == i32::from(sandbox::UNMET) {
        Some(Reason::SandboxMissing)
    } else {
        (code == i32::from(sandbox::FAILED)).then_some(Reason::Internal)
    }
}

/// Whether the files of a folder have more bytes than allowed together, each counted as at least a block.
fn exceeds(folder: &Path, limit: u64) -> bool {
    let mut left = limit;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What has just been removed is not there any more.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                folders.push(entry.path());
            }
            let Some(rest) = left.checked_sub(found.len().max(BLOCK)) else { return true };
            left = rest;
        }
    }
    false
}

/// Reads a stream to its end and returns how it began.
async fn beginning(mut stream: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        let room = SAID.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
}

/// The process group of a child: what the child started goes down with it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // A group that is gone is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// The child was waited for: its number may be another's soon.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
