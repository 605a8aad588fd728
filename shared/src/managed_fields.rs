//! What the API server's `metadata.managedFields` says about our fields.
//!
//! Place in the pipeline: between *observe* and the machine. An object that is watched is never kept; while it is
//! read, [`Fields`] reduces its managedFields to a few numbers, and [`judge`] compares them with those of our last
//! apply. Only when somebody asks who changed what are whole entries ([`Entry`]) and field sets ([`FieldSet`]) read.
//! [`adopt`] and [`release`] rewrite the list for adoption and for yielded fields.
//!
//! Nothing here talks to a cluster, knows a schema or compares values of fields.
//!
//! # Stored digests
//!
//! [`Owned::digest`] is stored in the cluster, so its definition never changes within a stored version:
//! - the hash of a path is FNV-1a with 128 bits over the bytes of each element as fieldsV1 spells it (`f:spec`,
//!   `k:{"name":"web"}`), each element followed by the byte `0xff`, which no UTF-8 text contains;
//! - it is then mixed by the finalizer of MurmurHash3 x64-128, because sums of bare FNV hashes of related paths
//!   collide;
//! - the digest of a set is the sum of the hashes of its paths modulo 2^128. A path is in the set when it is a leaf
//!   (`{}`) or holds the member `"."`; the order of the keys does not matter.

mod digest;
mod drift;
mod entry;
mod foreign;
mod omit;
mod path;
mod set;
mod surgery;
mod tools;

pub use digest::{Fields, Owned};
pub use drift::{Actor, Mark, Verdict, blame, drifted_paths, judge};
pub use entry::{Entry, EntryError, field_set_of};
pub use foreign::{ForeignOwner, Marks, foreign_owner};
pub use omit::{omit, owned_by};
pub use path::{Element, Path, PathError};
pub use set::FieldSet;
pub use surgery::{Adopted, Adoption, ReleaseError, adopt, release, release_fields};
pub use tools::{ADOPTED, Tool};

/// The field manager of every write that Skiff sends.
pub const FIELD_MANAGER: &str = "skiff";

/// The manager that the API server invents for the fields an object had before the first apply; it has no time.
pub const BEFORE_FIRST_APPLY: &str = "before-first-apply";
