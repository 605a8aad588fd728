//! The gate: may this plan be applied now?
//!
//! Between plan and apply. It opens or names what it waits for; it never changes the plan.

pub mod approval;
pub mod cron;
pub mod depend;
pub mod window;

use std::sync::Arc;

use jiff::Timestamp;

use crate::desired::Revision;
use crate::object::Digest;
use crate::policy::Mode;
use approval::Words;
use depend::Standings;
use window::Opening;

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
    Window {
        /// `None` where no such time is foreseen.
        opens_at: Option<Timestamp>,
    },
    /// Apps that are not yet synced and healthy at their newest revision.
    Dependencies(Vec<Arc<str>>),
}

impl Wait {
    /// The word of the condition `Ready`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Approval { .. } => "WaitingForApproval",
            Self::Pause { .. } => "Paused",
            Self::Window { .. } => "WindowClosed",
            Self::Dependencies(_) => "WaitingForDependencies",
        }
    }
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
            Self::Window { opens_at: Some(at) } => {
                write!(f, "outside of the windows: the next one opens at {at}")
            }
            Self::Window { opens_at: None } => {
                f.write_str("outside of the windows, and none is foreseen to open")
            }
            Self::Dependencies(apps) => {
                let named: Vec<String> = apps.iter().map(|app| format!("app {app:?}")).collect();
                write!(f, "waiting for {} to be synced and healthy", named.join(", "))
            }
        }
    }
}

/// Everything that the gate looks at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub mode: Mode,
    /// What people say.
    pub words: Words<'a>,
    /// The plan's.
    pub digest: Digest,
    /// The revision that the plan leads to.
    pub revision: &'a Revision,
    pub opening: Opening,
    pub dependencies: &'a Standings,
    /// A person asked for this very sync.
    pub by_person: bool,
    /// It is the rest of a plan that began with an approval.
    pub is_rest: bool,
}

/// Decides whether a plan may go. A person's word passes the windows that say so. Going back to a release waits for
/// no other app.
pub fn decide(question: &Question<'_>) -> Verdict {
    let Question { mode, words, digest, revision, opening, dependencies, by_person, is_rest } = *question;
    let ask = words.ask;
    if let Some(reason) = &ask.paused {
        return Verdict::Wait(Wait::Pause { reason: reason.clone() });
    }
    let given = if is_rest { words.began_with(digest) } else { words.on(digest) };
    let approved_by = match (mode, given) {
        (Mode::Auto, _) => None,
        (Mode::Manual, Some(by)) => Some(by),
        (Mode::Manual, None) => {
            let outdated = ask.approval.as_ref().map(|approval| approval.digest);
            return Verdict::Wait(Wait::Approval { digest, outdated });
        }
    };
    let lets_through = opening.open || opening.manual && by_person;
    if !lets_through {
        return Verdict::Wait(Wait::Window { opens_at: opening.opens_at });
    }
    let waiting = if ask.pin.is_some() { Vec::new() } else { depend::waits_for(dependencies, revision) };
    if !waiting.is_empty() {
        return Verdict::Wait(Wait::Dependencies(waiting));
    }
    Verdict::Go { approved_by }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::depend::Standing;
    use crate::sync::event::{Approval, Ask, Pin};

    /// Asks about the plan `mine` of an app that depends on nothing, outside of all windows and by nobody's wish.
    fn question<'a>(mode: Mode, ask: &'a Ask, rest: &'a (Revision, Standings)) -> Question<'a> {
        Question {
            mode,
            words: words(ask),
            digest: mine(),
            revision: &rest.0,
            opening: Opening::ALWAYS,
            dependencies: &rest.1,
            by_person: false,
            is_rest: false,
        }
    }

    fn words(ask: &Ask) -> Words<'_> {
        Words { ask, tags: &[], synced_at: None }
    }

    fn mine() -> Digest {
        Digest::of(b"mine")
    }

    fn approved(digest: Digest) -> Ask {
        Ask { approval: Some(Approval { digest, by: "ops".into() }), ..Ask::default() }
    }

    fn closed(manual: bool) -> Opening {
        let opens_at = Timestamp::from_second(1_795_000_000).ok();
        Opening { open: false, heals: false, manual, until: opens_at, opens_at }
    }

    #[test]
    fn a_manual_plan_waits_for_its_own_digest() {
        let (other, rest) = (Digest::of(b"other"), Default::default());
        let verdict = decide(&question(Mode::Manual, &approved(mine()), &rest));
        assert_eq!(verdict, Verdict::Go { approved_by: Some("ops".into()) });
        let verdict = decide(&question(Mode::Manual, &approved(other), &rest));
        assert_eq!(verdict, Verdict::Wait(Wait::Approval { digest: mine(), outdated: Some(other) }));
    }

    #[test]
    fn a_pause_stops_also_what_is_approved() {
        let rest = Default::default();
        let ask = Ask { paused: Some("incident 7".into()), ..approved(mine()) };
        let Verdict::Wait(wait) = decide(&question(Mode::Auto, &ask, &rest)) else { panic!("paused") };
        assert_eq!(wait.to_string(), "paused: incident 7");
    }

    #[test]
    fn a_closed_window_stops_also_what_is_approved_unless_a_person_asks_and_may() {
        let (ask, rest) = (approved(mine()), Default::default());
        let question = Question { opening: closed(false), ..question(Mode::Manual, &ask, &rest) };
        let Verdict::Wait(wait) = decide(&question) else { panic!("closed") };
        assert_eq!(wait.to_string(), "outside of the windows: the next one opens at 2026-11-18T11:06:40Z");
        assert!(matches!(decide(&Question { by_person: true, ..question }), Verdict::Wait(_)));
        let lenient = Question { opening: closed(true), ..question };
        assert!(matches!(decide(&lenient), Verdict::Wait(_)));
        assert!(matches!(decide(&Question { by_person: true, ..lenient }), Verdict::Go { .. }));
        let unapproved = Ask::default();
        let verdict = decide(&Question { words: words(&unapproved), ..question });
        assert!(matches!(verdict, Verdict::Wait(Wait::Approval { .. })), "it can be approved beforehand");
    }

    #[test]
    fn a_rollback_waits_for_no_other_app() {
        let rest = (Revision::default(), Standings::from([("db".into(), Standing::default())]));
        let ask = Ask::default();
        let Verdict::Wait(wait) = decide(&question(Mode::Auto, &ask, &rest)) else { panic!("it waits") };
        assert_eq!(wait.to_string(), r#"waiting for app "db" to be synced and healthy"#);
        let pinned = Ask { pin: Some(Pin { release: mine(), reason: String::new() }), ..Ask::default() };
        assert!(matches!(decide(&question(Mode::Auto, &pinned, &rest)), Verdict::Go { .. }));
    }
}
