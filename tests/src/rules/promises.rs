//! The machine's own promises: what it may do when, given what it was told.

use jiff::SignedDuration;
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{BodyDigest, Desired, DesiredRow};
use skiff_shared::hook::SyncPhase;
use skiff_shared::inventory::{Record, Shard, Uid};
use skiff_shared::object::ObjectId;
use skiff_shared::plan::order::{self, Place};
use skiff_shared::plan::prune::recreation_guard;
use skiff_shared::policy::{Adopt, Mode, PruneWhen};
use skiff_shared::sync::effect::{Content, Drift, Urgency};
use skiff_shared::sync::{Row, Task};

use super::{Kept, keep};
use crate::replica::{Replica, Standing};
use crate::world::World;

/// An approved plan is carried out and nothing else.
pub(super) fn approved(replica: &Replica, id: &ObjectId, body: Option<BodyDigest>) -> Kept {
    let heard = &replica.heard;
    let approved = heard.approved.iter().chain(&heard.tagged);
    let plans: Vec<_> = approved.filter_map(|digest| heard.plans.get(digest)).collect();
    // Who approves a sync approves what cleans up behind it.
    let cleans_up = super::hooks::phase(replica, id) == Some(SyncPhase::SyncFail);
    let given = cleans_up
        || replica.policy.mode == Mode::Auto
        || plans.iter().any(|plan| plan.contains(&(id.clone(), body)));
    keep("nothing-is-done-that-was-not-approved", given, || {
        format!("{id} {body:?} under {:?}: {plans:?}", heard.approved)
    })
}

/// What the app does not have yet is looked at before the first write, and taken only where it may be.
pub(super) fn taken_rightly(replica: &Replica, id: &ObjectId) -> Kept {
    let row = replica.machine.rows().iter().find(|row| row.id == *id);
    if row.is_some_and(|row| matches!(row.record, Record::Settled(_))) || !is_asked_first(replica, id) {
        return Ok(());
    }
    let standing = replica.heard.standing.get(id);
    let may = match (standing, replica.policy.adopt) {
        (Some(Standing::Absent | Standing::Ours), _) | (Some(Standing::Theirs(_)), Adopt::Always) => true,
        (Some(Standing::Theirs(owner)), Adopt::IfUnowned) => owner.is_none(),
        (Some(Standing::Theirs(_)), Adopt::Never) | (None, _) => false,
    };
    keep("nothing-of-others-is-taken-unasked", may, || format!("{id} is {standing:?}"))
}

/// What is wanted is deleted only to be created anew: it asks for that, it cannot be changed, it could be created, and
/// it was looked at.
pub(super) fn recreated(world: &World, replica: &Replica, id: &ObjectId, uid: &Uid) -> Kept {
    let looked = replica.heard.looked.get(id);
    let sound = looked.is_some_and(|looked| looked.uid == *uid && looked.may_go);
    keep("only-our-own-objects-are-deleted", sound, || format!("{id} {uid} {looked:?}"))?;
    let row = replica.machine.rows().iter().find(|row| row.id == *id);
    let body = row.and_then(|row| row.wanted).and_then(|body| world.bodies.get(&body));
    let asks = row.is_some_and(|row| row.options.recreate);
    let valid = body.is_some_and(|body| body.refused.is_none());
    keep("what-is-wanted-is-deleted-only-to-be-recreated", asks && valid, || format!("{row:#?}"))?;
    let guard = row.and_then(|row| recreation_guard(id, row.options, &replica.policy));
    keep("guarded-objects-are-not-recreated", guard.is_none(), || format!("{id}: {guard:?}"))?;
    let (born, refused) = (world.born.get(uid), replica.heard.refused.get(id));
    let was_there = born.zip(refused).is_some_and(|(born, refused)| born <= refused);
    keep("what-came-since-is-not-recreated", was_there, || {
        format!("{id} {uid} came in {born:?}, refused was what stood there in {refused:?}")
    })?;
    let stored = world.stores.get(&replica.app).and_then(|store| store.row(id)?.recreation.as_deref());
    let noted =
        stored.is_some_and(|begun| begun.uid == *uid && row.and_then(|row| row.wanted) == Some(begun.body));
    keep("a-recreation-is-on-record-before-the-delete", noted, || format!("{id} {uid}: {stored:?}"))?;
    approved(replica, id, row.and_then(|row| row.wanted))
}

