//! What a plan may delete, and the guards that stop it.
//!
//! Only objects that the inventory lists are ever looked at here. Whether a live object still carries
//! our label and has no owner is checked by the machine at the moment of the delete.

use super::{Candidate, Held, HeldReason, Inputs, Plan, Pruning, Removal, order};
use crate::desired::ObjectOptions;
use crate::inventory::Record;
use crate::object::ObjectId;
use crate::policy::Policy;

/// A plan that prunes fewer objects than this is never stopped by its share.
pub const BUDGET_FLOOR: u32 = 10;

/// Decides over all owned objects that Git no longer has: prunes or held rows are added to `plan`.
pub(super) fn decide(inputs: &Inputs<'_>, plan: &mut Plan) {
    let mut going: Vec<&Candidate<'_>> = Vec::new();
    for candidate in inputs.candidates.iter().filter(|candidate| is_orphan(candidate)) {
        match guard(candidate, inputs) {
            Some(reason) => plan.held.push(Held { id: candidate.id.clone(), reason }),
            None => going.push(candidate),
        }
    }
    let unnamed = going.iter().filter(|candidate| !is_confirmed(candidate, inputs)).count();
    if let Some(reason) = budget(inputs, unnamed) {
        let (named, rest) = going.into_iter().partition(|candidate| is_confirmed(candidate, inputs));
        going = rest;
        hold(&mut going, &reason, plan);
        going = named;
    }
    if inputs.removal.is_some() {
        hold_together(&mut going, plan);
    }
    plan.prunes = in_mirrored_order(&going);
}

fn hold(going: &mut Vec<&Candidate<'_>>, reason: &HeldReason, plan: &mut Plan) {
    let held = going.drain(..).map(|candidate| Held { id: candidate.id.clone(), reason: reason.clone() });
    plan.held.extend(held);
}

/// Does nothing of a removal where something that is not asked to stay is held: no hook may run for a deletion that does
/// not come, and no object go before the hooks have run.
fn hold_together(going: &mut Vec<&Candidate<'_>>, plan: &mut Plan) {
    let Some(by) = plan.held.iter().find(|held| held.reason.out_of_sync()).map(|held| held.id.clone()) else {
        return;
    };
    hold(going, &HeldReason::HeldTogether { by }, plan);
    plan.writes.clear();
    plan.on_failure.clear();
    plan.stays = true;
}

pub(super) fn is_orphan(candidate: &Candidate<'_>) -> bool {
    candidate.wanted.is_none() && *candidate.record != Record::None && candidate.hook_run.is_none()
}

fn guard(candidate: &Candidate<'_>, inputs: &Inputs<'_>) -> Option<HeldReason> {
    let claims = inputs.claims;
    if let Some(app) = claims.handed_over.get(candidate.id).or(claims.conflicts.get(candidate.id)) {
        return Some(HeldReason::HandedOver { app: app.clone() });
    }
    if candidate.options.keep || candidate.options.outlives && inputs.removal.is_some() {
        return Some(HeldReason::Keep);
    }
    let asked = matches!(inputs.removal, Some(Removal::Asked { .. }));
    if let Some(before) = inputs.assigned_before.filter(|_| !asked) {
        return Some(if before.is_same_place(&inputs.desired.assignment) {
            HeldReason::FactsChanged
        } else {
            HeldReason::AssignmentChanged { before: before.clone() }
        });
    }
    if candidate.options.found {
        return Some(HeldReason::InventoryLost);
    }
    if let Some(app) = claims.undecided.first() {
        return Some(HeldReason::Undecided { app: app.clone() });
    }
    match inputs.removal {
        None if inputs.desired.rows.is_empty() => return Some(HeldReason::EmptyRender),
        Some(Removal::LastUnlisted) => return Some(HeldReason::LastApp),
        Some(Removal::Unlisted) => {
            if let Some(environment) = claims.unread.first() {
                return Some(HeldReason::EnvironmentUnread { environment: environment.clone() });
            }
        }
        None | Some(Removal::Asked { .. }) => {}
    }
    if !inputs.policy.prune.enabled && !asked {
        return Some(HeldReason::PruneOff);
    }
    if inputs.apis.incomplete.contains(&candidate.id.kind().group) {
        return Some(HeldReason::IncompleteDiscovery);
    }
    if matches!(inputs.removal, Some(Removal::Asked { sensitive_kinds: true })) {
        return None;
    }
    let asks = match inputs.removal {
        None => candidate.options.confirm_prune,
        Some(_) => candidate.options.confirm_prune || candidate.options.confirm_delete,
    };
    let confirms = asks || is_sensitive(candidate.id, inputs.policy);
    (confirms && !is_confirmed(candidate, inputs)).then_some(HeldReason::ConfirmPrune)
}

