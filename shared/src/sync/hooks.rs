//! Hooks: objects that run once for a release, in the phase that they name.
//!
//! A run is recorded before what stands in its place is deleted, and that is gone before the hook is created; its health
//! is its result, and the result is recorded before the object goes. So a crash at any point repeats nothing that has
//! been seen to end, and leaks nothing.

use jiff::Timestamp;

use super::effect::{Effect, Notice};
use super::event::{Answer, Failure, Observation};
use super::fail::{Failed, Why};
use super::row::{Row, RowIx, Task};
use super::run::Run;
use super::state::{Machine, Phase, SecureState};
use crate::desired::Desired;
use crate::health::Health;
use crate::hook::{DeletePolicy, Ended, HookRun, Phases, Release, SyncPhase};
use crate::inventory::Record;
use crate::report::MAX_FAILURES;

/// What is said of a hook that vanished: nobody can know whether its work was done.
const VANISHED: &str = "it was deleted before its result was seen";

impl Machine {
    /// Returns what a wanted set and people's words ask hooks to run for.
    pub(super) fn release_of(&self, desired: &Desired) -> Release {
        let id = Release::id_of(desired, self.ask.sync.as_deref().or(self.synced_for.as_deref()));
        let mut runs = self.hooks.iter().filter_map(|ix| self.rows[ix.get()].hook_run.as_deref());
        let known = runs.find(|run| run.release == id).map(|run| run.installs);
        Release { id, installs: known.unwrap_or(self.applied.is_none()) }
    }

    /// Notes on every wanted hook that a release has begun, so that none of them shows the one before; returns those
    /// that did.
    pub(super) fn open_release(&mut self, release: Release) -> Vec<RowIx> {
        let mut opened = Vec::new();
        for ix in &self.hooks {
            let row = &mut self.rows[ix.get()];
            let is_open = row.hook_run.as_ref().is_some_and(|run| run.release == release.id);
            if row.hook.is_some() && !is_open {
                row.hook_run = Some(Box::new(HookRun::of(release)));
                opened.push(*ix);
            }
        }
        opened
    }

    /// Returns the phases in which a hook has still to run in this release.
    pub(super) fn left(&self, ix: RowIx) -> Phases {
        let row = &self.rows[ix.get()];
        match (&row.hook, &self.release) {
            (Some(hook), Some(release)) => hook.left(row.hook_run.as_deref(), release),
            _ => Phases::default(),
        }
    }

    /// Whether a hook whose turn has come may be created now; what it takes for that is started.
    pub(super) fn may_create(&mut self, ix: RowIx, phase: SyncPhase, out: &mut Vec<Effect>) -> bool {
        let Some(run) = &self.run else { return false };
        let row = &self.rows[ix.get()];
        let is_this = |known: &HookRun| {
            known.release == run.release.id && known.phase == Some(phase) && known.ended.is_none()
        };
        if !row.hook_run.as_deref().is_some_and(is_this) {
            self.claim_run(ix, phase, out);
            return false;
        }
        if run.claiming.contains(&ix) {
            return false;
        }
        if is_in_its_way(row) || run.unlooked.contains(&ix) {
            self.examine(ix, out);
            return false;
        }
        true
    }

    /// Records that a hook begins to run, and what has to go before.
    fn claim_run(&mut self, ix: RowIx, phase: SyncPhase, out: &mut Vec<Effect>) {
        let Some(run) = &mut self.run else { return };
        let row = &mut self.rows[ix.get()];
        out.push(Effect::Watch(row.id.kind().clone()));
        let before = match (&row.seen, &row.record) {
            (Some(seen), _) => Some(&seen.uid).filter(|_| seen.is_ours),
            (None, record) => record.applied().map(|applied| &applied.uid),
        };
        let before = before.cloned();
        if before.is_none() {
            row.record = Record::Claimed;
        }
        let known = row.hook_run.as_ref().filter(|known| known.release == run.release.id);
        let done = known.map_or(Phases::default(), |known| known.done);
        row.hook_run =
            Some(Box::new(HookRun { phase: Some(phase), done, before, ..HookRun::of(run.release) }));
        run.claiming.insert(ix);
        self.need_claim(ix);
    }

    /// Sends the claims of hooks whose turn has come, and lets those go on whose claim is stored.
    pub(super) fn store_claims(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.run.as_ref().is_none_or(|run| run.claiming.is_empty()) {
            return;
        }
        self.send_claims(now, out);
        let is_stored = |ix: &RowIx| {
            let shard = self.shards.get(self.shard_index(*ix));
            shard.is_some_and(|shard| shard.claim == SecureState::Done)
        };
        let claiming = self.run.iter().flat_map(|run| &run.claiming).copied();
        let stored: Vec<RowIx> = claiming.filter(is_stored).collect();
        let Some(run) = &mut self.run else { return };
        for ix in stored {
            run.claiming.remove(&ix);
            self.due.insert(ix);
        }
    }

