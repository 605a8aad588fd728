//! Releases of the past: a rendered set read back from the stored renders that hold it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use skiff_shared::desired::{BodyDigest, Desired, DesiredRow, Listing, render_digest, stored};
use skiff_shared::object::Interner;
use skiff_shared::sync::effect::Release;
use skiff_shared::sync::event::{Cause, Failure, Refusal};

use super::{RENDER_KEY, State, pack, within};
use crate::store::Store;

impl State {
    /// Reads the set of a release back and its bodies to the disk. What comes out has the digest that the release had,
    /// or it is refused: a part of a release is not gone back to.
    pub async fn recall(
        &self,
        release: &Release,
        store: &Store,
        interner: &Mutex<Interner>,
    ) -> Result<Desired, Failure> {
        let without: BTreeSet<&BodyDigest> = release.without.iter().collect();
        let mut rows = Vec::new();
        for name in &release.stored {
            let found = within(self.renders.get_opt(name)).await?;
            let packed = found.and_then(|secret| secret.data?.remove(RENDER_KEY));
            let packed = packed.ok_or_else(|| refused(format!("stored render {name} is gone")))?;
            let bodies =
                pack::unpack(&packed.0).map_err(|error| refused(format!("stored render {name}: {error}")))?;
            for body in bodies {
                let digest = store.put(&body).map_err(|error| {
                    let message = format!("a body cannot be kept on disk: {error}");
                    Failure::Unavailable(Cause { reason: Refusal::Unclassified, code: 0, message })
                })?;
                if !without.contains(&digest) {
                    rows.push(row(&body, digest, interner).map_err(refused)?);
                }
            }
        }
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        if render_digest(&rows) != release.render {
            return Err(refused(format!(
                "the stored renders of release {} are not the whole of it",
                release.render
            )));
        }
        Ok(Desired {
            revision: release.revision.clone(),
            assignment: release.assignment.clone(),
            render: release.render,
            rows,
            warnings: Vec::new(),
            listing: Listing::Listed,
            seen_at: release.seen_at,
            fetched: None,
            rendered: None,
        })
    }
}

fn row(body: &[u8], digest: BodyDigest, interner: &Mutex<Interner>) -> Result<DesiredRow, String> {
    let mut interner = interner.lock().unwrap_or_else(PoisonError::into_inner);
    stored::row(body, digest, &mut interner).map_err(|error| error.to_string())
}

fn refused(message: String) -> Failure {
    Failure::Rejected(Cause { reason: Refusal::Unclassified, code: 0, message })
}
