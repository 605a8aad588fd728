//! May an object that exists without being on record be taken over?
//!
//! Asked when a dry run has found the object; what plan itself compares are records.

use crate::managed_fields::ForeignOwner;
use crate::policy::Adopt;

/// An object that exists, as far as the decision asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Who else looks after it.
    pub foreign: Option<&'a ForeignOwner>,
    /// It carries our value of the instance label.
    pub is_ours: bool,
    /// It is wanted as a hook.
    pub is_hook: bool,
}

/// What becomes of an object that exists without being recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Adoption {
    /// It carries our label: an earlier write of ours whose record is not complete.
    Ours,
    TakenOver,
    /// It is left to its owner.
    Refused {
        owner: String,
    },
}

/// Decides as `sync.adopt` says. What another agent has is never taken.
pub fn decide(found: Found<'_>, adopt: Adopt) -> Adoption {
    let foreign = |owner: &ForeignOwner| Adoption::Refused { owner: owner.to_string() };
    match (found.foreign, adopt) {
        (Some(owner @ ForeignOwner::Skiff { .. }), _) => foreign(owner),
        _ if found.is_ours => Adoption::Ours,
        (_, Adopt::Never) => {
            Adoption::Refused { owner: "somebody else (sync.adopt is \"never\")".to_owned() }
        }
        (Some(owner), Adopt::IfUnowned) => foreign(owner),
        // To take a finished object over would be to take its work for done.
        (None, Adopt::IfUnowned) if found.is_hook => {
            Adoption::Refused { owner: "somebody else, and may have run already".to_owned() }
        }
        (None, Adopt::IfUnowned) | (_, Adopt::Always) => Adoption::TakenOver,
    }
}
