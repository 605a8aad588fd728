//! What hooks promise: once for a release, in the order of phases, and gone as their policy says.

use skiff_shared::hook::{HookRun, SyncPhase};
use skiff_shared::inventory::Uid;
use skiff_shared::object::ObjectId;
use skiff_shared::plan::order::{self, Turn};
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::{Row, Task};

use super::{Kept, keep};
use crate::replica::Replica;
use crate::world::World;

fn row<'a>(replica: &'a Replica, id: &ObjectId) -> Option<&'a Row> {
    replica.machine.rows().iter().find(|row| row.id == *id)
}

pub(super) fn is_hook(replica: &Replica, id: &ObjectId) -> bool {
    row(replica, id).is_some_and(Row::is_hook)
}

/// Returns the phase that a hook which is being written runs in.
pub(super) fn phase(replica: &Replica, id: &ObjectId) -> Option<SyncPhase> {
    match row(replica, id)?.task {
        Task::Run(phase) => Some(phase),
        _ => None,
    }
}

/// A hook is written for the release and the phase that are on record, and one that cleans up only after a failure.
pub(super) fn applied(replica: &Replica, id: &ObjectId) -> Kept {
    let run = row(replica, id).and_then(|row| row.hook_run.as_deref());
    let phase = phase(replica, id);
    let release = replica.machine.release().map(|release| release.id);
    let recorded =
        run.is_some_and(|run| Some(run.release) == release && run.phase == phase && phase.is_some());
    keep("a-hook-runs-for-its-release-and-phase", recorded, || format!("{id} in {phase:?}: {run:?}"))?;
    let open = run.is_some_and(|run| run.ended.is_none());
    keep("a-hook-that-has-ended-is-not-run-again", open, || format!("{id}: {run:?}"))?;
    let told = replica.notices.iter().any(|notice| matches!(notice, Notice::SyncFailed { .. }));
    let hook_failed = |row: &Row| row.hook_run.as_deref().is_some_and(|run| run.failure().is_some());
    let failed = told || replica.machine.rows().iter().any(hook_failed);
    keep("sync-fail-hooks-run-only-after-a-failure", phase != Some(SyncPhase::SyncFail) || failed, || {
        format!("{id} is run")
    })
}

/// Before something of a turn is written, the hooks of those before have succeeded in this release.
pub(super) fn ran_before(replica: &Replica, turn: Turn, id: &ObjectId) -> Kept {
    let Some(release) = replica.machine.release().filter(|_| turn.0 != SyncPhase::SyncFail) else {
        return Ok(());
    };
    for row in replica.machine.rows().iter().filter(|row| row.id != *id) {
        let Some(hook) = &row.hook else { continue };
        let late =
            hook.left(row.hook_run.as_deref(), &release).iter().find(|phase| (*phase, row.wave) < turn);
        keep("a-turn-waits-for-the-hooks-before-it", late.is_none(), || {
            format!("{id} of {turn:?} is written before {} has run in {late:?}", row.id)
        })?;
    }
    let failed = |row: &&Row| {
        let run = row.hook_run.as_deref().filter(|run| run.release == release.id && row.hook.is_some());
        run.is_some_and(|run| run.failure().is_some())
    };
    let begun = row(replica, id).is_some_and(Row::has_begun);
    let failed = replica.machine.rows().iter().find(failed).filter(|_| !begun);
    keep("a-failed-hook-ends-its-release", failed.is_none(), || format!("{id} is written after {failed:#?}"))
}

/// A hook's object goes to make room, or when it has ended so, or when Git has it no more.
pub(super) fn deleted(replica: &Replica, id: &ObjectId, uid: &Uid) -> Kept {
    let Some(row) = row(replica, id) else { return Ok(()) };
    let run = row.hook_run.as_deref();
    let allowed = match (&row.hook, row.task) {
        (Some(hook), Task::Run(_)) => {
            hook.delete.before_creation && run.is_some_and(|run| run.before.as_ref() == Some(uid))
        }
        // Nobody is left to remove them when the app is gone.
        (Some(hook), _) => replica.goes() || run.is_some_and(|run| hook.delete.clears(run)),
        (None, _) => row.wanted.is_none(),
    };
    keep("a-hook-goes-as-its-policy-says", allowed, || format!("{row:#?}"))
}

/// A hook is created once for a release and phase, unless others have removed it.
///
/// # Errors
/// Names the hook that is created twice.
pub fn ran_once(world: &mut World, replica: &Replica, id: &ObjectId) -> Kept {
    let Some(HookRun { release, phase: Some(phase), .. }) =
        row(replica, id).and_then(|row| row.hook_run.as_deref())
    else {
        return Ok(());
    };
    let is_new = world.runs.insert((id.clone(), *release, *phase));
    keep("a-hook-runs-once-for-a-release", is_new || world.meddled.contains(id), || {
        format!("{id} in {phase} of {release}")
    })
}

/// Returns the turn that a write of an object is part of.
pub(super) fn turn(replica: &Replica, id: &ObjectId) -> Option<Turn> {
    let desired = replica.wants()?;
    let row = desired.rows.iter().find(|row| row.id == *id)?;
    match phase(replica, id) {
        Some(phase) => Some((phase, row.wave)),
        None => Some(order::places(&desired).of(row).turn()),
    }
}
