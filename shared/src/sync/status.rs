//! Reporting: the machine's state as a [`Report`], published when something visible changed.

use jiff::{SignedDuration, Timestamp};

use super::effect::Effect;
use super::event::{Blind, Cause, Refusal};
use super::fail::Why;
use super::hooks::describe;
use super::row::{Row, RowIx, Task};
use super::state::{Machine, Phase, Run};
use crate::desired::{Interval, Revision};
use crate::gate;
use crate::gate::depend::{self, Standing};
use crate::health::Health;
use crate::hook::{Ended, SyncPhase};
use crate::inventory::Record;
use crate::object::{GroupKind, ObjectId};
use crate::plan::{Action, HeldReason};
use crate::policy::Mode;
use crate::report::{
    Condition, MAX_FAILURES, MAX_ROWS, ObjectCounts, ObjectReport, Outcome, PinReport, PlanReport, Report,
    RunRecord, Stage, SyncStatus, WindowReport, shortened,
};
use crate::rights::{self, MissingRight};

/// Characters of a message that a status shows at most; the log has it whole.
const MESSAGE: usize = 1_000;

/// Characters of one refusal that a condition shows at most.
const REFUSAL: usize = 300;

/// How long the first report after a start waits for the lists of all kinds.
const LISTS: SignedDuration = SignedDuration::from_secs(10);

/// Things waited for that a status names at most.
const NAMED: usize = 5;

impl Machine {
    /// Returns when the state is to be published; `None` when nothing changed.
    pub(super) fn publish_due(&self) -> Option<Timestamp> {
        if !self.has_something_to_say() {
            return None;
        }
        let gathered = self.changed_at? + self.limits.publish_after;
        let spaced = self.published_at.map_or(gathered, |at| at + self.limits.publish_every);
        // A restart must not show healthy objects as unknown until their lists have been read.
        let listed = self.loaded_at.filter(|_| !self.unlisted.is_empty()).map_or(gathered, |at| at + LISTS);
        Some(gathered.max(spaced).max(listed))
    }

    /// Whether a report of this machine says more than that it has just been started, or stands by.
    fn has_something_to_say(&self) -> bool {
        let failed = self.source_problem.is_some() || self.render_problems.is_some();
        let told = self.desired.is_some() || failed || self.course.problem().is_some();
        told && !matches!(self.phase, Phase::Standby | Phase::Loading)
    }

    pub(super) fn publish(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let last_words = self.draining && self.changed_at.is_some() && self.open.is_empty();
        if !last_words && self.publish_due().is_none_or(|due| due > now) {
            return;
        }
        self.changed_at = None;
        if !self.has_something_to_say() {
            return;
        }
        let report = Box::new(self.report());
        if self.published.as_ref() == Some(&report) {
            return;
        }
        self.published_at = Some(now);
        self.published = Some(report.clone());
        out.push(Effect::Publish(report));
    }

    /// Returns the state of the app as it would be published now.
    pub fn report(&self) -> Report {
        let objects = self.counts();
        Report {
            sync: self.sync_status(&objects),
            health: self.app_health(),
            revision: self.revision.clone(),
            applied: self.applied.clone(),
            assignment: self.assignment.as_deref().cloned(),
            phase: self.phase.word(),
            waiting_for: self.waiting_for(),
            plan: self.run.as_ref().map(|run| self.plan_report(run)),
            conditions: self.conditions(&objects),
            objects,
            rows: self.object_reports(),
            history: self.history.iter().cloned().collect(),
            pinned: self.pin_report(),
            window: self.window(),
            synced_for: self.synced_for.clone(),
        }
    }

    fn plan_report(&self, run: &Run) -> PlanReport {
        let given = self.ask.approval.as_ref().filter(|given| given.digest == run.digest);
        // It may be approved already and wait for something else.
        let by = given.filter(|_| self.policy.mode == Mode::Manual).map(|given| given.by.clone());
        PlanReport {
            digest: run.digest,
            counts: run.counts(),
            changes: run.plan.changes(MAX_ROWS),
            approved_by: run.approved_by.clone().or(by),
        }
    }

    /// Returns what the windows say now, where there are any.
    fn window(&self) -> Option<WindowReport> {
        let opening = self.opening.filter(|_| !self.policy.windows.is_empty())?;
        let until = if opening.open { opening.until } else { opening.opens_at };
        Some(WindowReport { open: opening.open, until })
    }