    /// Takes the look at what stands in a hook's place.
    pub(super) fn looked_at_place(
        &mut self,
        ix: RowIx,
        result: Result<Answer, Failure>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if let (Some(run), Ok(_)) = (&mut self.run, &result) {
            run.unlooked.remove(&ix);
        }
        let mut seen = match result {
            Ok(Answer::Got(Observation::Present(seen))) => seen,
            Ok(_) | Err(Failure::NotFound(_)) => return self.has_room_for(ix),
            Err(failure) => return self.put_off(ix, &failure, now),
        };
        seen.at.watch = self.generation(ix).max(seen.at.watch);
        let before = self.rows[ix.get()].hook_run.as_ref().and_then(|run| run.before.clone());
        let (uid, deleting, ours) = (seen.uid.clone(), seen.deleting, seen.may_go());
        if !ours {
            if let Some(run) = &mut self.run {
                // Its next phase finds the same, unless somebody makes room.
                run.unlooked.insert(ix);
            }
            let message = "another object has its name: rename the hook, or delete that object".to_owned();
            return self.hook_ended(ix, Ended::Failed(message), now, out);
        }
        self.accept(ix, *seen, now);
        let row = self.row(ix);
        let makes_room = row.hook.as_ref().is_none_or(|hook| hook.delete.before_creation);
        if deleting {
            self.due.insert(ix);
        } else if before.as_ref() != Some(&uid) || !makes_room {
            // It is applied over its last run, or was created before somebody could note it.
            row.record = Record::Claimed;
            if let Some(run) = &mut row.hook_run {
                run.before = None;
            }
            if let Some(run) = &mut self.run {
                run.found.insert(ix);
            }
            self.due.insert(ix);
        } else if self.phase == Phase::Applying && !self.wants_takeover(now) && self.may_write(now) {
            self.start_delete(ix, uid, out);
        } else {
            self.put_off(ix, &Failure::NotSent, now);
        }
    }

    /// Lets a hook be created: nothing is in its way any more.
    pub(super) fn has_room_for(&mut self, ix: RowIx) {
        if let Some(run) = &mut self.run {
            run.found.remove(&ix);
        }
        let row = self.row(ix);
        (row.record, row.seen) = (Record::Claimed, None);
        if let Some(trouble) = &mut row.trouble {
            trouble.not_before = None;
        }
        self.due.insert(ix);
    }

    /// Takes the health of a hook that runs for its result, as Argo CD does.
    pub(super) fn judge_run(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = &self.rows[ix.get()];
        let (true, Some(seen), Some(applied)) = (row.is_running(), &row.seen, row.record.applied()) else {
            return;
        };
        let ended = if seen.uid != applied.uid {
            Ended::Failed("it was replaced before its result was seen".to_owned())
        } else if row.options.ignore_health {
            Ended::Succeeded
        } else {
            let said = || seen.health.message.clone().unwrap_or_else(|| seen.health.health.word().to_owned());
            match seen.health.health {
                Health::Healthy => Ended::Succeeded,
                Health::Degraded | Health::Unknown => Ended::Failed(said()),
                Health::Progressing | Health::Suspended | Health::Missing => return,
            }
        };
        self.hook_ended(ix, ended, now, out);
    }

    pub(super) fn hook_ended(&mut self, ix: RowIx, ended: Ended, now: Timestamp, out: &mut Vec<Effect>) {
        self.mark_dirty(ix, now);
        self.progressed(now);
        self.changed(now);
        let row = &mut self.rows[ix.get()];
        if matches!(row.task, Task::Run(_)) {
            row.task = Task::None;
        }
        let Some(known) = &mut row.hook_run else { return };
        known.ended = Some(ended.clone());
        known.done = known.phase.map_or(known.done, |phase| known.done.with(phase));
        let (id, wave, release) = (row.id.clone(), row.wave, known.release);
        let Some(phase) = known.phase else { return };
        out.push(Effect::Notice(Notice::HookEnded { id: id.clone(), phase, ended: ended.clone() }));
        let Some(run) = self.run.as_mut().filter(|run| run.release.id == release) else { return };
        run.unanswered.remove(&ix);
        run.claiming.remove(&ix);
        run.note_hook(now, format!("{phase} hook {id} {}", describe(&ended)));
        match ended {
            Ended::Succeeded => _ = run.hooks.remove(&(phase, wave, ix)),
            Ended::Failed(message) => {
                if run.failures.len() < MAX_FAILURES {
                    run.failures.push((id.to_string(), "HookFailed", message.clone()));
                }
                if phase != SyncPhase::SyncFail {
                    let message = format!("the {phase} hook {id} failed: {message}");
                    self.fail(Failed { why: Why::Hook, message }, now, out);
                }
            }
        }
    }

    /// Handles the confirmed absence of a hook's object.
    pub(super) fn hook_is_absent(&mut self, ix: RowIx, now: Timestamp, out: &mut Vec<Effect>) {
        let row = self.row(ix);
        if row.is_running() {
            self.hook_ended(ix, Ended::Failed(VANISHED.to_owned()), now, out);
        } else if matches!(row.task, Task::Run(_)) {
            return self.has_room_for(ix);
        }
        self.forget_hook(ix, now);
    }

