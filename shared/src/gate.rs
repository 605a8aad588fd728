//! The gate: may this plan be applied now?
//!
//! Between plan and apply. It opens or names what it waits for; it never changes the plan.

use crate::object::Digest;
use crate::policy::Mode;
use crate::sync::event::Ask;

/// The gate's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Go { approved_by: Option<String> },
    Wait(Wait),
}

/// What a plan waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wait {
    Approval {
        digest: Digest,
        /// An approval is there, but for another plan.
        outdated: Option<Digest>,
    },
    Pause {
        reason: String,
    },
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Approval { digest, outdated: None } => write!(f, "waiting for approval of plan {digest}"),
            Self::Approval { digest, outdated: Some(other) } => {
                write!(f, "waiting for approval of plan {digest}: the approval in force is for {other}")
            }
            Self::Pause { reason } if reason.is_empty() => f.write_str("paused"),
            Self::Pause { reason } => write!(f, "paused: {reason}"),
        }
    }
}

/// Decides whether the plan with `digest` may go.
pub fn decide(mode: Mode, ask: &Ask, digest: Digest) -> Verdict {
    if let Some(reason) = &ask.paused {
        return Verdict::Wait(Wait::Pause { reason: reason.clone() });
    }
    match (mode, &ask.approval) {
        (Mode::Auto, _) => Verdict::Go { approved_by: None },
        (Mode::Manual, Some(approval)) if approval.digest == digest => {
            Verdict::Go { approved_by: Some(approval.by.clone()) }
        }
        (Mode::Manual, approval) => {
            let outdated = approval.as_ref().map(|approval| approval.digest);
            Verdict::Wait(Wait::Approval { digest, outdated })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::event::Approval;

    fn approved(digest: Digest) -> Ask {
        Ask { approval: Some(Approval { digest, by: "ops".into() }), ..Ask::default() }
    }

    #[test]
    fn a_manual_plan_waits_for_its_own_digest() {
        let (mine, other) = (Digest::of(b"mine"), Digest::of(b"other"));
        assert_eq!(
            decide(Mode::Manual, &approved(mine), mine),
            Verdict::Go { approved_by: Some("ops".into()) }
        );
        assert_eq!(
            decide(Mode::Manual, &approved(other), mine),
            Verdict::Wait(Wait::Approval { digest: mine, outdated: Some(other) })
        );
    }

    #[test]
    fn a_pause_stops_also_what_is_approved() {
        let digest = Digest::of(b"mine");
        let ask = Ask { paused: Some("incident 7".into()), ..approved(digest) };
        let Verdict::Wait(wait) = decide(Mode::Auto, &ask, digest) else { panic!("paused") };
        assert_eq!(wait.to_string(), "paused: incident 7");
    }
}
