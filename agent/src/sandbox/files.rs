//! Landlock: a tool sees its own program, the folders that it is given, and no other file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};

use super::{Demand, Sandbox, SandboxError};

/// The first version that also keeps a tool from emptying files that it cannot open.
pub(super) const NEEDED: u8 = 3;

/// Versions that are made use of, newest first.
const VERSIONS: [(u8, ABI); 6] =
    [(6, ABI::V6), (5, ABI::V5), (4, ABI::V4), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];

/// Where a program that is not static finds its libraries.
const LIBRARIES: [&str; 6] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"];

/// Devices that programs open without thinking.
const NOTHING: &str = "/dev/null";
const RANDOM: &str = "/dev/urandom";

/// Returns the newest version that this kernel has and we make use of; 0 where there is none.
pub(super) fn version() -> u8 {
    let has = |abi: ABI| {
        let mut asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        asked = asked.handle_access(AccessFs::from_all(abi))?;
        if abi >= ABI::V4 {
            asked = asked.handle_access(AccessNet::from_all(abi))?;
        }
        if abi >= ABI::V6 {
            asked = asked.scope(Scope::from_all(abi))?;
        }
        asked.create().map(drop)
    };
    VERSIONS.iter().find(|(_, abi)| has(*abi).is_ok()).map_or(0, |(version, _)| *version)
}

/// Restricts this process, as far as the kernel can and at least as far as is demanded.
pub(super) fn restrict(sandbox: &Sandbox, program: &OsStr) -> Result<(), SandboxError> {
    if sandbox.demand == Demand::Required && version() < NEEDED {
        return Err(SandboxError::Unmet);
    }
    let enforced = ruleset(sandbox, Path::new(program))
        .map_err(|source| SandboxError::Files { program: program.to_owned(), source })?;
    match (enforced, sandbox.demand) {
        (RulesetStatus::NotEnforced, Demand::Required) => Err(SandboxError::Unmet),
        _ => Ok(()),
    }
}

fn ruleset(sandbox: &Sandbox, program: &Path) -> Result<RulesetStatus, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let run = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
    let (programs, libraries) = needed(program);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(programs, run))?
        .add_rules(path_beneath_rules(libraries, run))?
        .add_rules(path_beneath_rules(&sandbox.read, read))?
        .add_rules(path_beneath_rules(&sandbox.write, read | written()))?
        .add_rules(path_beneath_rules([NOTHING], make_bitflags!(AccessFs::{ReadFile | WriteFile})))?
        .add_rules(path_beneath_rules([RANDOM], make_bitflags!(AccessFs::{ReadFile})))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// What a tool may do in its throw-away folder: it makes files there, and runs none of them.
fn written() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
    })
}

/// Returns the programs that have to be run for this one to run, and where their libraries are.
fn needed(program: &Path) -> (Vec<PathBuf>, &'static [&'static str]) {
    let mut programs = vec![program.to_owned()];
    if let Some(interpreter) = script_of(program) {
        programs.push(interpreter);
    }
    // A static program gets no library to read.
    let dynamic = programs.iter().any(|program| is_dynamic(program).unwrap_or(true));
    (programs, if dynamic { &LIBRARIES } else { &[] })
}

/// Returns what runs a program if that is a script.
fn script_of(program: &Path) -> Option<PathBuf> {
    let beginning = beginning_of(program)?;
    let line = beginning.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let interpreter = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    Some(PathBuf::from(OsStr::from_bytes(interpreter)))
}

/// Whether a program asks for an interpreter of its libraries; `None` where that cannot be told.
fn is_dynamic(program: &Path) -> Option<bool> {
    /// The entry of a program header that names the interpreter.
    const INTERPRETER: u32 = 3;
    let beginning = beginning_of(program)?;
    let is_64_bits_little = beginning.starts_with(b"\x7fELF\x02\x01");
    if !is_64_bits_little {
        return None;
    }
    let number =
        |at: usize| Some(usize::from(u16::from_le_bytes(beginning.get(at..at + 2)?.try_into().ok()?)));
    let table = u64::from_le_bytes(beginning.get(32..40)?.try_into().ok()?);
    let (table, size, count) = (usize::try_from(table).ok()?, number(54)?, number(56)?);
    for entry in 0..count {
        let at = table.checked_add(entry.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(beginning.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == INTERPRETER {
            return Some(true);
        }
    }
    Some(false)
}

fn beginning_of(program: &Path) -> Option<Vec<u8>> {
    let mut beginning = Vec::new();
    File::open(program).ok()?.take(4096).read_to_end(&mut beginning).ok()?;
    Some(beginning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreter_of_a_script_and_libraries_of_a_program_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("tool");
        std::fs::write(&script, "#! /bin/sh -e\nexit\n").unwrap();
        let (programs, libraries) = needed(&script);
        assert_eq!(programs, [script.as_path(), Path::new("/bin/sh")]);
        assert!(!libraries.is_empty(), "what cannot be told is taken for dynamic");
        assert_eq!(script_of(Path::new("/proc/self/exe")), None);
        assert!(is_dynamic(Path::new("/proc/self/exe")).is_some());
    }
}