/// Only a creation sends what is left to others; what a heal leaves to them is what the last apply left.
pub(super) fn yielded(
    world: &World,
    replica: &Replica,
    id: &ObjectId,
    content: &Content,
    urgency: Urgency,
) -> Kept {
    let row = replica.machine.rows().iter().find(|row| row.id == *id);
    let recorded = row.and_then(|row| row.record.applied()?.yields.as_ref());
    let yields = if urgency == Urgency::Heal { recorded } else { row.and_then(|row| row.yields.as_ref()) };
    let Some(yields) = yields else { return Ok(()) };
    let is_there = world.objects.get(id).is_some_and(|live| live.written && live.labelled);
    let leaves = |sent: &Yields| sent.fields.is_superset(&yields.fields);
    let left = content.yields.as_deref().is_some_and(leaves) && content.uid.is_some();
    keep("what-is-left-to-others-is-sent-once", left || !is_there, || format!("{id} {content:?} {row:#?}"))
}

/// Whether a creation ends a recreation that is on record: what was deleted for it is gone, whatever the plan says now.
pub(super) fn finishes(world: &World, replica: &Replica, id: &ObjectId, body: BodyDigest) -> bool {
    let begun = world.stores.get(&replica.app).and_then(|store| store.row(id)?.recreation.as_deref());
    begun.is_some_and(|begun| {
        begun.body == body && world.objects.get(id).is_none_or(|live| live.uid != begun.uid)
    })
}

/// A kind that comes with the sync itself has no objects before, nor has a Namespace that does.
fn is_asked_first(replica: &Replica, id: &ObjectId) -> bool {
    let Some(desired) = replica.wants() else { return true };
    let kind_comes = desired.rows.iter().any(|row| row.provides.as_ref() == Some(id.kind()));
    let home = |row: &&DesiredRow| row.id.is("", "Namespace") && id.namespace() == Some(row.id.name());
    let home = desired.rows.iter().find(home);
    let heard = &replica.heard;
    let is_new = |row: &DesiredRow| {
        heard.written.contains_key(&row.id) || heard.standing.get(&row.id) == Some(&Standing::Absent)
    };
    !kind_comes && !home.is_some_and(is_new)
}

/// A place begins when everything of the one before it has been tried, a wave when the one before it is healthy.
pub(super) fn in_order(replica: &Replica, desired: &Desired, id: &ObjectId) -> Kept {
    let places = order::places(desired);
    let rows = replica.machine.rows();
    let Some(turn) = super::hooks::turn(replica, id) else { return Ok(()) };
    super::hooks::ran_before(replica, turn, id)?;
    if turn.0 == SyncPhase::SyncFail {
        return Ok(());
    }
    let place = Place { phase: turn.0, wave: turn.1, rank: order::rank(id.kind()) };
    let state = |id: &ObjectId| rows.iter().find(|row| row.id == *id && row.held.is_none());
    for other in desired.rows.iter().filter(|row| row.id != *id && row.hook.is_none()) {
        let Some(row) = state(&other.id) else { continue };
        let before = places.of(other);
        if before < place {
            tried(replica, row, other, id)?;
        }
        if before.turn() < turn {
            healthy(replica, row, (before, place), id)?;
        }
    }
    Ok(())
}

fn tried(replica: &Replica, row: &Row, other: &DesiredRow, id: &ObjectId) -> Kept {
    let waits = matches!(row.task, Task::Write { .. });
    let first = replica.flights.values().any(|flying| {
        flying.id == other.id
            && flying.syncs == Some(other.body)
            && !replica.heard.tried.contains(&(other.id.clone(), other.body))
            && !replica.heard.dying.contains(&other.id)
    });
    keep("a-place-waits-for-the-answers-before-it", !waits && !first, || {
        format!("{id} is written before {} ({:?})", other.id, row.task)
    })
}

fn healthy(replica: &Replica, row: &Row, (before, place): (Place, Place), id: &ObjectId) -> Kept {
    let heard = &replica.heard;
    let since = heard.written.get(&row.id).copied().unwrap_or_default();
    let well = row.options.ignore_health || heard.healthy.get(&row.id).is_some_and(|rv| *rv >= since);
    keep("a-wave-waits-for-the-health-of-the-one-before", well && row.is_current(), || {
        format!("{id} of {place:?} is written before {} of {before:?} is healthy: {row:#?}", row.id)
    })
}

