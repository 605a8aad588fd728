//! What a hostile program gets in the sandbox. The program is this very test, started again by `skiff __sandbox`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, getppid, kill_process_group, test_kill_process};
use skiff::sandbox::{Demand, Level, Limits, Sandbox};
use tempfile::TempDir;

/// Set in the hostile program: what it does.
const DEED: &str = "SKIFF_TEST_DEED";
/// The folder beside the sandbox's own.
const WORLD: &str = "SKIFF_TEST_WORLD";

/// A secret, a revision's folder and a throw-away one.
fn world() -> TempDir {
    let world = tempfile::tempdir().unwrap();
    for folder in ["secret", "revision", "scratch"] {
        fs::create_dir(world.path().join(folder)).unwrap();
    }
    fs::write(world.path().join("secret/token"), "secret").unwrap();
    fs::write(world.path().join("revision/chart"), "chart").unwrap();
    world
}

/// Does a deed in the sandbox and returns how it ended.
fn hostile(test: &str, deed: &str, world: &TempDir, limits: Limits) -> Output {
    let sandbox = Sandbox {
        limits,
        demand: Demand::BestEffort,
        read: vec![world.path().join("revision")],
        write: vec![world.path().join("scratch")],
    };
    Command::new(env!("CARGO_BIN_EXE_skiff"))
        .args(sandbox.arguments(std::env::current_exe().unwrap()))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DEED, deed)
        .env(WORLD, world.path())
        .output()
        .unwrap()
}

