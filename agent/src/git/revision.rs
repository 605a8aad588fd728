//! One state of a source: its commit, its tree, and who committed what and when.

use std::fmt;

use gix::bstr::ByteSlice;
use jiff::Timestamp;
use skiff_shared::desired;

use super::error::GitCause;
use super::reference::{CommitId, Reference, TreeId};
use super::url::RepositoryUrl;

/// A state of a source, printed `main@sha1:4f2c9a…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub url: RepositoryUrl,
    pub reference: Reference,
    pub commit: CommitId,
    /// The whole repository's tree: equal trees, equal files.
    pub tree: TreeId,
    pub author_name: String,
    pub author_email: String,
    pub committed_at: Option<Timestamp>,
    pub subject: String,
    /// The trailers of the commit's message, in their order.
    pub trailers: Vec<(String, String)>,
    /// Who has signed it, if the source asks for that.
    pub signers: Vec<String>,
}

impl Revision {
    /// Reads the commit.
    pub(super) fn read(
        commit: &gix::Commit<'_>,
        url: &RepositoryUrl,
        reference: &Reference,
    ) -> Result<Self, GitCause> {
        let unreadable = |error: gix::Error| GitCause::new(&error);
        let author = commit.author().map_err(unreadable)?;
        let message = commit.message().map_err(unreadable)?;
        let trailers = message.body().map(|body| {
            let trailer = |trailer: gix::objs::commit::message::body::TrailerRef<'_>| {
                (trailer.token.to_str_lossy().into_owned(), trailer.value.to_str_lossy().into_owned())
            };
            body.trailers().map(trailer).collect()
        });
        let seconds = commit.time().map_err(unreadable)?.seconds;
        Ok(Self {
            url: url.clone(),
            reference: reference.clone(),
            commit: CommitId(commit.id),
            tree: TreeId(commit.tree_id().map_err(unreadable)?.detach()),
            author_name: author.name.to_str_lossy().into_owned(),
            author_email: author.email.to_str_lossy().into_owned(),
            committed_at: Timestamp::from_second(seconds).ok(),
            subject: message.summary().to_str_lossy().trim().to_owned(),
            trailers: trailers.unwrap_or_default(),
            signers: Vec::new(),
        })
    }

    /// Returns the value of the last trailer with this name, in whatever case it is written.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let found = self.trailers.iter().rev().find(|(token, _)| token.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns what plans, status and spans say of this revision.
    pub fn record(&self) -> desired::Revision {
        desired::Revision {
            url: self.url.canonical(),
            reference: self.reference.short_name().to_owned(),
            commit: self.commit.to_string(),
            author: format!("{} <{}>", self.author_name, self.author_email),
            subject: self.subject.clone(),
            committed_at: self.committed_at,
            traceparent: self.trailer("Traceparent").map(str::to_owned),
            chart: None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.record())
    }
}
