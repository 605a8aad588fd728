//! What must hold at every step, whatever happens: each rule has a name.

mod hooks;
mod promises;

use std::collections::BTreeSet;

pub use hooks::ran_once;
pub use promises::of_step;

use skiff_shared::desired::{BodyDigest, Desired, DesiredRow};
use skiff_shared::inventory::{Record, Uid};
use skiff_shared::object::ObjectId;
use skiff_shared::policy::OnInvalid;
use skiff_shared::report::Report;
use skiff_shared::sync::Limits;
use skiff_shared::sync::effect::{Effect, Notice, Urgency};

use crate::replica::{Replica, Standing};
use crate::world::World;

/// A rule that was broken, and by what.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: &'static str,
    pub what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rule {:?} is broken: {}", self.rule, self.what)
    }
}

pub type Kept = Result<(), Broken>;

/// Returns an error naming `rule` unless it `holds`.
pub fn keep(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(Broken { rule, what: what() }) }
}

/// The object that a request is about.
pub fn subject(effect: &Effect) -> Option<&ObjectId> {
    match effect {
        Effect::Get(_, target)
        | Effect::DryRun(_, target, ..)
        | Effect::Apply(_, target, ..)
        | Effect::Create(_, target, _)
        | Effect::Adopt(_, target)
        | Effect::Release(_, target, ..)
        | Effect::Delete(_, target, ..) => Some(&target.id),
        _ => None,
    }
}

pub(crate) fn is_write(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Apply(..) | Effect::Create(..) | Effect::Adopt(..) | Effect::Release(..) | Effect::Delete(..)
    )
}

fn is_stored(effect: &Effect) -> bool {
    matches!(effect, Effect::Save(..) | Effect::Keep(..))
}

/// Checks an effect at the moment in which the machine asks for it.
pub fn of_effect(world: &World, replica: &Replica, all: &[Replica], effect: &Effect, limits: Limits) -> Kept {
    if let Effect::Publish(report) = effect {
        told_sets_are_stored(world, replica, report)?;
    }
    if is_write(effect) || is_stored(effect) {
        let rest = replica.told_until.map(|until| until.duration_since(world.now));
        let lasts = rest.is_some_and(|rest| rest > limits.request_deadline);
        keep("no-write-without-a-lease", lasts, || format!("{effect:?}"))?;
    }
    if let Effect::Notice(Notice::Drifted(drift)) = effect {
        promises::drifted(world, replica, drift)?;
    }
    if let Effect::Save(_, slot, shard) = effect {
        let mut ids = BTreeSet::new();
        let twice = shard.rows.iter().find(|row| !ids.insert(&row.id));
        keep("an-inventory-names-an-object-once", twice.is_none(), || format!("{slot:?} {twice:?}"))?;
        let open = replica.sent.iter().any(|sent| matches!(sent, Effect::Save(_, other, _) if other == slot));
        keep("one-save-per-shard", !open, || format!("{slot:?}"))?;
        promises::answered(world, shard)?;
    }
    let Some(id) = subject(effect) else { return Ok(()) };
    let open = replica.flights.values().any(|flying| flying.id == *id);
    keep("one-request-per-object", !open, || format!("{effect:?}"))?;
    let room = replica.flights.len() < limits.in_flight;
    keep("no-more-requests-than-allowed", room, || format!("{} and {effect:?}", replica.flights.len()))?;
    if is_write(effect) {
        of_write(world, replica, id, effect)?;
    }
    match effect {
        Effect::Apply(_, _, content, urgency, _) => {
            if *urgency == Urgency::Apply {
                promises::taken_rightly(replica, id)?;
            }
            promises::yielded(world, replica, id, content, *urgency)?;
            of_apply(world, replica, id, content.body, *urgency)
        }
        Effect::Create(_, _, body) if promises::finishes(world, replica, id, *body) => Ok(()),
        // It takes nothing: where something stands the server refuses it.
        Effect::Create(_, _, body) => of_apply(world, replica, id, *body, Urgency::Apply),
        Effect::Adopt(..) | Effect::Release(..) => promises::taken_rightly(replica, id),
        Effect::Delete(_, _, uid, _) if hooks::is_hook(replica, id) => {
            hooks::deleted(replica, id, uid)?;
            looked_at(replica, id, uid)
        }
        Effect::Delete(_, _, uid, _) if is_wanted(replica, id) => {
            promises::recreated(world, replica, id, uid)
        }
        Effect::Delete(_, _, uid, _) => {
            promises::prunable(replica, id)?;
            promises::pruned_in_order(replica, id)?;
            promises::approved(replica, id, None)?;
            of_delete(replica, all, id, uid)
        }
        _ => Ok(()),
    }
}

/// Checks a request at the moment in which the server carries it out: what it rests on may be long past.
pub fn of_arrival(world: &World, replica: &Replica, effect: &Effect) -> Kept {
    let Effect::Apply(_, target, _, Urgency::Apply, _) = effect else { return Ok(()) };
    let row = replica.machine.rows().iter().find(|row| row.id == target.id);
    let is_settled = row.is_some_and(|row| matches!(row.record, Record::Settled(_)));
    let is_theirs = world.objects.get(&target.id).is_some_and(|live| !live.labelled);
    let was_absent = replica.heard.standing.get(&target.id) == Some(&Standing::Absent);
    let over = is_theirs && was_absent && !is_settled;
    keep("what-came-meanwhile-is-not-written-over", !over, || format!("{effect:?}"))
}

