//! Conditions: is the app as Git says, and if not, why.

use super::objects::{
    describe_co_manager, describe_drift, describe_fight, failure_of, is_drifted, is_held_back,
};
use super::{NAMED, cut, first_few};
use crate::gate;
use crate::health::Health;
use crate::object::{GroupKind, ObjectId};
use crate::report::{Condition, ObjectCounts, PinReport, shortened};
use crate::rights::{self, MissingRight};
use crate::sync::event::{Blind, Cause, Refusal};
use crate::sync::fail::Why;
use crate::sync::state::{Machine, Phase, ShardState};

/// Characters of one refusal that a condition shows at most.
const REFUSAL: usize = 300;

impl Machine {
    pub(super) fn conditions(&self, objects: &ObjectCounts) -> Vec<Condition> {
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
        if let Some((_, why)) = &self.unrendered {
            let all: Vec<String> = why.problems.iter().map(ToString::to_string).collect();
            conditions.push(Condition {
                kind: "Rendered",
                status: false,
                reason: why.reason.to_owned(),
                message: cut(&all.join("; ")),
            });
        }
        conditions.extend(self.approval_tag_condition());
        conditions.extend(self.recorded_condition());
        conditions.extend(self.stored_condition());
        conditions.extend(self.watched_condition());
        conditions.extend(self.authorized_condition());
        conditions.extend(self.pin_report().map(|pin| pinned_condition(&pin)));
        conditions.extend(self.contested_condition());
        conditions.extend(self.co_managed_condition());
        conditions
    }

    /// Says why a tag in Git does not approve the plan that waits, where one might be thought to.
    fn approval_tag_condition(&self) -> Option<Condition> {
        let Some(gate::Verdict::Wait(gate::Wait::Approval { digest, .. })) = self.verdict() else {
            return None;
        };
        let why = self.worthless_tag(digest).filter(|_| self.phase == Phase::Gated)?;
        Some(Condition {
            kind: "ApprovalTag",
            status: false,
            reason: why.reason.to_owned(),
            message: cut(&why.message),
        })
    }

    /// Says that the inventory was lost, as long as something that was found again waits for a person's word.
    fn recorded_condition(&self) -> Option<Condition> {
        let found = || self.rows.iter().filter(|row| row.options.found);
        let count = found().count();
        (count > 0).then(|| Condition {
            kind: "Recorded",
            status: false,
            reason: "InventoryLost".to_owned(),
            message: cut(&format!(
                "the inventory was lost and is rebuilt from labels; {count} objects that are not known to be in Git are kept until `skiff sync`: {}",
                first_few(found().map(|row| row.id.to_string())).join(", ")
            )),
        })
    }

    /// Says what of the app's own state cannot be stored, if there is anything.
    fn stored_condition(&self) -> Option<Condition> {
        let (what, cause) = self.shards.iter().find_map(ShardState::lasting_trouble)?;
        Some(Condition {
            kind: "Stored",
            status: false,
            reason: cause.reason.word().to_owned(),
            message: cut(&format!(
                "{what} of the app cannot be stored in the agent's namespace; it is tried again: {}",
                cause.message
            )),
        })
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

    /// Says who keeps changing which objects back, and how long they are left alone for it.
    fn contested_condition(&self) -> Option<Condition> {
        let fights = self.rows.iter().filter_map(|row| Some(format!("{} {}", row.id, describe_fight(row)?)));
        let fights = first_few(fights);
        (!fights.is_empty()).then(|| Condition {
            kind: "Contested",
            status: true,
            reason: "Contested".to_owned(),
            message: cut(&fights.join("; ")),
        })
    }

    /// Says which objects another tool applies, too: what it sets beside Git is not ours, and stays.
    fn co_managed_condition(&self) -> Option<Condition> {
        let shared = self.rows.iter();
        let shared = shared.filter_map(|row| Some(format!("{} {}", row.id, describe_co_manager(row)?)));
        let shared = first_few(shared);
        (!shared.is_empty()).then(|| Condition {
            kind: "CoManaged",
            status: true,
            reason: "CoManaged".to_owned(),
            message: cut(&shared.join("; ")),
        })
    }

    /// Says which rights the agent lacks for this app, if it lacks any.
    fn authorized_condition(&self) -> Option<Condition> {
        let blocked = self.blocked.iter().flat_map(|blocked| &blocked.problems).map(|(_, cause)| cause);
        let failed = self.rows.iter().filter_map(|row| row.trouble.as_ref()?.cause.as_ref());
        let unstored = self.shards.iter().filter_map(ShardState::lasting_trouble).map(|(_, cause)| cause);
        let causes =
            blocked.chain(failed).chain(unstored).chain(self.unseen().map(|(_, blind)| &blind.cause));
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
        if let Some((revision, why)) = &self.unrendered {
            let first = why.problems.first().map(ToString::to_string).unwrap_or_default();
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
            _ if self.removal().is_some() => (false, "Deleting", self.waiting_for().join("; ")),
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

    /// Says how far the end of an app has come that nothing holds up.
    fn removal_readiness(&self) -> (bool, &'static str, String) {
        let left = self.rows.iter().filter(|row| row.is_on_record()).count();
        if left > 0 {
            (false, "Deleting", format!("{left} objects are still to go"))
        } else if self.is_unlisted() {
            (false, "Deleting", "everything stored of the app is removed".to_owned())
        } else {
            let text = "its objects are deleted, as a person asked; `skiff resume` brings them back";
            (false, "Deleted", text.to_owned())
        }
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
        if self.removal().is_some() {
            return self.removal_readiness();
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
}

fn pinned_condition(pin: &PinReport) -> Condition {
    Condition {
        kind: "Pinned",
        status: pin.problem.is_none(),
        reason: if pin.problem.is_none() { "Pinned" } else { "ReleaseMissing" }.to_owned(),
        message: cut(&pin.to_string()),
    }
}

/// Says why an object is refused, so shortly that several have room: the server may quote the object.
fn refused(id: &ObjectId, cause: &Cause) -> String {
    format!("{id}: {}", shortened(&cause.message, REFUSAL))
}
