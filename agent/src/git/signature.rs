//! Whether a revision is signed by those who may sign it. A revision that is not is fetched and never rendered.
//!
//! Reading who may sign is [`Signers`]' work; everything else here is pure.

mod allowed_signers;
mod evidence;
mod openpgp;
mod signers;

use std::fmt;
use std::path::PathBuf;

use gix::hash::Kind;
use jiff::Timestamp;
pub use skiff_shared::environment::Signed;

use evidence::Evidence;
pub(super) use signers::Signers;
pub use signers::SignersError;

/// What has to be signed, and where it stands who may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturePolicy {
    pub signed: Signed,
    /// SSH keys, as `ssh-keygen` and Git read them.
    pub allowed_signers: Option<PathBuf>,
    /// OpenPGP keys, armored.
    pub public_keys: Option<PathBuf>,
    /// Name of a Secret of the agent's namespace that has either.
    pub secret: Option<String>,
}

/// The objects of a revision that may be signed.
pub(super) struct Objects<'a> {
    pub format: Kind,
    /// As it is stored.
    pub commit: &'a [u8],
    /// Its id, printed with its format.
    pub commit_id: String,
    pub tag: Tag<'a>,
}

/// The tag that the source's reference stands for.
pub(super) enum Tag<'a> {
    /// The reference is a branch or a commit.
    None,
    /// A name without an object of its own.
    Lightweight(&'a str),
    Annotated {
        name: &'a str,
        /// As it is stored.
        data: &'a [u8],
    },
}

/// What a signature is about: a commit or a tag, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

/// Why a revision does not have the signature that it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    #[error("{subject} is not signed")]
    Unsigned { subject: Subject },
    #[error("tag {tag:?} has no object that could be signed; make it by git tag --sign")]
    NotAnnotated { tag: String },
    #[error("there is no tag to be signed; let ref follow tags, or verify ask for the commit")]
    NoTag,
    #[error("{subject} is signed with {key}, which is not among the signers in {places}")]
    SignerUnknown { subject: Subject, key: String, places: String },
    #[error("the signature of {subject} is not good: {problem}")]
    Invalid { subject: Subject, problem: String },
    #[error("{subject} is signed with {key}, which was not valid for it: {problem}")]
    SignerExpired { subject: Subject, key: String, problem: String },
    #[error("{subject} is signed with {key}, which may not sign it: {problem}")]
    SignerNotAllowed { subject: Subject, key: String, problem: String },
}

/// What is wrong with one signature, whatever it is of.
#[derive(Debug, PartialEq, Eq)]
enum Flaw {
    Unknown { key: String },
    Invalid(String),
    Expired { key: String, problem: String },
    NotAllowed { key: String, problem: String },
}

impl SignatureProblem {
    /// Returns the word for conditions, events and `error.type`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "Unsigned",
            Self::NotAnnotated { .. } | Self::NoTag => "TagNotAnnotated",
            Self::SignerUnknown { .. } => "SignerUnknown",
            Self::Invalid { .. } => "SignatureInvalid",
            Self::SignerExpired { .. } => "SignerExpired",
            Self::SignerNotAllowed { .. } => "SignerNotAllowed",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns who has signed the revision, if that is as it has to be.
pub(super) fn judge(
    signed: Signed,
    objects: &Objects<'_>,
    signers: &Signers,
    now: Timestamp,
) -> Result<Vec<String>, SignatureProblem> {
    let commit = || commit(objects, signers, now);
    let tag = || tag(objects, signers, now);
    let mut names = match signed {
        Signed::Commit => vec![commit()?],
        Signed::Tag => vec![tag()?],
        Signed::Both => vec![tag()?, commit()?],
        Signed::Either => vec![either(commit(), tag)?],
    };
    names.dedup();
    Ok(names)
}

/// Returns who has signed a tag that is called `name`, whatever it is on, and when it says to have been made.
pub(super) fn judge_tag(
    format: Kind,
    name: &str,
    data: &[u8],
    signers: &Signers,
    now: Timestamp,
) -> Result<(String, Timestamp), SignatureProblem> {
    let subject = Subject(format!("tag {name:?}"));
    let evidence = Evidence::of_tag(data, format, name, None)
        .map_err(|problem| SignatureProblem::Invalid { subject: subject.clone(), problem })?;
    let made_at = evidence.as_ref().map_or(Timestamp::UNIX_EPOCH, |evidence| evidence.made_at);
    Ok((weigh(subject, evidence, signers, now)?, made_at))
}

/// Returns the first that is good, or the problem that says more.
fn either(
    commit: Result<String, SignatureProblem>,
    tag: impl FnOnce() -> Result<String, SignatureProblem>,
) -> Result<String, SignatureProblem> {
    let of_commit = match commit {
        Ok(signer) => return Ok(signer),
        Err(problem) => problem,
    };
    tag().map_err(|of_tag| match (&of_commit, &of_tag) {
        (SignatureProblem::Unsigned { .. }, SignatureProblem::NoTag) => of_commit,
        (SignatureProblem::Unsigned { .. }, _) => of_tag,
        _ => of_commit,
    })
}

fn commit(objects: &Objects<'_>, signers: &Signers, now: Timestamp) -> Result<String, SignatureProblem> {
    let subject = Subject(format!("commit {}", objects.commit_id));
    let evidence = Evidence::of_commit(objects.commit, objects.format)
        .map_err(|problem| SignatureProblem::Invalid { subject: subject.clone(), problem })?;
    weigh(subject, evidence, signers, now)
}

fn tag(objects: &Objects<'_>, signers: &Signers, now: Timestamp) -> Result<String, SignatureProblem> {
    let (name, data) = match objects.tag {
        Tag::None => return Err(SignatureProblem::NoTag),
        Tag::Lightweight(name) => return Err(SignatureProblem::NotAnnotated { tag: name.to_owned() }),
        Tag::Annotated { name, data } => (name, data),
    };
    let subject = Subject(format!("tag {name:?}"));
    // What is signed is the tag's own idea of its name and its commit, not the server's.
    let evidence = Evidence::of_tag(data, objects.format, name, Some(&objects.commit_id))
        .map_err(|problem| SignatureProblem::Invalid { subject: subject.clone(), problem })?;
    weigh(subject, evidence, signers, now)
}

fn weigh(
    subject: Subject,
    evidence: Option<Evidence>,
    signers: &Signers,
    now: Timestamp,
) -> Result<String, SignatureProblem> {
    let Some(evidence) = evidence else { return Err(SignatureProblem::Unsigned { subject }) };
    signers.verify(&evidence, now).map_err(|flaw| match flaw {
        Flaw::Unknown { key } => {
            SignatureProblem::SignerUnknown { subject, key, places: signers.places().to_owned() }
        }
        Flaw::Invalid(problem) => SignatureProblem::Invalid { subject, problem },
        Flaw::Expired { key, problem } => SignatureProblem::SignerExpired { subject, key, problem },
        Flaw::NotAllowed { key, problem } => SignatureProblem::SignerNotAllowed { subject, key, problem },
    })
}
