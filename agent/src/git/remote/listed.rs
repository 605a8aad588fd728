//! What a server lists: where references stand.

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::protocol::handshake::Ref;
use skiff_shared::version::{self, Range};

use crate::git::error::{FetchError, VersionsFound};
use crate::git::reference::{CommitId, Reference};
use crate::git::source::Source;

/// What every tag's full name begins with.
const TAGS: &str = "refs/tags/";

/// The references that a server has named, some of them or all.
#[derive(Debug, Default)]
pub struct Listed(pub(super) Vec<Ref>);

/// Where a reference stands.
pub struct Tip {
    pub commit: CommitId,
    /// The tag's own object, if the reference is an annotated tag.
    pub tag: Option<ObjectId>,
    /// The source's own, or the tag that was chosen for it.
    pub reference: Reference,
}

/// A tag below a prefix.
pub struct NamedTag {
    /// Below `refs/tags/`.
    pub name: String,
    /// The tag's own object; for one without, what it stands for.
    pub object: ObjectId,
    /// What an annotated tag is on.
    pub on: Option<ObjectId>,
}

/// Returns what the full names of tags begin with that begin with this.
pub fn tags_below(prefix: &str) -> String {
    format!("{TAGS}{prefix}")
}

impl Reference {
    /// Returns what has to be listed to know where this stands: full names, or what they begin with. Nothing for a
    /// commit.
    pub fn prefixes(&self) -> Vec<String> {
        match self {
            Self::Versions(_) => vec![TAGS.to_owned()],
            _ => self.candidates(),
        }
    }
}

impl Listed {
    /// Returns the commit that the source's reference stands for; a tag's object is looked through.
    pub fn tip(&self, source: &Source) -> Result<Tip, FetchError> {
        let reference = &source.reference;
        match reference {
            Reference::Commit(commit) => Ok(Tip { commit: *commit, tag: None, reference: reference.clone() }),
            Reference::Versions(range) => self.choose(range, source),
            Reference::Head | Reference::Name(_) | Reference::Branch(_) | Reference::Tag(_) => {
                self.find(source)
            }
        }
    }

    fn find(&self, source: &Source) -> Result<Tip, FetchError> {
        let (reference, url) = (&source.reference, || source.url.to_string());
        let candidates = reference.candidates();
        let mut found = candidates.iter().filter_map(|name| self.named(name, reference));
        let name = || reference.short_name().to_owned();
        match (found.next(), found.next()) {
            (Some(tip), None) => Ok(tip),
            (None, _) => Err(FetchError::ReferenceNotFound { url: url(), reference: name() }),
            (Some(_), Some(_)) => Err(FetchError::ReferenceAmbiguous { url: url(), name: name() }),
        }
    }

    /// Returns the newest tag that is a version in the range.
    fn choose(&self, range: &Range, source: &Source) -> Result<Tip, FetchError> {
        let names = || self.0.iter().filter_map(|listed| full_name(listed).strip_prefix(TAGS));
        let chosen = version::newest(range, names())
            .and_then(|name| self.named(&format!("{TAGS}{name}"), &Reference::Tag(name.to_owned())));
        chosen.ok_or_else(|| {
            let found = match version::newest(&Range::any(), names()) {
                Some(newest) => VersionsFound::Newest(newest.to_owned()),
                None => VersionsFound::None { tags: names().count() },
            };
            FetchError::VersionNotFound { url: source.url.to_string(), range: range.to_string(), found }
        })
    }

    /// Returns the tags whose names begin with this.
    pub fn tags(&self, prefix: &str) -> Vec<NamedTag> {
        let named = |listed: &Ref| {
            let name =
                full_name(listed).strip_prefix(TAGS).filter(|name| name.starts_with(prefix))?.to_owned();
            match listed {
                Ref::Direct { object, .. } => Some(NamedTag { name, object: *object, on: None }),
                Ref::Peeled { tag, object, .. } => Some(NamedTag { name, object: *tag, on: Some(*object) }),
                Ref::Symbolic { .. } | Ref::Unborn { .. } => None,
            }
        };
        self.0.iter().filter_map(named).collect()
    }

    /// Returns where the reference of this full name stands.
    fn named(&self, name: &str, reference: &Reference) -> Option<Tip> {
        let (object, tag) = match self.0.iter().find(|listed| full_name(listed) == name)? {
            Ref::Direct { object, .. } => (object, None),
            Ref::Peeled { object, tag, .. } => (object, Some(*tag)),
            Ref::Symbolic { object, tag, .. } => (object, *tag),
            Ref::Unborn { .. } => return None,
        };
        Some(Tip { commit: CommitId(*object), tag, reference: reference.clone() })
    }
}

/// Returns the whole name of a listed reference; empty if it is no name that we could have been given.
fn full_name(listed: &Ref) -> &str {
    match listed {
        Ref::Direct { full_ref_name, .. }
        | Ref::Peeled { full_ref_name, .. }
        | Ref::Symbolic { full_ref_name, .. }
        | Ref::Unborn { full_ref_name, .. } => full_ref_name.to_str().unwrap_or_default(),
    }
}