/// Returns what a deed printed about itself.
fn said(test: &str, deed: &str) -> String {
    let world = world();
    let output = hostile(test, deed, &world, Limits::default());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said: Vec<&str> =
        printed.lines().filter_map(|line| line.split_once("deed: ").map(|(_, said)| said)).collect();
    assert!(!said.is_empty(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    said.join("\n")
}

/// Tells the outcome of something that may be refused.
fn tell<T>(what: &str, done: std::io::Result<T>) {
    let outcome = done.map_or_else(|error| format!("{:?}", error.kind()), |_| "done".to_owned());
    println!("\ndeed: {what}: {outcome}");
}

/// Does what the environment says, and returns whether it said anything.
fn is_inside() -> bool {
    let Ok(deed) = std::env::var(DEED) else { return false };
    let world = PathBuf::from(std::env::var_os(WORLD).unwrap());
    match deed.as_str() {
        "files" => files(&world),
        "sockets" => sockets(),
        "processes" => processes(),
        "large file" => tell("large", large_file(&world.join("scratch/large"))),
        "endless" => loop {
            std::hint::spin_loop();
        },
        _ => unreachable!("no such deed"),
    }
    true
}

fn files(world: &Path) {
    tell("read the revision", fs::read(world.join("revision/chart")));
    tell("write to the throw-away folder", fs::write(world.join("scratch/new"), "new"));
    tell("read a secret", fs::read(world.join("secret/token")));
    tell("list a folder beside", fs::read_dir(world.join("secret")));
    tell("read the node's files", fs::read("/etc/passwd"));
    tell("read the agent's environment", fs::read("/proc/1/environ"));
    tell("write to the revision", fs::write(world.join("revision/new"), "new"));
    tell("empty a secret", fs::write(world.join("secret/token"), ""));
    tell("remove a secret", fs::remove_file(world.join("secret/token")));
    let link = world.join("scratch/link");
    std::os::unix::fs::symlink(world.join("secret/token"), &link).unwrap();
    tell("read a secret by a link", fs::read(link));
}

fn sockets() {
    tell("TCP", TcpStream::connect("127.0.0.1:1"));
    tell("UDP", UdpSocket::bind("127.0.0.1:0"));
    tell("Unix", UnixDatagram::unbound());
    tell("a pair", UnixStream::pair());
}

fn processes() {
    let thread = std::thread::Builder::new().spawn(|| ());
    tell("a thread", thread.map(|thread| thread.join().is_ok()));
    tell("a process", Command::new(std::env::current_exe().unwrap()).spawn());
    tell("a signal to the agent", test_kill_process(getppid().unwrap()).map_err(Into::into));
    let own = Pid::from_raw(i32::try_from(std::process::id()).unwrap()).unwrap();
    tell("a signal to itself", test_kill_process(own).map_err(Into::into));
    tell("a signal to its group", kill_process_group(own, Signal::CONT).map_err(Into::into));
}

fn large_file(path: &Path) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    let block = vec![0; 1 << 20];
    (0..10_000).try_for_each(|_| file.write_all(&block))
}

#[test]
fn files_are_those_of_the_revision_and_the_throw_away_folder() {
    if is_inside() {
        return;
    }
    if Level::of_this_kernel().landlock < 3 {
        eprintln!("skipped: files_are_those_of_the_revision_and_the_throw_away_folder: no Landlock 3");
        return;
    }
    let name = "sandbox::files_are_those_of_the_revision_and_the_throw_away_folder";
    insta::assert_snapshot!(said(name, "files"), @r"
    read the revision: done
    write to the throw-away folder: done
    read a secret: PermissionDenied
    list a folder beside: PermissionDenied
    read the node's files: PermissionDenied
    read the agent's environment: PermissionDenied
    write to the revision: PermissionDenied
    empty a secret: PermissionDenied
    remove a secret: PermissionDenied
    read a secret by a link: PermissionDenied
    ");
}

#[test]
fn sockets_of_every_kind_are_refused() {
    if is_inside() {
        return;
    }
    insta::assert_snapshot!(said("sandbox::sockets_of_every_kind_are_refused", "sockets"), @r"
    TCP: PermissionDenied
    UDP: PermissionDenied
    Unix: PermissionDenied
    a pair: PermissionDenied
    ");
}

#[test]
fn threads_are_made_and_processes_are_neither_made_nor_signalled() {
    if is_inside() {
        return;
    }
    let name = "sandbox::threads_are_made_and_processes_are_neither_made_nor_signalled";
    insta::assert_snapshot!(said(name, "processes"), @r"
    a thread: done
    a process: PermissionDenied
    a signal to the agent: PermissionDenied
    a signal to itself: done
    a signal to its group: PermissionDenied
    ");
}

#[test]
fn ten_gigabytes_are_not_written_and_time_runs_out() {
    if is_inside() {
        return;
    }
    let name = "sandbox::ten_gigabytes_are_not_written_and_time_runs_out";
    let world = world();
    let limits = Limits { file_bytes: 8 << 20, cpu_seconds: 1, ..Limits::default() };
    let ended = hostile(name, "large file", &world, limits);
    assert_eq!(ended.status.signal(), Some(libc::SIGXFSZ));
    assert_eq!(fs::metadata(world.path().join("scratch/large")).unwrap().len(), 8 << 20);
    let ended = hostile(name, "endless", &world, limits);
    assert!(matches!(ended.status.signal(), Some(libc::SIGXCPU | libc::SIGKILL)), "{:?}", ended.status);
}

#[test]
fn where_the_sandbox_is_required_a_weaker_one_is_none() {
    let level = Level { landlock: 2, ..Level::of_this_kernel() };
    assert!(!level.is_full());
    assert!(level.to_string().starts_with("rlimits, Landlock 2"));
    let Level { landlock, .. } = Level::of_this_kernel();
    let sandbox =
        Sandbox { limits: Limits::default(), demand: Demand::Required, read: Vec::new(), write: Vec::new() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_skiff"));
    let output = command.args(sandbox.arguments("/bin/sh")).args(["-c", "echo ran"]).output().unwrap();
    if landlock >= 3 {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n", "{output:?}");
    } else {
        assert_eq!(output.status.code(), Some(i32::from(skiff::sandbox::UNMET)), "{output:?}");
    }
}
