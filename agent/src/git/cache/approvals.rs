//! Tags that approve plans: which there are, and what those say that somebody waits for.
//!
//! The names come with the answer about the source's reference. Only a tag that is waited for is fetched, its object
//! alone, into a folder that is removed afterwards; one that cannot be read approves nothing and hinders nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use gix::ObjectId;
use jiff::Timestamp;
use skiff_shared::gate::approval::{self, ApprovalTag, Word, Worthless};
use skiff_shared::object::Digest;

use super::listing::Call;
use super::{Cache, Slot, damaged};
use crate::git::error::{FetchError, GitCause, StorageCause};
use crate::git::generation::{Generation, held};
use crate::git::remote::NamedTag;
use crate::git::signature::{self, SignatureProblem, Signers};
use crate::git::source::{Approvals, Source};
use crate::telemetry::chain;

/// The plans whose approvals are waited for, each with its app.
pub type Sought = BTreeSet<(Arc<str>, Digest)>;

/// Whose tags are read, and where.
struct Reading<'a> {
    source: &'a Source,
    slot: &'a Slot,
    signers: Signers,
}

impl Cache {
    /// Returns the approval tags among those that the server has named.
    pub(super) fn approvals(
        &self,
        approvals: &Approvals,
        slot: &Slot,
        call: &mut Call<'_>,
        named: &[NamedTag],
        sought: &Sought,
    ) -> Vec<ApprovalTag> {
        let mut reading = None;
        let mut tags = Vec::new();
        for tag in named {
            let Some((app, plan)) = approval::read_name(&approvals.instance, &tag.name) else { continue };
            let word = if sought.contains(&(Arc::from(app), plan)) {
                let reading = reading.get_or_insert_with(|| self.reading(call.source(), approvals, slot));
                match reading {
                    Ok(reading) => reading.word(call, tag),
                    Err(error) => worthless(tag, error),
                }
            } else {
                Word::Unread
            };
            let (name, object) = (tag.name.clone(), tag.object.to_string());
            tags.push(ApprovalTag { name, app: app.to_owned(), plan, object, word });
        }
        let here = |id: &ObjectId| named.iter().any(|tag| tag.object == *id);
        slot.state().approvals.retain(|id, _| here(id));
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        tags
    }

    fn reading<'a>(
        &self,
        source: &'a Source,
        approvals: &Approvals,
        slot: &'a Slot,
    ) -> Result<Reading<'a>, FetchError> {
        let named = self.means.named(source, approvals.signers.secret.as_deref())?;
        let signers = Signers::read(&approvals.signers, named.as_ref())
            .map_err(|error| FetchError::SignersUnusable { url: source.url.to_string(), source: error })?;
        Ok(Reading { source, slot, signers })
    }
}

impl Reading<'_> {
    /// Says what a tag is worth.
    fn word(&self, call: &mut Call<'_>, tag: &NamedTag) -> Word {
        if tag.on.is_none() {
            let problem = SignatureProblem::NotAnnotated { tag: tag.name.clone() };
            return Word::Bad(Worthless { reason: problem.reason(), message: problem.to_string() });
        }
        let data = match self.data(call, tag) {
            Ok(data) => data,
            Err(error) => return worthless(tag, &error),
        };
        let judged =
            signature::judge_tag(tag.object.kind(), &tag.name, &data, &self.signers, Timestamp::now());
        match judged {
            Ok((by, made_at)) => Word::Good { by, made_at },
            Err(problem) => Word::Bad(Worthless { reason: problem.reason(), message: problem.to_string() }),
        }
    }

    /// Returns a tag's object as it is stored; it is fetched once.
    fn data(&self, call: &mut Call<'_>, tag: &NamedTag) -> Result<Vec<u8>, FetchError> {
        if let Some(data) = self.slot.state().approvals.get(&tag.object) {
            return Ok(data.clone());
        }
        let storage = |cause| self.slot.storage(self.source, cause);
        let lender = self.slot.state().current.clone();
        let lender = lender.as_deref().filter(|generation| !generation.is_damaged());
        let known = lender.and_then(|generation| generation.open().ok());
        let known = known.map(|repository| held(&repository)).unwrap_or_default();
        let (built, repository) =
            Generation::build_beside(&self.slot.folder, tag.object.kind(), lender).map_err(storage)?;
        let fetched = call.remote().and_then(|remote| remote.fetch_tag(&repository, tag.object, known));
        drop(repository);
        let data = fetched.and_then(|()| {
            // The packs that were there when it was opened are all that an open repository is sure to see.
            let repository = Generation::look_into(&built).map_err(|cause| damaged(self.source, cause))?;
            let found = repository.find_object(tag.object);
            let mut found = found.map_err(|error| damaged(self.source, GitCause::new(&error)))?;
            Ok(std::mem::take(&mut found.data))
        });
        fs::remove_dir_all(&built).map_err(|error| storage(StorageCause::Io(error)))?;
        let data = data?;
        self.slot.state().approvals.insert(tag.object, data.clone());
        Ok(data)
    }
}

fn worthless(tag: &NamedTag, error: &FetchError) -> Word {
    let message = format!("tag {:?} cannot be judged: {}", tag.name, chain(error));
    Word::Bad(Worthless { reason: error.reason(), message })
}
