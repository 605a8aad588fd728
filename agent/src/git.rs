//! The source adapter: repositories over HTTP and SSH, fetched at depth 1 into a cache and read from its object database.
//!
//! First stage of the pipeline. It decides nothing: what a moved reference means and when to ask again is decided by
//! pure code ([`next_poll`], the core). Everything here blocks, so it is called on blocking threads; every transfer has
//! a deadline, a limit of bytes and ends at the agent's shutdown.
//!
//! Credentials are read from files and Secrets at each use, are sent at once or not at all, to the host of the source alone and in
//! the clear only to this machine itself, and stand in no error's text. An SSH server is told nothing before its key was
//! found among the known ones.

mod budget;
mod cache;
mod credentials;
mod error;
mod exchange;
mod generation;
mod github_app;
mod history;
mod http;
mod peer;
mod reference;
mod remote;
mod revision;
mod schedule;
mod signature;
mod snapshot;
mod source;
mod ssh;
mod url;

pub use cache::{Cache, CacheError, Sought, Update};
pub use credentials::{NamedSecret, NamedSecretError, NamedSecrets};
pub use error::{FetchError, GitCause, ReadError, Retry, StorageCause, VersionsFound};
pub use exchange::{Exchange, Reply};
pub use github_app::GithubApp;
pub use http::retry_after;
pub use reference::{CommitId, IdError, Reference, ReferenceError, TreeId};
pub use remote::Means;
pub use revision::Revision;
pub use schedule::{Polled, next_poll};
pub use signature::{SignaturePolicy, SignatureProblem, Signed, SignersError};
pub use snapshot::{Child, ChildKind, Entry, EntryKind, Exported, Snapshot, check_depth};
pub use source::{Approvals, Credentials, Limits, Proxy, Rewrites, Source};
pub use ssh::{HostKey, HostKeyError, SshServer, host_key};
pub use url::{RepositoryUrl, UrlError, is_private_address};