    /// Returns what the app tells those that depend on it.
    pub fn standing(&self) -> Standing {
        let rests = self.phase == Phase::Idle && self.next.is_none() && self.render_problems.is_none();
        // Who waits for this app waits for those that it waits for itself, also where it has nothing to do.
        let alone = |revision: &Revision| depend::waits_for(&self.standings, revision).is_empty();
        let arrived = rests
            && self.revision.as_ref().is_some_and(alone)
            && self.sync_status(&self.counts()) == SyncStatus::Synced
            && matches!(self.app_health(), Health::Healthy | Health::Suspended);
        Standing::of(self.revision.as_ref(), arrived)
    }

    fn counts(&self) -> ObjectCounts {
        let mut counts = ObjectCounts::default();
        for row in self.rows.iter().filter(|row| row.is_hook()) {
            counts.held += u32::from(is_held_back(row));
            counts.failed += u32::from(failure_of(row).is_some());
        }
        let kept = self.rows.iter().filter(|row| !row.is_hook());
        for row in kept.filter(|row| row.wanted.is_some() || row.record != Record::None) {
            counts.total += 1;
            counts.healthy += u32::from(row.health() == Health::Healthy);
            counts.out_of_sync += u32::from(!is_synced(row));
            counts.held += u32::from(is_held_back(row));
            counts.drifted += u32::from(is_drifted(row));
            counts.failed += u32::from(failure_of(row).is_some());
        }
        counts
    }

    fn sync_status(&self, objects: &ObjectCounts) -> SyncStatus {
        let unknown = self.desired.is_none() || matches!(self.phase, Phase::Standby | Phase::Loading);
        if unknown {
            SyncStatus::Unknown
        } else if objects.out_of_sync > 0
            || self.blocked.is_some()
            || self.next.is_some()
            || self.pin_report().is_some_and(|pin| pin.differs || pin.problem.is_some())
            || self.rows.iter().any(|row| row.is_hook() && is_held_back(row))
        {
            SyncStatus::OutOfSync
        } else {
            SyncStatus::Synced
        }
    }

    /// Returns the worst health of the wanted objects.
    fn app_health(&self) -> Health {
        if self.desired.is_none() && self.rows.is_empty() {
            return Health::Unknown;
        }
        let judged = self.rows.iter().filter(|row| row.wanted.is_some() && !row.is_hook());
        let judged = judged.filter(|row| !row.options.ignore_health);
        judged.map(|row| self.health_of(row)).fold(Health::Healthy, Health::worst)
    }

    /// Held objects that were never written are no sign of ill health.
    fn health_of(&self, row: &Row) -> Health {
        if row.held.is_some() && row.record == Record::None { Health::Healthy } else { row.health() }
    }

    pub(super) fn waiting_for(&self) -> Vec<String> {
        let Some(run) = &self.run else { return Vec::new() };
        match self.phase {
            Phase::Preflight => {
                let unchecked = run.unchecked.iter().map(|ix| &self.rows[ix.get()]);
                first_few(unchecked.map(|row| format!("{} to be checked", row.id)))
            }
            Phase::Gated => match self.verdict() {
                Some(gate::Verdict::Wait(wait)) => vec![wait.to_string()],
                Some(gate::Verdict::Go { .. }) | None => Vec::new(),
            },
            Phase::Keeping => vec!["the rendered bodies to be stored in the cluster".to_owned()],
            Phase::Claiming => vec!["the inventory to be stored in the cluster".to_owned()],
            Phase::Applying | Phase::Pruning => {
                let waits = |row: &&Row| !row.is_ready() || matches!(row.task, Task::AwaitGone | Task::Prune);
                let hooks = self.hooks_waited_for(run);
                let awaits_kind =
                    |row: &Row| self.index.get(&row.id).is_some_and(|ix| run.awaiting_kind.contains(ix));
                let prunes = run.plan.prunes.iter().skip(run.pruned);
                let prunes =
                    prunes.map(|prune| format!("{} to be pruned when everything is healthy", prune.id));
                let rows = self.rows.iter().filter(waits).map(|row| describe_wait(row, awaits_kind(row)));
                let mut named = first_few(hooks.into_iter());
                named.extend(first_few(rows));
                named.extend(first_few(prunes));
                named
            }
            Phase::Standby | Phase::Loading | Phase::Idle => Vec::new(),
        }
    }