/// Whether a person has said of this very object that it may go.
fn is_confirmed(candidate: &Candidate<'_>, inputs: &Inputs<'_>) -> bool {
    candidate.record.applied().is_some_and(|applied| inputs.confirmed.contains(&applied.uid))
}

/// Returns why an object that cannot be changed is not deleted to be created anew, though it asks for that; `None` where
/// nothing guards it. What guards an object that left Git guards it here.
pub fn recreation_guard(id: &ObjectId, options: ObjectOptions, policy: &Policy) -> Option<&'static str> {
    if holds_others(id) {
        Some("everything in it would go with it")
    } else if options.keep {
        Some("it asks to be kept")
    } else if options.confirm_prune {
        Some("it asks to be deleted by a person only")
    } else if is_sensitive(id, policy) {
        Some("objects of its kind are deleted only with prune.sensitiveKinds")
    } else {
        None
    }
}

/// Kinds whose deletion takes data or other objects with it, unless the policy lets them go.
fn is_sensitive(id: &ObjectId, policy: &Policy) -> bool {
    let holds_data =
        id.is("apps", "StatefulSet") || id.is("", "PersistentVolume") || id.is("", "PersistentVolumeClaim");
    (holds_others(id) || holds_data) && !policy.prune.sensitive_kinds
}

/// Kinds whose deletion deletes every object in them.
fn holds_others(id: &ObjectId) -> bool {
    id.is("", "Namespace") || id.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn budget(inputs: &Inputs<'_>, going: usize) -> Option<HeldReason> {
    if matches!(inputs.removal, Some(Removal::Asked { .. })) {
        // All of the app is what was asked for.
        return None;
    }
    // What is wanted counts whether it is written yet or not: the share must not shrink, and a refused
    // pruning pass the guard, only because the rest of the plan was written meanwhile.
    let counts = |candidate: &&Candidate<'_>| candidate.is_kept();
    let owned = inputs.candidates.iter().filter(counts).count();
    let pruned = u32::try_from(going).unwrap_or(u32::MAX);
    let owned = u32::try_from(owned).unwrap_or(u32::MAX);
    let max_share = inputs.policy.prune.max_share;
    let over = u64::from(pruned) * 100 > u64::from(owned) * u64::from(max_share);
    (pruned >= BUDGET_FLOOR && over).then_some(HeldReason::PruneBudget { pruned, owned, max_share })
}

/// Objects that stand in the way of other writes when their backend goes first.
fn goes_early(id: &ObjectId) -> bool {
    &*id.kind().group == "admissionregistration.k8s.io" || id.is("apiregistration.k8s.io", "APIService")
}

/// Orders deletions as the mirror of creation: last wave first, last kind first.
fn in_mirrored_order(going: &[&Candidate<'_>]) -> Vec<Pruning> {
    let mut keyed: Vec<_> = going
        .iter()
        .map(|candidate| {
            let early = goes_early(candidate.id);
            let place = (candidate.wave, order::rank(candidate.id.kind()));
            ((!early, std::cmp::Reverse(place)), *candidate)
        })
        .collect();
    keyed.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(other.id)));
    let mut step = 0;
    let mut previous = None;
    let mut prunes = Vec::with_capacity(keyed.len());
    for (key, candidate) in keyed {
        if previous.is_some_and(|previous| previous != key) {
            step += 1;
        }
        previous = Some(key);
        prunes.push(Pruning {
            id: candidate.id.clone(),
            version: candidate.version.clone(),
            step,
            early: !key.0,
        });
    }
    prunes
}
