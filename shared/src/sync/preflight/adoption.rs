//! Adoption: what becomes of objects that exist without being recorded.

use jiff::Timestamp;

use crate::plan::HeldReason;
use crate::plan::adoption::{self, Adoption, Found};
use crate::sync::effect::Effect;
use crate::sync::event::{Answer, Failure, Observation, Seen};
use crate::sync::heal::next_after;
use crate::sync::row::{Op, RowIx};
use crate::sync::state::{Machine, Phase};

impl Machine {
    /// Starts the GETs of objects that exist without being recorded.
    pub(super) fn start_inspections(&mut self, out: &mut Vec<Effect>) {
        let mut after = None;
        while self.has_room()
            && let Some(ix) = next_after(&self.inspect, after)
        {
            after = Some(ix);
            if self.rows[ix.get()].flight.is_some() {
                continue;
            }
            self.inspect.remove(&ix);
            let target = self.rows[ix.get()].target();
            let token = self.depart(ix, Op::Inspect);
            out.push(Effect::Get(token, target));
        }
    }

    pub(in crate::sync) fn inspected(&mut self, ix: RowIx, result: Result<Answer, Failure>, now: Timestamp) {
        if self.phase != Phase::Preflight {
            return;
        }
        match result {
            Ok(Answer::Got(Observation::Present(mut seen))) => {
                let adoption = self.decide_adoption(ix, &seen);
                if !matches!(adoption, Adoption::Refused { .. }) {
                    // No watch shows it before it carries our label.
                    seen.at.watch = self.generation(ix).max(seen.at.watch);
                    self.accept(ix, *seen, now);
                }
                if let Some(run) = &mut self.run {
                    run.adoptions.insert(ix, adoption);
                }
                self.passed(ix);
            }
            Ok(_) => self.found_absent(ix),
            Err(Failure::NotFound(cause)) => self.refused(ix, cause),
            Err(failure) => self.check_again(ix, &failure, now),
        }
    }

    /// Decides whether an object that exists may be taken over.
    fn decide_adoption(&self, ix: RowIx, seen: &Seen) -> Adoption {
        let is_hook = self.rows[ix.get()].hook.is_some();
        let found = Found { foreign: seen.foreign.as_ref(), is_ours: seen.is_ours, is_hook };
        adoption::decide(found, self.policy.adopt)
    }

    /// Takes the result of another look at an object that was left to its owner: what is free now is planned.
    pub(in crate::sync) fn looked_at_owner(
        &mut self,
        ix: RowIx,
        result: &Result<Answer, Failure>,
        now: Timestamp,
    ) {
        let verdict = match result {
            Ok(Answer::Got(Observation::Present(seen))) => self.decide_adoption(ix, seen),
            Ok(Answer::Got(Observation::Absent(_))) => Adoption::TakenOver,
            Ok(_) | Err(_) => return self.look_at_owner(ix, now),
        };
        let before = self.rows[ix.get()].held_reason();
        match (verdict, before) {
            (Adoption::Refused { owner }, Some(HeldReason::NotAdopted { owner: before }))
                if owner == *before =>
            {
                self.look_at_owner(ix, now);
            }
            (_, Some(HeldReason::AlreadyThere))
                if matches!(result, Ok(Answer::Got(Observation::Present(_)))) =>
            {
                self.look_at_owner(ix, now);
            }
            _ => {
                self.found(ix);
                self.replan = true;
            }
        }
    }
}
