//! Two statuses of an app, one after the other, and what is news in the later one.

use std::collections::BTreeMap;

use super::{Memory, News, Reason};
use crate::api::v1alpha1::{AppStatus, Condition, HistoryEntry, PlanSummary};
use crate::health::Health;
use crate::plan::Action;
use crate::report::{Outcome, SyncStatus};

/// Conditions whose appearance is news.
const CONDITIONS: [(&str, &str, Reason); 6] = [
    ("Rendered", "False", Reason::RenderFailed),
    ("SourceReady", "False", Reason::SourceFailed),
    ("Authorized", "False", Reason::RightsMissing),
    ("Recorded", "False", Reason::InventoryLost),
    ("Stored", "False", Reason::StateUnstored),
    ("Contested", "True", Reason::Contested),
];

/// Returns what is news, in the order in which it happened as far as statuses tell.
pub(super) fn news(memory: &mut Memory, before: Option<&AppStatus>, after: &AppStatus) -> Vec<News> {
    let nothing = AppStatus::default();
    let mut found = Vec::new();
    if before.is_none() {
        found.push(about(after, Reason::Created, "the agent looks after the app from now on".to_owned()));
    }
    let compared = Compared { before: before.unwrap_or(&nothing), after };
    found.extend(compared.approved());
    found.extend(compared.applied(memory));
    found.extend(compared.ended(memory));
    found.extend(compared.conditions());
    found.extend(compared.waits());
    if before.is_some() {
        found.extend(compared.unknown());
    }
    found.extend(compared.health(memory));
    found
}

/// Returns what is wrong, as a status shows it.
pub(super) fn troubles(status: &AppStatus) -> BTreeMap<Reason, String> {
    let shown = CONDITIONS.iter().filter_map(|(kind, value, reason)| {
        let told = condition(status, kind).filter(|told| told.status == *value)?;
        Some((*reason, format!("{}: {}", told.reason, told.message)))
    });
    let mut found: BTreeMap<Reason, String> = shown.collect();
    if status.health == Health::Degraded.word() {
        found.insert(Reason::Degraded, ailment(status).to_owned());
    }
    if let Some(ready) = ready(status).filter(|ready| ready.status == "False") {
        let waits = match ready.reason.as_str() {
            "WaitingForApproval" => Some(Reason::WaitingForApproval),
            "Held" => Some(Reason::Held),
            "Drifted" => Some(Reason::Drifted),
            _ => None,
        };
        found.extend(waits.map(|reason| (reason, ready.message.clone())));
        let newest = status.history.first().and_then(|entry| Outcome::read(&entry.outcome));
        if matches!(newest, Some(Outcome::Blocked | Outcome::Failed)) {
            found.insert(Reason::SyncFailed, format!("{}: {}", ready.reason, ready.message));
        }
    }
    found
}

struct Compared<'a> {
    before: &'a AppStatus,
    after: &'a AppStatus,
}

