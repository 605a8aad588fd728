//! What must hold of every plan, whatever its inputs: run over every plan of every test.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Candidate, Inputs, Plan, Removal, prune};
use crate::hook::Hook;
use crate::inventory::Record;
use crate::object::ObjectId;

/// Returns every rule that `plan` breaks, in words; empty for a sound plan.
pub fn check(inputs: &Inputs<'_>, plan: &Plan) -> Vec<String> {
    let candidates: HashMap<&ObjectId, &Candidate<'_>> =
        inputs.candidates.iter().map(|candidate| (candidate.id, candidate)).collect();
    let mut broken = Vec::new();
    spoken_of_once(plan, &mut broken);
    prunes(inputs, plan, &candidates, &mut broken);
    writes(inputs, plan, &candidates, &mut broken);
    order(plan, &mut broken);
    broken
}

fn spoken_of_once(plan: &Plan, broken: &mut Vec<String>) {
    let mut spoken: HashSet<&ObjectId> = HashSet::new();
    let mut runs = HashSet::new();
    let hooks = plan.all_writes().filter(|write| write.is_hook);
    for write in hooks.filter(|write| !runs.insert((&write.id, write.place.phase))) {
        broken.push(format!("{} runs twice in {}", write.id, write.place.phase));
    }
    let writes = plan.writes.iter().filter(|write| !write.is_hook).map(|write| &write.id);
    let writes = writes.chain(runs.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>());
    let prunes = plan.prunes.iter().map(|prune| &prune.id);
    for id in writes.chain(prunes).chain(plan.held.iter().map(|held| &held.id)) {
        if !spoken.insert(id) {
            broken.push(format!("{id} is in the plan twice"));
        }
    }
}

fn prunes(
    inputs: &Inputs<'_>,
    plan: &Plan,
    candidates: &HashMap<&ObjectId, &Candidate<'_>>,
    broken: &mut Vec<String>,
) {
    for prune in &plan.prunes {
        let id = &prune.id;
        match candidates.get(id) {
            None => broken.push(format!("{id} is pruned but unknown")),
            Some(candidate) if *candidate.record == Record::None => {
                broken.push(format!("{id} is pruned but not in the inventory"));
            }
            Some(candidate) if candidate.wanted.is_some() => {
                broken.push(format!("{id} is pruned but wanted"));
            }
            Some(candidate) if candidate.hook_run.is_some() => {
                broken.push(format!("{id} is a hook and pruned as an object"));
            }
            Some(candidate) if candidate.options.keep => {
                broken.push(format!("{id} is pruned but asks to be kept"));
            }
            Some(_) => {}
        }
        let claims = inputs.claims;
        if claims.handed_over.contains_key(id) || claims.conflicts.contains_key(id) {
            broken.push(format!("{id} is pruned but another app wants it"));
        }
    }
    let asked = matches!(inputs.removal, Some(Removal::Asked { .. }));
    if inputs.assigned_before.is_some() && !asked && !plan.prunes.is_empty() {
        broken.push("a changed assignment prunes".to_owned());
    }
    if !inputs.claims.undecided.is_empty() && !plan.prunes.is_empty() {
        broken.push("something is pruned that an app may want which is not rendered".to_owned());
    }
    let may_empty = matches!(inputs.removal, Some(Removal::Asked { .. } | Removal::Unlisted));
    if inputs.desired.rows.is_empty() && !may_empty && !plan.prunes.is_empty() {
        broken.push("an empty render prunes".to_owned());
    }
    if !inputs.policy.prune.enabled && !asked && !plan.prunes.is_empty() {
        broken.push("something is pruned though pruning is off".to_owned());
    }
    let over = plan.prunes.len() * 100 > candidates.len() * usize::from(inputs.policy.prune.max_share);
    if over && !asked && plan.prunes.len() >= prune::BUDGET_FLOOR as usize {
        broken.push("more is pruned than the budget allows".to_owned());
    }
}

fn writes(
    inputs: &Inputs<'_>,
    plan: &Plan,
    candidates: &HashMap<&ObjectId, &Candidate<'_>>,
    broken: &mut Vec<String>,
) {
    for write in plan.all_writes() {
        let wanted = candidates.get(&write.id).and_then(|candidate| candidate.wanted);
        if wanted.is_none_or(|row| row.body != write.body || row.version != write.version) {
            broken.push(format!("{} is written but not wanted so", write.id));
        }
        let hook = wanted.and_then(|row| row.hook.as_ref());
        let in_its_phase =
            |hook: &Arc<Hook>| hook.phases(inputs.release.installs).contains(write.place.phase);
        if write.is_hook != hook.is_some_and(in_its_phase) {
            broken.push(format!("{} does not run in {}", write.id, write.place.phase));
        }
        if inputs.claims.conflicts.contains_key(&write.id) {
            broken.push(format!("{} is written but another app has it", write.id));
        }
    }
    let is_wanted = |candidate: &&&Candidate<'_>| candidate.wanted.is_some_and(|row| row.hook.is_none());
    let wanted = candidates.values().filter(is_wanted).count();
    let held = plan.held.iter().filter_map(|held| candidates.get(&held.id)).filter(is_wanted).count();
    let written = plan.writes.iter().filter(|write| !write.is_hook).count();
    if wanted != written + held + plan.unchanged as usize {
        broken.push("a wanted object is neither written, unchanged nor held".to_owned());
    }
    let orphans = candidates.values().filter(|candidate| prune::is_orphan(candidate));
    let spoken: BTreeSet<&ObjectId> =
        plan.prunes.iter().map(|prune| &prune.id).chain(plan.held.iter().map(|held| &held.id)).collect();
    if orphans.into_iter().any(|candidate| !spoken.contains(candidate.id)) {
        broken.push("an object that left Git is neither pruned nor held".to_owned());
    }
}

fn order(plan: &Plan, broken: &mut Vec<String>) {
    let sorted = |pair: &[super::Write]| (pair[0].place, &pair[0].id) <= (pair[1].place, &pair[1].id);
    if !plan.writes.windows(2).all(sorted) || !plan.on_failure.windows(2).all(sorted) {
        broken.push("writes are out of order".to_owned());
    }
    let steps = |pair: &[super::Pruning]| pair[0].step <= pair[1].step && pair[0].early >= pair[1].early;
    if !plan.prunes.windows(2).all(steps) {
        broken.push("deletions are out of order".to_owned());
    }
}