    /// Drops a hook's object from the record; what became of its run stays as long as Git wants it.
    pub(super) fn forget_hook(&mut self, ix: RowIx, now: Timestamp) {
        let is_known = self.desired.is_some();
        let row = self.row(ix);
        if is_known && row.wanted.is_none() {
            row.hook_run = None;
        }
        if matches!(row.task, Task::Prune | Task::AwaitGone) {
            // What else it waits for, such as a check before the sync, goes on.
            (row.task, row.trouble) = (Task::None, None);
        }
        (row.record, row.seen) = (Record::None, None);
        self.mark_dirty(ix, now);
        self.progressed(now);
        self.changed(now);
    }

    /// Deletes what hooks have left behind, as their policy says or because Git has them no more; their results are
    /// on record before that.
    pub(super) fn clear_hooks(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.phase != Phase::Idle || !self.may_write(now) {
            return;
        }
        let is_going = !self.hooks.is_empty() && self.is_going();
        for at in 0..self.hooks.len() {
            let ix = self.hooks[at];
            let row = &self.rows[ix.get()];
            if !self.has_room() || row.flight.is_some() || !row.is_due(now) {
                continue;
            }
            match row.task {
                Task::None if self.is_to_be_cleared(ix, is_going) => self.row(ix).task = Task::Prune,
                Task::Prune => {}
                _ => continue,
            }
            self.examine(ix, out);
        }
    }

    fn is_to_be_cleared(&self, ix: RowIx, is_going: bool) -> bool {
        let row = &self.rows[ix.get()];
        let Some(run) = &row.hook_run else { return false };
        let shard = self.shards.get(self.shard_index(ix));
        let is_stored = shard.is_some_and(|shard| shard.dirty.is_none() && shard.saving.is_none());
        if row.record == Record::None || !is_stored {
            return false;
        }
        match (&row.hook, row.wanted) {
            // Nobody is left to remove them when the app is gone.
            _ if is_going => !row.is_running() && !self.is_claimed_by_others(row),
            (Some(hook), _) => row.held.is_none() && DeletePolicy::clears(hook.delete, run),
            (None, Some(_)) => false,
            (None, None) => self.may_clear_leftovers() && !self.is_claimed_by_others(row),
        }
    }

    /// Whether what Git no longer has can be told from what nobody knows at the moment.
    fn may_clear_leftovers(&self) -> bool {
        let Some(desired) = &self.desired else { return false };
        let same = self.assignment.as_ref().is_none_or(|before| before.is_same(&desired.assignment));
        same && self.blocked.is_none() && !desired.rows.is_empty() && self.claims.undecided.is_empty()
    }

    fn is_claimed_by_others(&self, row: &Row) -> bool {
        self.claims.conflicts.contains_key(&row.id) || self.claims.handed_over.contains_key(&row.id)
    }

    /// Whether a hook that has been looked at may be deleted now.
    pub(super) fn may_delete_hook(&self, ix: RowIx, now: Timestamp) -> bool {
        self.phase == Phase::Idle
            && !self.wants_takeover(now)
            && self.may_write(now)
            && self.rows[ix.get()].is_hook()
    }

    /// Asks for a row's shard to be stored before the sync goes on.
    pub(super) fn need_claim(&mut self, ix: RowIx) {
        let at = self.shard_index(ix);
        if let Some(shard) = self.shards.get_mut(at) {
            shard.claim = SecureState::Needed;
        }
    }

    /// Sends the shards whose claims must be stored.
    pub(super) fn send_claims(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for index in 0..self.shards.len() {
            let shard = &self.shards[index];
            let waits = shard.not_before.is_some_and(|at| at > now);
            if shard.claim == SecureState::Needed && shard.saving.is_none() && !waits && self.has_room() {
                let token = self.save(index, out);
                self.shards[index].claim = SecureState::Sent(token);
            }
        }
    }
}

impl Run {
    /// Notes what became of a hook, for the span of all of them.
    fn note_hook(&mut self, now: Timestamp, text: String) {
        let stage = self.stage("hook");
        stage.interval.end = now;
        stage.events.push((now, text));
    }
}

/// Whether what stood in a hook's place when its run began may still be there.
fn is_in_its_way(row: &Row) -> bool {
    let Some(before) = row.hook_run.as_ref().and_then(|run| run.before.as_ref()) else { return false };
    let recorded = row.record.applied().is_some_and(|applied| applied.uid == *before);
    recorded || row.seen.as_ref().is_some_and(|seen| seen.uid == *before)
}

/// Says how a hook ended.
pub(super) fn describe(ended: &Ended) -> String {
    match ended {
        Ended::Succeeded => "succeeded".to_owned(),
        Ended::Failed(message) => format!("failed: {message}"),
    }
}