fn of_write(world: &World, replica: &Replica, id: &ObjectId, effect: &Effect) -> Kept {
    let claimed = world.stores.get(&replica.app).is_some_and(|store| store.row(id).is_some());
    keep("claimed-before-written", claimed, || format!("{effect:?}"))?;
    let watched = replica.streams.contains_key(id.kind());
    keep("watched-before-written", watched, || format!("{effect:?}"))?;
    keep("paused-means-no-write", !replica.paused, || format!("{effect:?}"))?;
    keep("draining-starts-nothing", !replica.draining, || format!("{effect:?}"))?;
    // What was told may be long past: an object without our label ends without a word.
    let dying = world.objects.get(id).is_some_and(|live| live.deleting)
        && replica.heard.told.get(id).is_some_and(|told| told.deleting);
    keep("nothing-is-written-to-the-dying", !dying, || format!("{effect:?}"))
}

fn of_apply(world: &World, replica: &Replica, id: &ObjectId, body: BodyDigest, urgency: Urgency) -> Kept {
    let wanted = replica.wants().and_then(|desired| wanted_body(&desired, id));
    if hooks::is_hook(replica, id) {
        keep("a-hook-is-never-healed", urgency == Urgency::Apply, || format!("{id}"))?;
        hooks::applied(replica, id)?;
    }
    if urgency == Urgency::Apply {
        keep("only-what-git-wants-is-applied", wanted == Some(body), || format!("{id} {body}"))?;
        promises::approved(replica, id, Some(body))?;
        promises::paced(world, replica, id)?;
        if let Some(desired) = replica.wants().filter(|desired| desired.rows.len() < 60) {
            promises::in_order(replica, &desired, id)?;
        }
        return nothing_refused(world, replica, id);
    }
    keep("healing-can-be-switched-off", replica.policy.self_heal, || format!("{id}"))?;
    let recorded = replica.machine.rows().iter().find(|row| row.id == *id);
    let recorded = recorded.and_then(|row| row.record.applied()).map(|applied| applied.body);
    keep("a-heal-brings-back-what-was-applied", recorded == Some(body), || format!("{id} {body}"))?;
    let known = replica.desired.is_some();
    keep("a-heal-is-for-wanted-objects", wanted.is_some() || !known, || format!("{id}"))
}

fn looked_at(replica: &Replica, id: &ObjectId, uid: &Uid) -> Kept {
    let looked = replica.heard.looked.get(id);
    let sound = looked.is_some_and(|looked| looked.uid == *uid && looked.may_go);
    keep("only-our-own-objects-are-deleted", sound, || format!("{id} {uid} {looked:?}"))
}

fn of_delete(replica: &Replica, all: &[Replica], id: &ObjectId, uid: &Uid) -> Kept {
    looked_at(replica, id, uid)?;
    let wants =
        |replica: &&Replica| replica.wants().is_some_and(|desired| wanted_body(&desired, id).is_some());
    let wanted = all.iter().chain([replica]).find(wants).map(|replica| &replica.app);
    keep("nothing-wanted-is-deleted", wanted.is_none(), || format!("{id} is wanted by {wanted:?}"))
}

/// With `onInvalid: block`, a set with a refused object is not written at all.
fn nothing_refused(world: &World, replica: &Replica, id: &ObjectId) -> Kept {
    let Some(desired) = replica.wants() else { return Ok(()) };
    if replica.policy.on_invalid != OnInvalid::Block {
        return Ok(());
    }
    let is_refused = |body: &BodyDigest| world.bodies.get(body).is_some_and(|body| body.refused.is_some());
    // What stands in a hook's place would be refused for what cannot change: it is not checked.
    let is_checked = |row: &&DesiredRow| !row.options.skip_dry_run && row.hook.is_none();
    let refused = desired.rows.iter().filter(is_checked).find(|row| is_refused(&row.body));
    keep("a-refused-object-blocks-every-write", refused.is_none(), || {
        format!("{id} is written, {:?} is refused", refused.map(|row| &row.id))
    })
}

fn is_wanted(replica: &Replica, id: &ObjectId) -> bool {
    replica.wants().is_some_and(|desired| wanted_body(&desired, id).is_some())
}

fn wanted_body(desired: &Desired, id: &ObjectId) -> Option<BodyDigest> {
    let at = desired.rows.binary_search_by(|row| row.id.cmp(id)).ok()?;
    Some(desired.rows[at].body)
}

/// What a waiting plan is said to lead to can be read.
fn told_sets_are_stored(world: &World, replica: &Replica, report: &Report) -> Kept {
    let Some(set) = report.plan.as_ref().and_then(|plan| plan.set.as_ref()) else { return Ok(()) };
    let store = world.stores.get(&replica.app);
    let is_there = |name: &String| store.is_some_and(|store| store.renders.contains_key(name));
    keep("a-told-set-is-stored", set.stored.iter().all(is_there), || format!("{set:?}"))
}

/// Checks the cluster after the server did something.
pub fn of_world(world: &World) -> Kept {
    keep("what-is-left-to-others-is-not-reset", world.resets.is_empty(), || format!("{:?}", world.resets))?;
    let recorded: BTreeSet<&ObjectId> =
        world.stores.values().flat_map(crate::world::Store::rows).map(|row| &row.id).collect();
    for (id, live) in &world.objects {
        let ours = live.written && live.labelled && !live.has_owner;
        // An object in two API groups is recorded under one of them.
        let mut twins = world.objects.iter().filter(|(_, other)| other.uid == live.uid);
        let mut is_recorded = || recorded.contains(id) || twins.any(|(twin, _)| recorded.contains(twin));
        keep("nothing-is-leaked", !ours || world.forgotten || is_recorded(), || {
            format!("{id} is in no inventory")
        })?;
    }
    for (app, store) in &world.stores {
        let missing = store.missing_renders();
        keep("stored-renders-are-there", missing.is_empty(), || format!("{app}: {missing:?}"))?;
    }
    Ok(())
}
