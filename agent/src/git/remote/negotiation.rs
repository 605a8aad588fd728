//! What is asked of a server in one round: one object, against what is here.

use gix::ObjectId;
use gix::protocol::fetch::negotiate;
use gix::protocol::fetch::{Arguments, Response};

/// Whether the repository that is fetched into has the base of a question about history, with its files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::git) enum Held {
    Yes,
    No,
}

/// One round: what is wanted, and what is here already.
pub(super) struct Negotiation {
    want: ObjectId,
    known: Vec<ObjectId>,
    /// Leaves the files out, if the server can.
    commits_alone: bool,
    /// Deltas may build on the files of what is known.
    held: Held,
}

impl Negotiation {
    pub(super) fn of_files(want: ObjectId, known: Vec<ObjectId>) -> Self {
        Self { want, known, commits_alone: false, held: Held::Yes }
    }

    pub(super) fn of_tag(want: ObjectId, known: Vec<ObjectId>) -> Self {
        Self { want, known, commits_alone: true, held: Held::Yes }
    }

    pub(super) fn of_history(want: ObjectId, base: ObjectId, held: Held) -> Self {
        Self { want, known: vec![base], commits_alone: true, held }
    }
}

impl gix::protocol::fetch::Negotiate for Negotiation {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<negotiate::Action> {
        Ok(negotiate::Action::MustNegotiate { remote_ref_target_known: Vec::new() })
    }

    fn add_wants(&mut self, arguments: &mut Arguments, _known: &[bool]) -> bool {
        arguments.want(self.want);
        if self.commits_alone && arguments.can_use_filter() {
            arguments.filter("tree:0");
        } else if self.held == Held::No {
            // What came would build on files that are not here: everything has to come.
            self.known.clear();
        }
        true
    }

    fn one_round(
        &mut self,
        _state: &mut negotiate::one_round::State,
        arguments: &mut Arguments,
        _previous: Option<&Response>,
    ) -> gix::Result<(negotiate::Round, bool)> {
        for known in &self.known {
            arguments.have(known);
        }
        let sent = self.known.len();
        let round = negotiate::Round {
            haves_sent: sent,
            in_vain: 0,
            haves_to_send: sent,
            previous_response_had_at_least_one_in_common: false,
        };
        Ok((round, true))
    }
}