    /// Names the hooks whose turn it is, or those that run after a failure.
    fn hooks_waited_for(&self, run: &Run) -> Vec<String> {
        let cleans_up = |ix: &&RowIx| {
            let row = &self.rows[ix.get()];
            run.failed.is_some() && row.held.is_none() && self.left(**ix).contains(SyncPhase::SyncFail)
        };
        let after_failure = self.hooks.iter().filter(cleans_up).map(|ix| (SyncPhase::SyncFail, *ix));
        let turn = run.hooks.first().map(|(phase, wave, _)| (*phase, *wave));
        let due =
            run.hooks.iter().filter(|(phase, wave, _)| !run.is_given_up() && Some((*phase, *wave)) == turn);
        let due = due.map(|(phase, _, ix)| (*phase, *ix)).chain(after_failure);
        due.map(|(phase, ix)| describe_hook(phase, &self.rows[ix.get()])).collect()
    }

    fn conditions(&self, objects: &ObjectCounts) -> Vec<Condition> {
        let mut conditions = vec![self.ready_condition(objects)];
        if let Some((reason, message)) = &self.source_problem {
            conditions.push(Condition {
                kind: "SourceReady",
                status: false,
                reason: reason.clone(),
                message: cut(message),
            });
        }
        if let Some(problem) = &self.config_problem {
            conditions.push(Condition {
                kind: "Configured",
                status: false,
                reason: "ConfigRefused".to_owned(),
                message: cut(&format!(
                    "the agent's changed file is refused, the one before it stays in force: {problem}"
                )),
            });
        }
        if let Some((_, problems)) = &self.render_problems {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            conditions.push(Condition {
                kind: "Rendered",
                status: false,
                reason: "RenderFailed".to_owned(),
                message: cut(&all.join("; ")),
            });
        }
        conditions.extend(self.watched_condition());
        conditions.extend(self.authorized_condition());
        let contested =
            self.rows.iter().filter_map(|row| Some((row, row.trouble.as_ref()?.contested.as_ref()?)));
        let contested: Vec<String> = contested
            .take(NAMED)
            .map(|(row, manager)| format!("{} contested by {manager:?}", row.id))
            .collect();
        conditions.extend(self.pin_report().map(|pin| pinned_condition(&pin)));
        if !contested.is_empty() {
            conditions.push(Condition {
                kind: "Contested",
                status: true,
                reason: "Contested".to_owned(),
                message: cut(&contested.join("; ")),
            });
        }
        conditions
    }

    /// Says which objects of the app cannot be seen, if there are any: their drift and health are unknown.
    fn watched_condition(&self) -> Option<Condition> {
        let unseen: Vec<(&GroupKind, &Blind)> = self.unseen().collect();
        let (_, first) = unseen.first()?;
        let named = unseen.iter().map(|(kind, blind)| match &blind.namespace {
            Some(namespace) => format!("{kind} in {namespace}"),
            None => kind.to_string(),
        });
        Some(Condition {
            kind: "Watched",
            status: false,
            reason: first.cause.reason.word().to_owned(),
            message: cut(&format!("drift and health of these are not seen: {}", first_few(named).join(", "))),
        })
    }

    /// Says which rights the agent lacks for this app, if it lacks any.
    fn authorized_condition(&self) -> Option<Condition> {
        let blocked = self.blocked.iter().flat_map(|blocked| &blocked.problems).map(|(_, cause)| cause);
        let failed = self.rows.iter().filter_map(|row| row.trouble.as_ref()?.cause.as_ref());
        let causes = blocked.chain(failed).chain(self.unseen().map(|(_, blind)| &blind.cause));
        let refused = causes.filter(|cause| cause.reason == Refusal::Forbidden);
        let missing = rights::describe(refused.filter_map(|cause| MissingRight::read(&cause.message)));
        (!missing.is_empty()).then(|| Condition {
            kind: "Authorized",
            status: false,
            reason: "RightsMissing".to_owned(),
            message: cut(&missing),
        })
    }

    /// Returns the kinds and places that cannot be seen and that objects of the app are in.
    fn unseen(&self) -> impl Iterator<Item = (&GroupKind, &Blind)> {
        let places =
            self.blind.iter().flat_map(|(kind, places)| places.iter().map(move |place| (&**kind, place)));
        places.filter(|(kind, place)| {
            self.rows.iter().any(|row| {
                &**row.id.kind() == *kind
                    && place
                        .namespace
                        .as_deref()
                        .is_none_or(|namespace| row.id.namespace() == Some(namespace))
            })
        })
    }

    fn ready_condition(&self, objects: &ObjectCounts) -> Condition {
        let (status, reason, message) = self.readiness(objects);
        Condition { kind: "Ready", status, reason: reason.to_owned(), message: cut(&message) }
    }