impl Compared<'_> {
    /// A person has approved the plan that waited.
    fn approved(&self) -> Option<News> {
        let waited = self.before.plan.as_ref().filter(|plan| plan.approved_by.is_none())?;
        let now = self.after.plan.as_ref().filter(|plan| plan.digest == waited.digest);
        let now = now.and_then(|plan| plan.approved_by.clone());
        // It may be over already. Who approved it stands in the history then.
        let ended = || self.syncs().filter(|_| is_waiting(self.before)).find_map(|it| it.approved_by.clone());
        let by = now.or_else(ended)?;
        Some(about(self.after, Reason::Approved, format!("plan {} was approved by {by}", waited.digest)))
    }

    /// The writes of the sync that had begun are done.
    fn applied(&self, memory: &mut Memory) -> Option<News> {
        let applied = self.after.applied.as_ref()?;
        let is_new = self.before.applied.as_ref().is_none_or(|before| before.name != applied.name);
        let is_over = self.syncs().any(|entry| entry.outcome == Outcome::Success.word());
        let started = memory.started.take_if(|started| *started == applied.name && (is_new || is_over))?;
        let text = format!("everything of {started} is applied");
        Some(News { reason: Reason::SyncApplied, revision: applied.clone(), text })
    }

    /// The syncs that have ended, the earliest first.
    fn ended(&self, memory: &mut Memory) -> Vec<News> {
        let of = |entry: &HistoryEntry| match Outcome::read(&entry.outcome)? {
            Outcome::Success => Some(self.synced(entry)),
            Outcome::Blocked | Outcome::Failed => Some(self.failed(entry)),
            Outcome::Superseded | Outcome::Running => None,
        };
        let told: Vec<News> = self.syncs().filter_map(of).collect();
        if !told.is_empty() {
            memory.started = None;
        }
        told
    }

    fn synced(&self, entry: &HistoryEntry) -> News {
        let last = self.before.history.first();
        let is_back = entry.pinned && last.is_none_or(|last| last.render != entry.render);
        let (reason, verb) =
            if is_back { (Reason::RolledBack, "rolled back") } else { (Reason::Synced, "synced") };
        let subject = match entry.revision.subject.as_str() {
            "" => String::new(),
            subject => format!(" {subject:?}"),
        };
        let by = entry.approved_by.as_ref().map_or_else(String::new, |by| format!(", approved by {by}"));
        let counts = entry.counts.iter().filter(|(action, _)| *action != Action::Unchanged.word());
        let counts: Vec<String> = counts.map(|(action, count)| format!("{count} {action}")).collect();
        let counts = if counts.is_empty() { "nothing to change".to_owned() } else { counts.join(", ") };
        let name = &entry.revision.name;
        let text = format!("{verb} to {name}{subject}: {counts}{by}");
        News { reason, revision: entry.revision.clone(), text }
    }

    fn failed(&self, entry: &HistoryEntry) -> News {
        let name = &entry.revision.name;
        let why = ready(self.after).filter(|ready| ready.status == "False" && !ready.message.is_empty());
        let why = why.map_or_else(String::new, |ready| format!(": {}: {}", ready.reason, ready.message));
        News {
            reason: Reason::SyncFailed,
            revision: entry.revision.clone(),
            text: format!("sync to {name} failed{why}"),
        }
    }

    /// Returns the syncs that have ended since, the earliest first.
    fn syncs(&self) -> impl Iterator<Item = &HistoryEntry> {
        let newest = self.before.history.iter().map(|entry| entry.number).max().unwrap_or_default();
        self.after.history.iter().rev().filter(move |entry| entry.number > newest)
    }

    fn conditions(&self) -> impl Iterator<Item = News> {
        CONDITIONS.iter().filter_map(|(kind, status, reason)| {
            let told = condition(self.after, kind).filter(|told| told.status == *status)?;
            let known = condition(self.before, kind).filter(|known| known.status == *status);
            // What one message says of several objects changes with each of them.
            let is_known = known.is_some_and(|known| match reason {
                Reason::Contested => known.message == told.message,
                Reason::RenderFailed => known.reason == told.reason && !self.has_moved(),
                _ => known.reason == told.reason,
            });
            (!is_known).then(|| about(self.after, *reason, format!("{}: {}", told.reason, told.message)))
        })
    }

    fn has_moved(&self) -> bool {
        let name = |status: &AppStatus| status.revision.as_ref().map(|revision| revision.name.clone());
        name(self.before) != name(self.after)
    }

    /// What the app waits for until a person does something.
    fn waits(&self) -> Option<News> {
        let told = ready(self.after).filter(|told| told.status == "False")?;
        let known = ready(self.before).filter(|known| known.reason == told.reason);
        match told.reason.as_str() {
            "WaitingForApproval" => {
                let plan = self.after.plan.as_ref()?;
                let other = self.before.plan.as_ref().is_none_or(|known| known.digest != plan.digest);
                let text = || format!("plan {} waits for approval: {}", plan.digest, changes(plan));
                (known.is_none() || other).then(|| about(self.after, Reason::WaitingForApproval, text()))
            }
            "Held" => {
                let is_known = known.is_some_and(|known| known.message == told.message);
                (!is_known).then(|| about(self.after, Reason::Held, told.message.clone()))
            }
            "Drifted" => {
                let is_known = known.is_some_and(|known| known.message == told.message);
                (!is_known).then(|| about(self.after, Reason::Drifted, told.message.clone()))
            }
            _ => None,
        }
    }

    fn unknown(&self) -> Option<News> {
        let word = SyncStatus::Unknown.word();
        let is_new = self.after.sync == word && self.before.sync != word && !self.before.sync.is_empty();
        let why = ready(self.after).map_or("", |ready| ready.message.as_str());
        is_new.then(|| {
            about(
                self.after,
                Reason::SyncUnknown,
                format!("whether the app is as Git says is not known: {why}"),
            )
        })
    }

    fn health(&self, memory: &mut Memory) -> Option<News> {
        let degraded = Health::Degraded.word();
        memory.ailing |= self.before.health == degraded;
        if self.after.health == degraded {
            let is_new = self.before.health != degraded;
            return is_new.then(|| about(self.after, Reason::Degraded, ailment(self.after).to_owned()));
        }
        let is_well = [Health::Healthy, Health::Suspended].map(Health::word).contains(&&*self.after.health);
        let recovers = is_well && std::mem::take(&mut memory.ailing);
        recovers.then(|| about(self.after, Reason::Recovered, "the app is healthy again".to_owned()))
    }
}

/// Makes news of what the app's newest revision is about.
fn about(status: &AppStatus, reason: Reason, text: String) -> News {
    News { reason, revision: status.revision.clone().unwrap_or_default(), text }
}

fn condition<'a>(status: &'a AppStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn ailment(status: &AppStatus) -> &str {
    if status.message.is_empty() { "the app is degraded" } else { &status.message }
}

fn ready(status: &AppStatus) -> Option<&Condition> {
    condition(status, "Ready")
}

fn is_waiting(status: &AppStatus) -> bool {
    ready(status).is_some_and(|ready| ready.reason == "WaitingForApproval")
}

/// Says what a plan does, in numbers.
fn changes(plan: &PlanSummary) -> String {
    let counts = [
        (plan.created, Action::Created),
        (plan.configured, Action::Configured),
        (plan.recreated, Action::Recreated),
        (plan.pruned, Action::Pruned),
        (plan.held, Action::Held),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, action)| format!("{count} {}", action.word())).collect();
    if counts.is_empty() { "no object changes".to_owned() } else { counts.join(", ") }
}
