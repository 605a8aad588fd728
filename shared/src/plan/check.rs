//! What must hold of every plan, whatever its inputs: run over every plan of every test.

use std::collections::BTreeSet;

use super::{Inputs, Plan};
use crate::inventory::Record;
use crate::object::ObjectId;

/// Returns every rule that `plan` breaks, in words; empty for a sound plan.
pub fn check(inputs: &Inputs<'_>, plan: &Plan) -> Vec<String> {
    let mut broken = Vec::new();
    let mut spoken: BTreeSet<&ObjectId> = BTreeSet::new();
    let all = plan
        .writes
        .iter()
        .map(|write| &write.id)
        .chain(plan.prunes.iter().map(|prune| &prune.id))
        .chain(plan.held.iter().map(|held| &held.id));
    for id in all {
        if !spoken.insert(id) {
            broken.push(format!("{id} is in the plan twice"));
        }
    }
    for prune in &plan.prunes {
        let candidate = inputs.candidates.iter().find(|candidate| *candidate.id == prune.id);
        match candidate {
            None => broken.push(format!("{} is pruned but unknown", prune.id)),
            Some(candidate) if *candidate.record == Record::None => {
                broken.push(format!("{} is pruned but not in the inventory", prune.id));
            }
            Some(candidate) if candidate.wanted.is_some() => {
                broken.push(format!("{} is pruned but wanted", prune.id));
            }
            Some(_) => {}
        }
    }
    if inputs.desired.rows.is_empty() && !plan.prunes.is_empty() {
        broken.push("an empty render prunes".to_owned());
    }
    if plan.writes.windows(2).any(|pair| pair[0].place > pair[1].place) {
        broken.push("writes are out of order".to_owned());
    }
    let wanted = inputs.candidates.iter().filter(|candidate| candidate.wanted.is_some());
    let counted = plan.writes.len() + plan.held.iter().filter(|held| is_wanted(inputs, &held.id)).count();
    if wanted.count() != counted + plan.unchanged as usize {
        broken.push("a wanted object is neither written, unchanged nor held".to_owned());
    }
    broken
}

fn is_wanted(inputs: &Inputs<'_>, id: &ObjectId) -> bool {
    inputs.candidates.iter().any(|candidate| candidate.id == id && candidate.wanted.is_some())
}