    fn readiness(&self, objects: &ObjectCounts) -> (bool, &'static str, String) {
        if let Some(blocked) = &self.blocked {
            let all: Vec<String> = blocked.problems.iter().map(|(id, cause)| refused(id, cause)).collect();
            let text = format!("nothing was written, {} objects are refused: {}", all.len(), all.join("; "));
            return (false, "PreflightFailed", text);
        }
        if let Some((revision, problems)) = &self.render_problems {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            return (false, "RenderFailed", format!("{revision} cannot be rendered: {first}"));
        }
        if let Some(paused) = &self.ask.paused {
            return (false, "Paused", format!("paused: {paused}"));
        }
        if let Some((reason, message)) = self.failure() {
            return (false, reason, message);
        }
        if objects.failed > 0 {
            let failures =
                self.rows.iter().filter_map(|row| Some(format!("{}: {}", row.id, failure_of(row)?)));
            return (false, "ApplyFailed", failures.take(NAMED).collect::<Vec<_>>().join("; "));
        }
        match self.phase {
            Phase::Standby => (false, "Standby", "another agent holds the lease".to_owned()),
            Phase::Loading => (false, "Loading", "the recorded state is being read".to_owned()),
            Phase::Gated => match self.verdict() {
                Some(gate::Verdict::Wait(wait)) => (false, wait.word(), wait.to_string()),
                Some(gate::Verdict::Go { .. }) | None => (false, "Syncing", String::new()),
            },
            Phase::Idle => self.idle_readiness(objects),
            _ => (false, "Syncing", self.waiting_for().join("; ")),
        }
    }

    /// Says why the sync has failed, if it has; what is refused speaks for itself.
    fn failure(&self) -> Option<(&'static str, String)> {
        let failed = self.run.as_ref().map_or(&self.failed, |run| &run.failed).as_ref()?;
        let goes_on = match failed.why {
            Why::Hook => {
                "nothing else of this release is written before a new commit or a word (spec.sync)".to_owned()
            }
            Why::Stalled => {
                let waiting = self.waiting_for().join("; ");
                let text = format!(
                    "no progress for {:#}; it goes on when this comes right: {waiting}",
                    self.policy.timeout
                );
                return Some((failed.why.word(), text));
            }
            Why::Refused => return None,
        };
        Some((failed.why.word(), format!("{}; {goes_on}", failed.message)))
    }

    fn idle_readiness(&self, objects: &ObjectCounts) -> (bool, &'static str, String) {
        if self.desired.is_none() {
            let text = match &self.source_problem {
                Some((_, message)) => message.clone(),
                None => "the source has not been read yet".to_owned(),
            };
            return (false, "SourceNotRead", text);
        }
        if let Some(pin) = self.pin_report().filter(|pin| pin.differs || pin.problem.is_some()) {
            return (false, "Pinned", pin.to_string());
        }
        if objects.held > 0 {
            let held = self.rows.iter().filter(|row| is_held_back(row)).take(NAMED);
            let named: Vec<String> =
                held.filter_map(|row| Some(format!("{}: {}", row.id, row.held_reason()?))).collect();
            return (false, "Held", format!("{} objects are held back: {}", objects.held, named.join("; ")));
        }
        if objects.drifted > 0 {
            let drifted = self.rows.iter().filter(|row| is_drifted(row)).take(NAMED).map(describe_drift);
            return (false, "Drifted", drifted.collect::<Vec<_>>().join("; "));
        }
        match self.app_health() {
            Health::Healthy | Health::Suspended => {
                (true, "Synced", format!("{} objects as in Git", objects.total))
            }
            health => {
                (false, health.word(), format!("{} of {} objects healthy", objects.healthy, objects.total))
            }
        }
    }

