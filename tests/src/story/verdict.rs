//! What must be true at the end of a fair life.

use std::collections::BTreeSet;
use std::sync::Arc;

use skiff_shared::desired::autoscaler::Scaled;
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{BodyDigest, Desired, DesiredRow};
use skiff_shared::hook::SyncPhase;
use skiff_shared::inventory::{Applied, Record};
use skiff_shared::managed_fields::{Mark, Verdict as Sign, judge};
use skiff_shared::object::ObjectId;
use skiff_shared::policy::Mode;
use skiff_shared::report::{Report, SyncStatus};
use skiff_shared::sync::Row;

use super::Story;
use crate::rules::{Kept, keep};
use crate::sim::End;

impl Story {
    pub(super) fn judge(&self, end: End) -> Kept {
        let Some(head) = &self.head else { return Ok(()) };
        let lead = self.lead();
        let machine = &self.sim.replicas[lead].machine;
        let report = machine.report();
        let words = words(&report);
        keep("the-last-report-is-published", self.is_published(lead, &report), || format!("{report:#?}"))?;
        if end == End::Waiting {
            let named = !report.waiting_for.is_empty()
                || report
                    .conditions
                    .iter()
                    .any(|condition| !condition.status && !condition.message.is_empty());
            keep("waiting-is-named", named, || format!("{report:#?}"))?;
        }
        for row in head.rows.iter().filter(|row| row.hook.is_none()) {
            self.judge_wanted(row, machine.rows(), &words)?;
        }
        for row in machine.rows().iter().filter(|row| !row.is_hook()) {
            self.judge_healed(row, &words)?;
        }
        self.judge_hooks(&report, end)?;
        self.judge_orphans(head, &words)?;
        self.judge_status(head, &report, end)
    }

    fn is_published(&self, lead: usize, report: &Report) -> bool {
        self.sim.replicas[lead].published.as_ref() == Some(report)
    }

    /// Whether an object is as `body` says, as far as anybody can tell from its metadata: values applied under
    /// our name in the second of our own apply show in no entry, and once others have written beside them or a
    /// restart has come between, no event gives them away.
    fn is_right(&self, id: &ObjectId, body: BodyDigest, yields: Option<&Yields>) -> bool {
        let world = &self.sim.world;
        if world.is_as_left(id, body, yields) {
            return true;
        }
        let (Some(live), Some(applied)) = (world.objects.get(id), self.applied(id)) else { return false };
        let recorded = Mark {
            uid: &applied.uid.0,
            rv: applied.rv,
            generation: applied.generation,
            fields: applied.fields,
        };
        let now = Mark { uid: &live.uid.0, rv: live.rv, generation: live.generation, fields: live.fields };
        let as_before = !live.deleting && judge(&recorded, &now) == Sign::Same;
        live.silent && applied.body == body && as_before
    }

    /// What of a wanted object is left to others, as Git and the autoscalers say it.
    fn left_of(&self, row: &DesiredRow) -> Option<Arc<Yields>> {
        if self.ask.pin.is_some() {
            // What was left to others before stays theirs: a stored release does not say.
            let rows = self.sim.replicas[self.lead()].machine.rows();
            return rows.iter().find(|have| have.id == row.id).and_then(|have| have.yields.clone());
        }
        let none = BTreeSet::new();
        Scaled { rendered: &none, live: Some(&self.sim.autoscaled) }.yields_of(row, &Record::None)
    }

    fn applied(&self, id: &ObjectId) -> Option<&Applied> {
        let rows = self.sim.replicas[self.lead()].machine.rows();
        rows.iter().find(|row| row.id == *id)?.record.applied()
    }

    /// A wanted object is as wanted, or the report says why not.
    fn judge_wanted(&self, row: &DesiredRow, rows: &[Row], words: &str) -> Kept {
        let known = rows.iter().any(|have| have.id == row.id);
        keep("every-wanted-object-has-a-row", known, || row.id.to_string())?;
        let right = self.is_right(&row.id, row.body, self.left_of(row).as_deref());
        keep("what-is-not-right-is-named", right || names(words, &row.id), || {
            format!("{} in {words}\n{:#?}", row.id, rows.iter().find(|have| have.id == row.id))
        })
    }

    /// An object that was applied is as it was applied, whatever else fails or waits.
    fn judge_healed(&self, row: &Row, words: &str) -> Kept {
        let Record::Settled(applied) = &row.record else { return Ok(()) };
        let replica = &self.sim.replicas[self.lead()];
        if row.wanted.is_none() || !replica.policy.self_heal {
            return Ok(());
        }
        let world = &self.sim.world;
        let now = row.yields.as_deref();
        let right = self.is_right(&row.id, applied.body, applied.yields.as_deref())
            || self.is_right(&row.id, applied.body, now)
            || row.wanted.is_some_and(|wanted| self.is_right(&row.id, wanted, now));
        let served = world.apis.served(row.id.kind(), &row.version);
        let dying = world.objects.get(&row.id).is_some_and(|live| live.deleting);
        let homeless = row.id.namespace().is_some_and(|namespace| {
            let home = world.objects.iter().find(|(id, _)| id.is("", "Namespace") && id.name() == namespace);
            home.is_none_or(|(_, home)| home.deleting)
        });
        let refused = [Some(applied.body), row.wanted].into_iter().flatten().any(|body| {
            world
                .bodies
                .get(&body)
                .is_some_and(|body| body.refused_on_write.is_some() || body.refused.is_some())
                || self.cannot_be(&row.id, body)
        });
        let excused = !served || dying || homeless || refused || words.contains("contested");
        let excused = excused && names(words, &row.id);
        keep("an-object-heals-whatever-the-others-do", right || excused, || {
            format!("{row:#?}\n{:#?}\n{words}", world.objects.get(&row.id))
        })
    }