/// What fails is not sent again and again: not more often in a second than back-off, a person's word and a new
/// plan together can ask for.
pub(super) fn paced(world: &World, replica: &Replica, id: &ObjectId) -> Kept {
    let second = world.now - SignedDuration::from_secs(1);
    let recent =
        replica.heard.failures.get(id).map_or(0, |times| times.iter().filter(|at| **at > second).count());
    keep("failures-are-waited-out", recent < 8, || format!("{id} has failed {recent} times in a second"))
}

/// Deletions mirror the order of writes and wait until everything wanted is healthy, as the policy says.
pub(super) fn pruned_in_order(replica: &Replica, id: &ObjectId) -> Kept {
    if goes_early(id) {
        return Ok(());
    }
    let rows = replica.machine.rows();
    if replica.policy.prune.when == PruneWhen::Healthy {
        let ill = rows.iter().find(|row| !row.is_ready());
        keep("nothing-is-pruned-before-all-is-healthy", ill.is_none(), || format!("{id} before {ill:#?}"))?;
    }
    let place = |row: &Row| (row.wave, order::rank(row.id.kind()));
    let Some(row) = rows.iter().find(|row| row.id == *id) else { return Ok(()) };
    let later = rows.iter().find(|other| {
        matches!(other.task, Task::Prune | Task::AwaitGone)
            && place(other) > place(row)
            && !goes_early(&other.id)
    });
    keep("what-came-last-goes-first", later.is_none(), || format!("{id} before {later:#?}"))
}

fn goes_early(id: &ObjectId) -> bool {
    ["APIService", "ValidatingWebhookConfiguration"].contains(&&*id.kind().kind)
}

/// Guards of pruning hold at the moment of the delete, too.
pub(super) fn prunable(replica: &Replica, id: &ObjectId) -> Kept {
    let prune = replica.policy.prune;
    let asked = replica.deletion;
    let row = replica.machine.rows().iter().find(|row| row.id == *id);
    let sensitive = ["Namespace", "CustomResourceDefinition", "StatefulSet"].contains(&&*id.kind().kind);
    let named = row.and_then(|row| Some(replica.confirmed.contains(&row.record.applied()?.uid)));
    let confirmed = asked.is_some_and(|deletion| deletion.sensitive_kinds) || named == Some(true);
    let guarded = row.is_none_or(|row| row.options.keep || row.options.confirm_prune && !confirmed)
        || !prune.enabled && asked.is_none()
        || sensitive && !prune.sensitive_kinds && !confirmed;
    keep("guarded-objects-are-not-deleted", !guarded, || format!("{id} under {prune:?}"))
}

/// What others did not do is no drift: neither what we wrote ourselves, nor status, nor what is long past.
pub(super) fn drifted(world: &World, replica: &Replica, drift: &Drift) -> Kept {
    let row = replica.machine.rows().iter().find(|row| row.id == drift.id);
    let Some(applied) = row.and_then(|row| row.record.applied()) else { return Ok(()) };
    let disturbed = world.disturbed.get(&drift.id).is_some_and(|rv| *rv > applied.rv);
    // An answer that was lost leaves an older record than there is; one that is awaited does not.
    let awaited = replica.flights.values().any(|flying| flying.writes && flying.id == drift.id);
    let unsure = world.own.get(&drift.id) != Some(&applied.rv) && !awaited;
    keep("drift-is-what-others-did", disturbed || unsure, || format!("{drift:?} {applied:?}"))
}

/// Settled is what the server answered, to the version.
pub(super) fn answered(world: &World, shard: &Shard) -> Kept {
    let invented = shard.rows.iter().find(|row| match &row.record {
        Record::Settled(applied) => {
            !world.answered.contains(&(row.id.clone(), applied.uid.clone(), applied.rv, applied.body))
        }
        Record::Claimed | Record::None => false,
    });
    keep("a-record-is-an-answer", invented.is_none(), || format!("{invented:?}"))
}

/// Whatever comes meanwhile, what was wanted when a write was sent is wanted until its answer.
pub fn of_step(replica: &Replica) -> Kept {
    for (token, flying) in replica.flights.iter().filter(|(_, flying)| flying.writes) {
        let row = replica.machine.rows().iter().find(|row| row.id == flying.id);
        let same = row.is_some_and(|row| {
            row.wanted == flying.wanted && row.flight.as_ref().is_some_and(|flight| flight.token == *token)
        });
        keep("nothing-is-taken-over-while-a-write-is-open", same, || format!("{flying:?} {row:#?}"))?;
    }
    Ok(())
}
