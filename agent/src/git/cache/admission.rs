//! What a revision has to pass before anybody reads it: its branch builds on where it stood, and it is signed as the
//! source wants it.

use gix::ObjectId;
use jiff::Timestamp;

use super::listing::Call;
use super::{Cache, Slot, damaged};
use crate::git::error::{FetchError, GitCause};
use crate::git::history::Question;
use crate::git::reference::{CommitId, Reference};
use crate::git::remote::Tip;
use crate::git::revision::Revision;
use crate::git::signature::{self, Objects, Signed, Signers, Tag};
use crate::git::source::{Rewrites, Source};

/// A branch that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rewritten {
    from: CommitId,
    to: CommitId,
    accepted: Option<CommitId>,
}

impl Cache {
    /// Lets a revision pass that is signed as the source wants it, with the names of those who have signed it.
    pub(super) fn signed(
        &self,
        source: &Source,
        slot: &Slot,
        tip: &Tip,
        revision: Revision,
    ) -> Result<Revision, FetchError> {
        let Some(policy) = &source.verify else { return Ok(revision) };
        let named = self.means.named(source, policy.secret.as_deref())?;
        let signers = Signers::read(policy, named.as_ref())
            .map_err(|error| FetchError::SignersUnusable { url: source.url.to_string(), source: error })?;
        let signers = slot.judge(source, policy.signed, tip, &signers)?;
        Ok(Revision { signers, ..revision })
    }
}

impl Slot {
    /// Refuses a branch that does not build on where it stood, if the source wants that.
    pub(super) fn check_rewritten(
        &self,
        source: &Source,
        call: &mut Call<'_>,
        tip: &Tip,
    ) -> Result<(), FetchError> {
        let Rewrites::Refuse { accepted } = source.rewrites else { return Ok(()) };
        let stood_at = self.state().stood_at.get(&tip.reference).copied();
        let Some(from) = stood_at.filter(|from| *from != tip.commit && accepted != Some(tip.commit)) else {
            return Ok(());
        };
        let rewritten = Rewritten { from, to: tip.commit, accepted };
        if self.state().rewritten != Some(rewritten) {
            let lender = self.state().current.clone();
            let lender = lender.as_deref().filter(|generation| !generation.is_damaged());
            let question = Question { source, folder: &self.folder, lender };
            for base in [from].into_iter().chain(accepted) {
                if question.builds_on(call.remote()?, tip.commit, base)? {
                    return Ok(());
                }
            }
            self.state().rewritten = Some(rewritten);
        }
        let (url, branch) = (source.url.to_string(), tip.reference.short_name().to_owned());
        Err(FetchError::BranchRewritten { url, branch, from, to: tip.commit })
    }

    /// Notes where a branch stands now that must not be rewritten.
    pub(super) fn note(&self, source: &Source, tip: &Tip) {
        if source.rewrites != Rewrites::Follow {
            self.state().stood_at.insert(tip.reference.clone(), tip.commit);
        }
    }

    /// The same as it was recorded elsewhere, unless it has been read since.
    pub(super) fn remember(&self, source: &Source, commit: CommitId) {
        if source.rewrites != Rewrites::Follow {
            self.state().stood_at.entry(source.reference.clone()).or_insert(commit);
        }
    }

    /// Compares the signatures of what is here with what has to be signed.
    fn judge(
        &self,
        source: &Source,
        signed: Signed,
        tip: &Tip,
        signers: &Signers,
    ) -> Result<Vec<String>, FetchError> {
        let url = || source.url.to_string();
        let missing = || FetchError::CommitNotFound { url: url(), commit: tip.commit };
        let generation = self.state().current.clone().ok_or_else(missing)?;
        let repository = generation.open().map_err(|cause| damaged(source, cause))?;
        let data = |id| match repository.find_object(id) {
            Ok(mut object) => Ok(std::mem::take(&mut object.data)),
            Err(error) => Err(damaged(source, GitCause::new(&error))),
        };
        let commit = data(tip.commit.0)?;
        let tag = source.wanted_tag(tip).map(data).transpose()?;
        let tag = match (&tag, &tip.reference) {
            (Some(data), reference) => Tag::Annotated { name: reference.short_name(), data },
            (None, Reference::Tag(name)) => Tag::Lightweight(name),
            (None, _) => Tag::None,
        };
        let (format, commit_id) = (repository.object_hash(), tip.commit.to_string());
        let objects = Objects { format, commit: &commit, commit_id, tag };
        signature::judge(signed, &objects, signers, Timestamp::now())
            .map_err(|problem| FetchError::SignatureRefused { url: url(), source: problem })
    }
}

impl Source {
    /// Returns the tag's own object if it is asked for a signature.
    pub(super) fn wanted_tag(&self, tip: &Tip) -> Option<ObjectId> {
        tip.tag.filter(|_| self.verify.as_ref().is_some_and(|policy| policy.signed.needs_tag()))
    }
}
