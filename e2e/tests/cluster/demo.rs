//! The demo as a person runs it: its story comes true, and however it ends, nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use skiff_e2e::usage;

/// How long one line of the story may take, builds included.
const PATIENCE: Duration = Duration::from_mins(10);

#[test]
fn once_it_tells_the_whole_story_and_leaves_nothing() -> anyhow::Result<()> {
    let mut demo = Demo::start(&["--once", "--quick"])?;
    let told = demo.read_until(None)?;
    for done in ["Summary", "✓ first sync", "✓ a file removed, pruned", "✓ one trace"] {
        assert!(told.contains(done), "{done:?} is missing:\n{told}");
    }
    assert!(!told.contains('✗'), "{told}");
    assert!(demo.end()?.success(), "{told}");
    demo.assert_gone();
    Ok(())
}

#[test]
fn it_stays_until_it_is_interrupted_and_leaves_nothing() -> anyhow::Result<()> {
    let mut demo = Demo::start(&["--quick"])?;
    demo.read_until(Some("Your turn"))?;
    assert!(demo.traces.processes.len() >= 5, "the cluster and the agent run: {:?}", demo.traces);
    assert!(demo.traces.folders.len() >= 2, "they have their files: {:?}", demo.traces);
    kill_process(demo.pid()?, Signal::INT)?;
    demo.read_until(None)?;
    assert!(demo.end()?.success());
    demo.assert_gone();
    Ok(())
}

struct Demo {
    child: Child,
    lines: Receiver<String>,
    traces: Traces,
}

/// What a program and its children were seen to have.
#[derive(Debug, Default)]
struct Traces {
    /// By id and start time: ids are given to others later.
    processes: BTreeSet<(u32, u64)>,
    /// Folders below the one for temporary files, with their inodes: names are given to others later.
    folders: BTreeMap<PathBuf, u64>,
}

impl Demo {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("failed to start the demo")?;
        let output = child.stdout.take().context("its output is piped")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, traces: Traces::default() })
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(self.child.id().try_into()?).context("a process has an id")
    }

    /// Reads what it says until a line has a word, or to the end, and notes what it has meanwhile.
    fn read_until(&mut self, word: Option<&str>) -> anyhow::Result<String> {
        let mut told = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    told.push_str(&line);
                    told.push('\n');
                    self.traces.note(self.child.id());
                    if word.is_some_and(|word| line.contains(word)) {
                        return Ok(told);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) if word.is_none() => return Ok(told),
                Err(error) => anyhow::bail!("{error}; it said so far:\n{told}"),
            }
        }
    }

    fn end(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    fn assert_gone(&self) {
        let Traces { processes, folders } = &self.traces;
        let alive: Vec<u32> =
            processes.iter().filter(|(id, began)| start_of(*id) == Some(*began)).map(|(id, _)| *id).collect();
        assert!(alive.is_empty(), "processes are left: {alive:?}");
        let inode = |path: &Path| fs::metadata(path).ok().map(|found| found.ino());
        let left: Vec<&PathBuf> =
            folders.iter().filter(|(path, was)| inode(path) == Some(**was)).map(|(path, _)| path).collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ended in good order it is waited for already; of a failed test nothing shall stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Traces {
    fn note(&mut self, root: u32) {
        let mut parents = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
                && let Some(parent) =
                    usage::stat(id).ok().and_then(|fields| fields.get(1)?.parse::<u32>().ok())
            {
                parents.insert(id, parent);
            }
        }
        let mut of_it = BTreeSet::from([root]);
        loop {
            let more: Vec<u32> = parents
                .iter()
                .filter(|(id, parent)| of_it.contains(parent) && !of_it.contains(id))
                .map(|(id, _)| *id)
                .collect();
            if more.is_empty() {
                break;
            }
            of_it.extend(more);
        }
        for id in of_it {
            self.processes.extend(start_of(id).map(|began| (id, began)));
            let arguments = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            for folder in arguments.split('\0').filter_map(temporary) {
                if let Ok(found) = fs::metadata(&folder) {
                    self.folders.entry(folder).or_insert_with(|| found.ino());
                }
            }
        }
    }
}

/// Returns the folder for temporary files that an argument names something in: `/tmp/x` of `--config=/tmp/x/config.yaml`,
/// and of clusters, which share a folder, the one of the single cluster. What these tests were built from may lie there too.
fn temporary(argument: &str) -> Option<PathBuf> {
    let root = std::env::temp_dir();
    let path = Path::new(argument.rsplit('=').next()?);
    let mut below = path.strip_prefix(&root).ok()?.components();
    let first = root.join(below.next()?);
    if Path::new(env!("CARGO_MANIFEST_DIR")).starts_with(&first) {
        return None;
    }
    let is_shared = first.file_name()?.to_str()?.starts_with("skiff-lab-");
    if is_shared { Some(first.join(below.next()?)) } else { Some(first) }
}

/// Returns when a process began, in ticks since the machine did.
fn start_of(id: u32) -> Option<u64> {
    usage::stat(id).ok()?.get(19)?.parse().ok()
}
