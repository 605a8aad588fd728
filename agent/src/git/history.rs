//! Whether one commit builds on another. A cache of depth 1 does not know; the server is asked for the commits between
//! the two, without their files if it can leave those out, into a folder that is removed afterwards.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use gix::ObjectId;

use super::error::{FetchError, GitCause, StorageCause};
use super::generation::Generation;
use super::reference::CommitId;
use super::remote::{Held, Remote};
use super::source::Source;

/// A question about a repository's history.
pub(super) struct Question<'a> {
    pub source: &'a Source,
    /// The repository's folder in the cache; one operation at a time uses it.
    pub folder: &'a Path,
    /// Has some of the objects already.
    pub lender: Option<&'a Generation>,
}

impl Question<'_> {
    /// Says whether `base` is among the ancestors of `tip`.
    pub(super) fn builds_on(
        &self,
        remote: &mut Remote,
        tip: CommitId,
        base: CommitId,
    ) -> Result<bool, FetchError> {
        let storage = |source| {
            let (url, path) = (self.source.url.to_string(), self.folder.to_owned());
            FetchError::Storage { url, path, source }
        };
        let (built, repository) =
            Generation::build_beside(self.folder, remote.format(), self.lender).map_err(storage)?;
        let held = if repository.has_object(base.0) { Held::Yes } else { Held::No };
        let fetched = remote.fetch_history(&repository, tip, base, held);
        drop(repository);
        // The packs that were there when it was opened are all that an open repository is sure to see.
        let answer = fetched.and_then(|()| {
            let damaged = |source| FetchError::Damaged { url: self.source.url.to_string(), source };
            let repository = Generation::look_into(&built).map_err(damaged)?;
            leads_to(&repository, tip.0, base.0).map_err(damaged)
        });
        fs::remove_dir_all(&built).map_err(|error| storage(StorageCause::Io(error)))?;
        answer
    }
}

/// Walks from `tip` through the commits that are here. What the server left out is what `base` builds on, so a way to
/// `base` leads through commits that are here alone.
fn leads_to(repository: &gix::Repository, tip: ObjectId, base: ObjectId) -> Result<bool, GitCause> {
    let mut ahead = vec![tip];
    let mut seen = HashSet::from([tip]);
    while let Some(id) = ahead.pop() {
        if id == base {
            return Ok(true);
        }
        let Some(found) = repository.try_find_object(id).map_err(|error| GitCause::new(&error))? else {
            continue;
        };
        let Ok(commit) = found.try_into_commit() else { continue };
        ahead.extend(commit.parent_ids().map(gix::Id::detach).filter(|parent| seen.insert(*parent)));
    }
    Ok(false)
}