    /// Returns the objects worth showing, the worst first.
    fn object_reports(&self) -> Vec<ObjectReport> {
        let is_shown = |row: &&Row| {
            let idle_hook = row.hook.is_some() && row.held.is_none() && run_of(row).is_none();
            (row.wanted.is_some() || row.record != Record::None) && !idle_hook
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(is_shown).collect();
        let badness = |row: &Row| {
            let failed =
                failure_of(row).is_some() || matches!(run_of(row), Some((_, Some(Ended::Failed(_)))));
            (!failed, row.held.is_none(), !is_drifted(row), is_synced(row), std::cmp::Reverse(row.health()))
        };
        let order = |a: &&Row, b: &&Row| badness(a).cmp(&badness(b)).then_with(|| a.id.cmp(&b.id));
        if rows.len() > MAX_ROWS {
            // Only the worst are put in order: there may be thousands of others.
            rows.select_nth_unstable_by(MAX_ROWS, order);
            rows.truncate(MAX_ROWS);
        }
        rows.sort_by(order);
        rows.into_iter().map(|row| self.object_report(row)).collect()
    }

    /// Why preflight stopped at the object, if it did.
    fn refusal_of(&self, row: &Row) -> Option<String> {
        let (_, cause) = self.blocked.as_ref()?.problems.iter().find(|(id, _)| *id == row.id)?;
        Some(describe_cause(cause))
    }

    /// Says that nobody knows how the object is: its kind has gone since it was written.
    fn kindless(&self, row: &Row) -> Option<String> {
        let kind = row.id.kind();
        let served = self.apis.served(kind, &row.version);
        (row.wanted.is_some() && !served).then(|| format!("its kind {kind} is not served"))
    }

    fn object_report(&self, row: &Row) -> ObjectReport {
        let held = row.held_reason().map(ToString::to_string);
        let drift = row.drift.as_ref().filter(|drift| !drift.is_open()).map(|_| describe_drift(row));
        let health = row.seen.as_ref().and_then(|seen| seen.health.message.clone());
        let contested = row.trouble.as_ref().and_then(|trouble| trouble.contested.clone());
        let contested = contested.map(|manager| format!("contested by {manager:?}"));
        let refused = self.refusal_of(row);
        let task = outstanding(row).map(str::to_owned).or_else(|| self.kindless(row));
        let hook = run_of(row).map(|(phase, ended)| describe_run(phase, ended, health.as_deref()));
        let message =
            failure_of(row).or(refused).or(held).or(hook).or(contested).or(drift).or(task).or(health);
        let message = message.unwrap_or_default();
        ObjectReport {
            group: row.id.kind().group.to_string(),
            kind: row.id.kind().kind.to_string(),
            namespace: row.id.namespace().map(str::to_owned),
            name: row.id.name().to_owned(),
            sync: if is_synced(row) { SyncStatus::Synced } else { SyncStatus::OutOfSync },
            health: match run_of(row) {
                Some((_, Some(Ended::Succeeded))) => Health::Healthy,
                Some((_, Some(Ended::Failed(_)))) => Health::Degraded,
                Some((_, None)) | None => self.health_of(row),
            },
            message: cut(&message),
        }
    }
}

fn pinned_condition(pin: &PinReport) -> Condition {
    Condition {
        kind: "Pinned",
        status: pin.problem.is_none(),
        reason: if pin.problem.is_none() { "Pinned" } else { "ReleaseMissing" }.to_owned(),
        message: cut(&pin.to_string()),
    }
}

/// Returns the phase that a hook has come to, and how it ended in it.
fn run_of(row: &Row) -> Option<(SyncPhase, Option<&Ended>)> {
    let run = row.hook_run.as_ref()?;
    Some((run.phase?, run.ended.as_ref()))
}

fn describe_run(phase: SyncPhase, ended: Option<&Ended>, health: Option<&str>) -> String {
    let (what, colon) = (ended.map(describe), if health.is_some() { ": " } else { "" });
    let what = what.unwrap_or_else(|| format!("runs{colon}{}", health.unwrap_or_default()));
    format!("{phase} hook, {what}")
}

fn is_synced(row: &Row) -> bool {
    if row.is_hook() {
        return !is_held_back(row);
    }
    let as_wanted =
        if row.wanted.is_some() { row.is_current() && !row.is_deleting() } else { row.held.is_some() };
    // What asks to be left alone is as it asks.
    let is_left = row.held_reason().is_some_and(HeldReason::is_asked_for);
    (as_wanted || is_left) && !is_held_back(row) && !is_drifted(row)
}

/// Says what a sync has still to do with an object that nothing else is told of.
fn outstanding(row: &Row) -> Option<&'static str> {
    match (row.wanted, &row.record) {
        (None, _) => Some("it is no longer in Git and still to be pruned"),
        (Some(_), Record::None | Record::Claimed) => Some("it is still to be written"),
        (Some(_), Record::Settled(_)) if !row.is_current() => Some("it is still to be written as in Git"),
        (Some(_), Record::Settled(_)) => None,
    }
}

/// Whether the plan leaves the object in a state that is not Git's.
fn is_held_back(row: &Row) -> bool {
    let ignored = row.wanted.is_none() && row.options.ignore_extraneous;
    !ignored && row.held_reason().is_some_and(HeldReason::out_of_sync)
}

