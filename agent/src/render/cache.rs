//! What the files of an app became, so that a file that has not changed need not be read again.
//!
//! Between two renders of one app, in memory only: after a start everything is read once. A file is known by its path
//! and the id of its content. What it became holds as long as the app's setting is the same, the cluster and the
//! render say the same of its kinds, and its bodies are in the store; the collector checks that before each use.

use std::collections::HashMap;

use skiff_shared::environment::IgnoreDifferences;
use skiff_shared::object::{Digest, Hashing};

use super::Request;
use super::collect::Part;
use crate::git::TreeId;

/// What the files of one app became when it was last rendered.
#[derive(Debug, Default)]
pub struct FileCache {
    /// Of what each row depends on beside its file.
    setting: Option<Digest>,
    parts: HashMap<Box<str>, Part>,
}

impl FileCache {
    /// Forgets everything if the app is rendered in another setting than before.
    pub(super) fn prepare(&mut self, request: &Request<'_>) {
        let setting = setting(request);
        if self.setting.replace(setting) != Some(setting) {
            self.parts = HashMap::new();
        }
    }

    /// Takes out what a file became, if this is its content still.
    pub(super) fn take(&mut self, path: &str, content: Option<TreeId>) -> Option<Part> {
        let part = self.parts.remove(path)?;
        (part.content().is_some() && part.content() == content).then_some(part)
    }

    /// Keeps what files became; those that cannot be used again are dropped.
    pub(super) fn keep(&mut self, parts: Vec<Part>) {
        self.parts.extend(parts.into_iter().filter_map(|part| Some((part.reusable_path()?, part))));
    }

    /// Forgets the files that are no longer there, once every file of a revision has been taken.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }
}

/// Returns the digest of everything beside kinds and content that a row depends on.
fn setting(request: &Request<'_>) -> Digest {
    Hashing::default()
        .part(request.instance.as_bytes())
        .part(request.app.as_bytes())
        .part(&[u8::from(request.namespace.is_some())])
        .part(request.namespace.unwrap_or_default().as_bytes())
        .part(request.facts.map(|facts| facts.digest().to_string()).unwrap_or_default().as_bytes())
        .part(&IgnoreDifferences::digest(request.ignore_differences).0)
        .part(request.limits.digest().to_string().as_bytes())
        .part(&request.tools.bounds.file_bytes.to_be_bytes())
        .finish()
}