    /// Where all is well every hook has run, and what its policy names is gone.
    fn judge_hooks(&self, report: &Report, end: End) -> Kept {
        let machine = &self.sim.replicas[self.lead()].machine;
        let (Some(release), true) = (machine.release(), report.conditions[0].status && end == End::Idle)
        else {
            return Ok(());
        };
        for row in machine.rows() {
            let Some(hook) = &row.hook else { continue };
            let left = hook.left(row.hook_run.as_deref(), &release);
            let left = left.iter().find(|phase| *phase != SyncPhase::SyncFail);
            keep("synced-means-that-hooks-have-run", left.is_none(), || format!("{row:#?}"))?;
            let cleared = row.hook_run.as_deref().is_some_and(|run| hook.delete.clears(run));
            let there = self
                .sim
                .world
                .objects
                .get(&row.id)
                .is_some_and(|live| live.labelled && !live.has_owner && !live.deleting);
            keep("hooks-go-as-their-policy-says", !cleared || !there, || format!("{row:#?}"))?;
        }
        Ok(())
    }

    /// Whether an object stands there that cannot become as `body` says.
    fn cannot_be(&self, id: &ObjectId, body: BodyDigest) -> bool {
        let world = &self.sim.world;
        let live = world.objects.get(id).filter(|live| live.written);
        live.zip(world.bodies.get(&body)).is_some_and(|(live, body)| live.fixed != body.fixed)
    }

    /// What Git no longer has is gone, or the report says why not.
    fn judge_orphans(&self, head: &Desired, words: &str) -> Kept {
        let Some(store) = self.sim.world.stores.get("shop") else { return Ok(()) };
        for row in store.rows() {
            let wanted = head.rows.iter().any(|want| want.id == row.id);
            keep("what-stays-is-named", wanted || names(words, &row.id), || {
                format!("{} in {words}", row.id)
            })?;
        }
        Ok(())
    }

    /// Where nothing stands in the way, the app is synced and at rest.
    fn judge_status(&self, head: &Desired, report: &Report, end: End) -> Kept {
        let world = &self.sim.world;
        let replica = &self.sim.replicas[self.lead()];
        let wrong: Vec<_> = head
            .rows
            .iter()
            .filter(|row| row.hook.is_none())
            .filter(|row| !self.is_right(&row.id, row.body, self.left_of(row).as_deref()))
            .map(|row| &row.id)
            .collect();
        keep("synced-means-as-in-git", wrong.is_empty() || report.sync != SyncStatus::Synced, || {
            format!("{wrong:?}\n{report:#?}")
        })?;
        let benign = head.rows.iter().all(|row| self.is_benign(row));
        // A hook that somebody deleted while it ran has failed, and is not run again unasked.
        let failed = replica.machine.rows().iter().filter_map(|row| row.hook_run.as_deref());
        let failed = failed.into_iter().any(|run| run.failure().is_some());
        let free = benign && !failed && replica.policy.mode == Mode::Auto && replica.policy.self_heal;
        let stuck = world.objects.values().any(|live| live.deleting);
        let pruning = world
            .stores
            .get("shop")
            .is_some_and(|store| store.rows().any(|row| !head.rows.iter().any(|want| want.id == row.id)));
        if free && !stuck && !pruning {
            let good = end == End::Idle && report.sync == SyncStatus::Synced;
            keep("nothing-in-the-way-means-synced", good, || format!("{end:?} {report:#?}"))?;
        }
        Ok(())
    }

    /// Whether nothing can keep this object from being as wanted.
    fn is_benign(&self, row: &DesiredRow) -> bool {
        let world = &self.sim.world;
        let body = &world.bodies[&row.body];
        let home = row.id.namespace().is_none_or(|namespace| {
            world
                .objects
                .iter()
                .any(|(id, live)| id.is("", "Namespace") && id.name() == namespace && !live.deleting)
        });
        let adopted = world.objects.get(&row.id).is_none_or(|live| live.labelled);
        body.refused.is_none()
            && !body.fails
            && !self.cannot_be(&row.id, row.body)
            && body.refused_on_write.is_none()
            && body.ready_after.is_some()
            && body.finalizer != u32::MAX
            && home
            && adopted
            && world.apis.served(row.id.kind(), &row.version)
    }
}

/// Everything that the report says in words.
fn words(report: &Report) -> String {
    let mut words: Vec<String> = report.waiting_for.clone();
    words.extend(report.conditions.iter().map(|condition| condition.message.clone()));
    words.extend(report.rows.iter().filter(|row| !row.message.is_empty()).map(|row| {
        let id = match &row.namespace {
            Some(namespace) => format!("{}/{namespace}/{}", row.kind, row.name),
            None => format!("{}/{}", row.kind, row.name),
        };
        format!("{id}: {}", row.message)
    }));
    words.join("\n")
}

fn names(words: &str, id: &ObjectId) -> bool {
    words.contains(&id.to_string()) || words.contains("and more")
}