fn first_few(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut named: Vec<String> = all.take(NAMED + 1).collect();
    if named.len() > NAMED {
        named.truncate(NAMED);
        named.push("and more".to_owned());
    }
    named
}

fn is_drifted(row: &Row) -> bool {
    row.drift.as_ref().is_some_and(|drift| !drift.is_open())
}

fn failure_of(row: &Row) -> Option<String> {
    Some(describe_cause(row.trouble.as_ref()?.cause.as_ref()?))
}

fn describe_cause(cause: &Cause) -> String {
    format!("{}: {}", cause.reason.word(), cause.message)
}

fn describe_wait(row: &Row, awaits_kind: bool) -> String {
    if matches!(row.task, Task::AwaitGone | Task::Prune) {
        return format!("{} to be gone", row.id);
    }
    if awaits_kind {
        return format!("{} to be written (its kind {} is not served yet)", row.id, row.id.kind());
    }
    let health = || row.seen.as_ref().and_then(|seen| seen.health.message.clone());
    let message = failure_of(row).or_else(health).unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{} to be healthy (now {}{colon}{message})", row.id, row.health().word())
}

fn describe_hook(phase: SyncPhase, row: &Row) -> String {
    let state = match (row.held_reason(), row.is_running()) {
        (Some(reason), _) => format!("it is held: {reason}"),
        (None, true) => {
            let message = row.seen.as_ref().and_then(|seen| seen.health.message.as_deref());
            format!("now {}", message.unwrap_or(row.health().word()))
        }
        (None, false) => "it has not been created yet".to_owned(),
    };
    format!("{phase} hook {} to succeed ({state})", row.id)
}

fn describe_drift(row: &Row) -> String {
    let Some(drift) = &row.drift else { return String::new() };
    let who = drift.what.actor.as_ref().map_or_else(String::new, |actor| format!(" by {:?}", actor.manager));
    let paths: Vec<String> = drift.what.paths.iter().take(NAMED).map(ToString::to_string).collect();
    let colon = if paths.is_empty() { "" } else { ": " };
    let held = match row.held_until() {
        Some(until) if until == Timestamp::MAX => ", and is left so by an annotation".to_owned(),
        Some(until) => format!(", and is not healed until {until}"),
        None => String::new(),
    };
    format!("{} {}{who}{colon}{}{held}", row.id, drift.what.kind.word(), paths.join(", "))
}

/// Says why an object is refused, so shortly that several have room: the server may quote the object.
fn refused(id: &ObjectId, cause: &Cause) -> String {
    format!("{id}: {}", shortened(&cause.message, REFUSAL))
}

fn cut(message: &str) -> String {
    shortened(message, MESSAGE)
}

impl Run {
    pub(super) fn counts(&self) -> Vec<(Action, u32)> {
        let actions = [
            Action::Created,
            Action::Configured,
            Action::Unchanged,
            Action::Recreated,
            Action::Pruned,
            Action::Held,
        ];
        actions
            .into_iter()
            .map(|action| (action, self.plan.count(action)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Ends the present stage under `name` and begins the next.
    pub(super) fn close_stage(&mut self, name: &'static str, now: Timestamp) {
        self.stage(name).interval.end = now;
        self.stage_began = now;
    }

    /// Returns a stage, which begins with the present one if it has not begun yet.
    pub(super) fn stage(&mut self, name: &'static str) -> &mut Stage {
        let at = self.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            let interval = Interval { start: self.stage_began, end: self.stage_began };
            self.stages.push(Stage { name, interval, events: Vec::new() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }

    /// Returns what failed, and what is wanted and was not written at all.
    fn all_failures(&self) -> Vec<(String, &'static str, String)> {
        let unwritten = self.plan.held.iter().filter(|held| held.reason.leaves_unwritten());
        let unwritten =
            unwritten.map(|held| (held.id.to_string(), held.reason.word(), held.reason.to_string()));
        self.failures.iter().cloned().chain(unwritten).take(MAX_FAILURES).collect()
    }

    pub(super) fn record(&self, outcome: Outcome, now: Timestamp) -> RunRecord {
        let first = self.stages.first().map_or(self.began, |stage| stage.interval.start);
        RunRecord {
            revision: self.desired.revision.clone(),
            cause: self.cause,
            outcome,
            stages: self.stages.clone(),
            began: first.min(self.began),
            ended: now,
            counts: self.counts(),
            failures: self.all_failures(),
            approved_by: self.approved_by.clone(),
        }
    }
}
