//! Child processes that cannot outlive the lab: own process group, killed on drop, and killed by the kernel when the
//! lab itself is killed. Their output goes to a log file.
//!
//! Every program that stays (control plane, the agent under test) is started here.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// A running (or ended) child with its recipe, so that it can be started again.
pub struct Process {
    name: String,
    command: Command,
    child: Child,
    /// How the child ended, once it was waited for: from then on its id may belong to a stranger.
    status: Option<ExitStatus>,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in its own process group with both outputs appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = append_to(log)?;
        let errors = output.try_clone().with_context(|| format!("failed to share {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::from(output)).stderr(Stdio::from(errors)).process_group(0);
        die_with_parent(&mut command);
        let (command, child) = spawn(command);
        let child = child.with_context(|| format!("failed to start {name} ({})", program(&command)))?;
        Ok(Self { name: name.to_owned(), command, child, status: None, log: log.to_owned() })
    }

    /// Kills what is left of the program and starts it again with the same arguments and the same log.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let (command, child) = spawn(std::mem::replace(&mut self.command, Command::new("")));
        self.command = command;
        self.child = child.with_context(|| format!("failed to start {} again", self.name))?;
        self.status = None;
        Ok(())
    }

    /// Returns the process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the file that holds everything the program has written.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Tells whether the program has not ended yet; a frozen one is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // WNOWAIT leaves the ended child waitable, so its id cannot be given to a stranger before `kill`.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.status.is_none() && matches!(rustix::process::waitid(WaitId::Pid(self.pid()), options), Ok(None))
    }

    /// Kills the whole process group and waits for the program's end.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            // A group that cannot be signalled has ended; then the wait returns at once.
            let _ = self.signal_group(Signal::KILL);
            self.status = self.child.wait().ok();
        }
    }

    /// Asks the whole process group to end (SIGTERM).
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal_group(Signal::TERM).with_context(|| format!("failed to end {}", self.name))
    }

    /// Stops the whole process group in its tracks (SIGSTOP).
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal_group(Signal::STOP).with_context(|| format!("failed to freeze {}", self.name))
    }

    /// Lets a frozen process group go on (SIGCONT).
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal_group(Signal::CONT).with_context(|| format!("failed to thaw {}", self.name))
    }

    /// Waits until the program has ended by itself and returns how, or nothing if it is still running `within` later.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let deadline = tokio::time::Instant::now() + within;
        while self.is_running() {
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
        Ok(self.status)
    }

    /// Returns the last `count` lines of the log, for an error message.
    #[must_use]
    pub fn log_tail(&self, count: usize) -> String {
        let Ok(file) = File::open(&self.log) else { return String::new() };
        let mut tail = VecDeque::with_capacity(count + 1);
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            tail.push_back(String::from_utf8_lossy(&line).into_owned());
            if tail.len() > count {
                tail.pop_front();
            }
        }
        tail.into_iter().collect::<Vec<_>>().join("\n")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if self.status.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        Ok(rustix::process::kill_process_group(self.pid(), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program to its end with its output on the terminal; it dies with this process.
pub fn run_visibly(mut command: Command) -> io::Result<ExitStatus> {
    die_with_parent(&mut command);
    command.stdin(Stdio::null());
    let (_, child) = spawn(command);
    child?.wait()
}

fn append_to(log: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open the log file {}", log.display()))
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Arms the kernel's parent-death signal in the child; the parent is the thread that starts it.
#[expect(
    unsafe_code,
    reason = "the standard library has no safe way to make a system call between fork and exec"
)]
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died between fork and the line above sends no signal any more.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: `arm` makes two system calls that are async-signal-safe and allocates nothing.
    unsafe { command.pre_exec(arm) };
}

type Spawned = (Command, io::Result<Child>);

/// The one thread that forks: the kernel sends the parent-death signal when the *thread* that forked ends, so a test's
/// or a thread pool's own thread would take its children with it.
static SPAWNER: LazyLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
    let spawn_all = move || {
        for (mut command, reply) in receiver {
            let child = command.spawn();
            // A caller that is gone cannot keep the child: dropping the reply drops nothing but the handle.
            let _ = reply.send((command, child));
        }
    };
    std::thread::Builder::new().name("spawner".to_owned()).spawn(spawn_all).expect("a thread can be started");
    sender
});

fn spawn(command: Command) -> Spawned {
    let (reply, answer) = mpsc::channel();
    SPAWNER.send((command, reply)).expect("the spawner thread lives as long as the process");
    answer.recv().expect("the spawner answers every request")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "LAB_TEST_PARENT";

    fn sleeper(directory: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::start("sleeper", command, &directory.join("log")).unwrap()
    }

    fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(std::time::Instant::now() < deadline, "gave up waiting until {what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn child_outlives_the_thread_that_started_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();

        let process = std::thread::spawn(move || sleeper(&path)).join().unwrap();

        assert!(process.is_running());
    }

    /// Runs itself a second time as the parent that is killed.
    #[test]
    fn child_dies_with_a_parent_that_is_killed() {
        if let Some(told) = std::env::var_os(PARENT).map(PathBuf::from) {
            let child = sleeper(told.parent().unwrap());
            std::fs::write(told, format!("{}\n", child.id())).unwrap();
            loop {
                std::thread::park();
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("id");
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::child_dies_with_a_parent_that_is_killed"])
            .env(PARENT, &told)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the parent has a child", || {
            std::fs::read_to_string(&told).is_ok_and(|id| id.ends_with('\n'))
        });
        let child = std::fs::read_to_string(&told).unwrap();

        parent.kill().unwrap();
        parent.wait().unwrap();

        let child = Path::new("/proc").join(child.trim()).join("cmdline");
        wait_until("the child is gone", || std::fs::read(&child).unwrap_or_default().is_empty());
    }

    #[test]
    fn log_keeps_the_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("seq");
        command.arg("100");
        let mut process = Process::start("seq", command, &directory.path().join("log")).unwrap();

        wait_until("the program has ended", || !process.is_running());
        process.kill();

        assert_eq!(process.log_tail(3), "98\n99\n100");
    }

    #[test]
    fn program_that_does_not_exist_is_named() {
        let directory = tempfile::tempdir().unwrap();

        let error =
            Process::start("ghost", Command::new("/no/such"), &directory.path().join("log")).err().unwrap();

        assert_eq!(error.to_string(), "failed to start ghost (/no/such)");
    }
}
