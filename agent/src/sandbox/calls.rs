//! seccomp: system calls that no renderer needs are refused.
//!
//! Refused, not deadly: programs ask for things that they can do without. A renderer draws text from files; it needs no
//! socket, no other process, and nothing that changes the system.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use libc::{CLONE_THREAD, ENOSYS, EPERM};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::{Demand, SandboxError, Seccomp};

/// Calls that are refused whatever their arguments are.
const REFUSED: &[i64] = &[
    // Sockets of any family: nothing is downloaded, and nothing on the node is talked to.
    libc::SYS_socket,
    libc::SYS_socketpair,
    // A second way to make nearly every call, past this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes: their memory, their files, their end.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    // Where files come from.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_setns,
    // What other processes may use.
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_ioprio_set,
    // Keys, programs in the kernel, counters, and what is the administrator's.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// Set in the number of a call that a program for the x32 machine makes.
#[cfg(target_arch = "x86_64")]
const X32: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const X32: Option<i64> = None;

/// Returns whether the kernel filters system calls.
pub(super) fn seccomp() -> Seccomp {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().any(|line| line.starts_with("Seccomp:")) {
        true => Seccomp::Here,
        false => Seccomp::Missing,
    }
}

/// Refuses the calls for this process and what it becomes, for good.
pub(super) fn restrict(demand: Demand, program: &OsStr) -> Result<(), SandboxError> {
    match filters().and_then(|filters| filters.iter().try_for_each(|filter| apply_filter(filter))) {
        Ok(()) => Ok(()),
        Err(_) if demand == Demand::BestEffort && seccomp() == Seccomp::Missing => Ok(()),
        Err(source) => Err(SandboxError::Calls { program: program.to_owned(), source }),
    }
}

fn filters() -> Result<[BpfProgram; 2], Error> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|number| (*number, Vec::new())).collect();
    // Threads are made, processes are not.
    let thread = u64::try_from(CLONE_THREAD).expect("it is one bit");
    refused.insert(libc::SYS_clone, vec![rule(SeccompCmpOp::MaskedEq(thread), 0)?]);
    // A program may end itself and stop its own threads. Its number stays the same when it becomes the tool.
    let own = u64::from(std::process::id());
    for number in [libc::SYS_kill, libc::SYS_tgkill] {
        refused.insert(number, vec![rule(SeccompCmpOp::Ne, own)?]);
    }
    // Limits are its own business, those of other processes are not; 0 is the process itself.
    let others = [condition(SeccompCmpOp::Ne, own)?, condition(SeccompCmpOp::Ne, 0)?];
    refused.insert(libc::SYS_prlimit64, vec![SeccompRule::new(others.into()).map_err(Error::Backend)?]);
    // Its flags are in memory, where no filter looks. Programs fall back to `clone` where it does not exist.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([compiled(refused, EPERM)?, compiled(unknown, ENOSYS)?])
}

/// Returns the condition on the lower half of a call's first argument.
fn condition(operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value).map_err(Error::Backend)
}

fn rule(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    SeccompRule::new(vec![condition(operator, value)?]).map_err(Error::Backend)
}

fn compiled(mut rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, Error> {
    if let Some(x32) = X32 {
        let again: Vec<(i64, Vec<SeccompRule>)> =
            rules.iter().map(|(number, rules)| (number | x32, rules.clone())).collect();
        rules.extend(again);
    }
    let errno = u32::try_from(errno).expect("error numbers are positive");
    let architecture = std::env::consts::ARCH.try_into().map_err(Error::Backend)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), architecture);
    filter.and_then(BpfProgram::try_from).map_err(Error::Backend)
}
