//! OpenPGP signatures, and the keys that may make them. Packets and mathematics are rPGP's; whether a key may sign is
//! decided here: it is bound to its owner's primary key, meant for signing, not revoked, and was valid when it signed.

use jiff::{SignedDuration, Timestamp};
use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType};
use pgp::types::{Duration, KeyDetails, Tag, VerifyingKey};

use super::Flaw;

/// Public keys with their subkeys.
#[derive(Default)]
pub(super) struct Keyring(Vec<SignedPublicKey>);

/// What is known of a key or subkey as a signer.
struct Signer {
    /// The key, for people.
    key: String,
    owner: String,
    created: Timestamp,
    expires: Option<Timestamp>,
    /// What speaks against it, whenever it signed.
    objection: Option<&'static str>,
    revoked: bool,
}

impl Keyring {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the keys of one armored block.
    pub(super) fn add(&mut self, block: &str) -> Result<(), String> {
        let (keys, _headers) = SignedPublicKey::from_string_many(block).map_err(|error| error.to_string())?;
        let before = self.0.len();
        for key in keys {
            self.0.push(key.map_err(|error| error.to_string())?);
        }
        if self.0.len() == before { Err("there is none in it".to_owned()) } else { Ok(()) }
    }

    /// Returns the name of whoever made a good signature.
    pub(super) fn verify(&self, payload: &[u8], signature: &str, now: Timestamp) -> Result<String, Flaw> {
        let (signature, _headers) = DetachedSignature::from_string(signature)
            .map_err(|_| Flaw::Invalid("it cannot be read".to_owned()))?;
        let signature = &signature.signature;
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            return Err(Flaw::Invalid("it is not one of a document".to_owned()));
        }
        for key in &self.0 {
            if is_of(signature, &key.primary_key) {
                check(signature, &key.primary_key, payload)?;
                return Signer::primary(key).allow(signature, now);
            }
            if let Some(subkey) = key.public_subkeys.iter().find(|subkey| is_of(signature, &subkey.key)) {
                check(signature, &subkey.key, payload)?;
                return Signer::subkey(key, subkey).allow(signature, now);
            }
        }
        Err(Flaw::Unknown { key: issuer(signature) })
    }
}

/// Says whether a signature names this key as its maker.
fn is_of(signature: &Signature, key: &impl KeyDetails) -> bool {
    let prints = signature.issuer_fingerprint();
    match prints.is_empty() {
        true => signature.issuer_key_id().contains(&&key.legacy_key_id()),
        false => prints.contains(&&key.fingerprint()),
    }
}

/// Returns how a signature names its maker.
fn issuer(signature: &Signature) -> String {
    let print = signature.issuer_fingerprint().first().map(|print| format!("{print:X}"));
    let id = || signature.issuer_key_id().first().map(|id| hex::encode_upper(id.as_ref()));
    print
        .or_else(id)
        .map_or_else(|| "a key that it does not name".to_owned(), |id| format!("OpenPGP key {id}"))
}

/// Checks the signature itself.
fn check(signature: &Signature, key: &impl VerifyingKey, payload: &[u8]) -> Result<(), Flaw> {
    let strong = matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    );
    if !strong {
        return Err(Flaw::Invalid("it is made with a digest that can be forged, as SHA-1 is".to_owned()));
    }
    signature.verify(key, payload).map_err(|_| Flaw::Invalid("it does not fit what it is of".to_owned()))
}

impl Signer {
    fn primary(key: &SignedPublicKey) -> Self {
        let word = newest(own_words(key));
        let objection = match word {
            None => Some("its owner has not signed it"),
            Some(word) if !may_sign(word) => Some("it is not for signing"),
            Some(_) => None,
        };
        Self {
            key: shown(&key.primary_key),
            owner: owner(key),
            created: moment(key.primary_key.created_at().as_secs()),
            expires: word.and_then(|word| end(&key.primary_key, word)),
            objection,
            revoked: is_revoked(key),
        }
    }

    fn subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey) -> Self {
        let valid = |kind| {
            let signatures = subkey.signatures.iter().filter(move |it| it.typ() == Some(kind));
            signatures.filter(move |it| it.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok())
        };
        let word = newest(valid(SignatureType::SubkeyBinding));
        let objection = match word {
            None => Some("its primary key does not vouch for it"),
            Some(word) if !word.key_flags().sign() => Some("it is not for signing"),
            Some(word) if !vouches_back(word, key, subkey) => Some("it does not vouch for its primary key"),
            Some(_) => None,
        };
        let primary = Self::primary(key);
        let own_end = word.and_then(|word| end(&subkey.key, word));
        Self {
            key: shown(&subkey.key),
            owner: primary.owner,
            created: moment(subkey.key.created_at().as_secs()),
            // A subkey ends with its primary key at the latest.
            expires: own_end.into_iter().chain(primary.expires).min(),
            objection,
            revoked: primary.revoked || valid(SignatureType::SubkeyRevocation).next().is_some(),
        }
    }

    /// Returns the owner's name if the key may have made this signature when it was made.
    fn allow(self, signature: &Signature, now: Timestamp) -> Result<String, Flaw> {
        let Self { key, owner, created, expires, objection, revoked } = self;
        let key = format!("{key} of {owner:?}");
        if let Some(problem) = objection {
            return Err(Flaw::NotAllowed { key, problem: problem.to_owned() });
        }
        let Some(made) = signature.created().map(|at| moment(at.as_secs())) else {
            return Err(Flaw::Invalid("it does not say when it was made".to_owned()));
        };
        let own_end = signature.signature_expiration_time().and_then(|lasts| after(made, lasts));
        let problem = match (expires, own_end) {
            _ if revoked => "it is revoked".to_owned(),
            _ if made < created => format!("it was made on {created}, and this is of {made}"),
            (Some(end), _) if made >= end => format!("it was valid until {end}, and this is of {made}"),
            (_, Some(end)) if now >= end => format!("it signed for a time that ended on {end}"),
            _ => return Ok(owner),
        };
        Err(Flaw::Expired { key, problem })
    }
}

/// Returns what the owner has said of the key: with a name, or directly.
fn own_words(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    let primary = &key.primary_key;
    let of_names = key.details.users.iter().flat_map(move |user| {
        let words = user.signatures.iter().filter(|it| it.typ() != Some(SignatureType::CertRevocation));
        words.filter(move |it| it.verify_certification(primary, Tag::UserId, &user.id).is_ok())
    });
    let direct = key.details.direct_signatures.iter();
    of_names.chain(direct.filter(move |it| it.verify_key(primary).is_ok()))
}

fn is_revoked(key: &SignedPublicKey) -> bool {
    let revocations = key.details.revocation_signatures.iter();
    let mut of_key = revocations.filter(|it| it.typ() == Some(SignatureType::KeyRevocation));
    of_key.any(|it| it.verify_key(&key.primary_key).is_ok())
}

/// A subkey that signs says itself whose it is, lest somebody else claims it.
fn vouches_back(word: &Signature, key: &SignedPublicKey, subkey: &SignedPublicSubKey) -> bool {
    let back = word.embedded_signature();
    back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok())
}

/// Says whether a primary key may sign; one of which nothing is said may do everything.
fn may_sign(word: &Signature) -> bool {
    let flags = word.key_flags();
    flags.sign() || flags == KeyFlags::default()
}

fn newest<'a>(words: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    words.max_by_key(|word| word.created())
}

/// Returns when a key ends, as `word` has it.
fn end(key: &impl KeyDetails, word: &Signature) -> Option<Timestamp> {
    after(moment(key.created_at().as_secs()), word.key_expiration_time()?)
}

/// A duration of nothing means: for ever.
fn after(from: Timestamp, lasts: Duration) -> Option<Timestamp> {
    match lasts.as_secs() {
        0 => None,
        seconds => from.checked_add(SignedDuration::from_secs(seconds.into())).ok(),
    }
}

fn moment(seconds: u32) -> Timestamp {
    Timestamp::from_second(seconds.into()).expect("32 bits of seconds end in 2106")
}

fn shown(key: &impl KeyDetails) -> String {
    format!("OpenPGP key {:X}", key.fingerprint())
}

fn owner(key: &SignedPublicKey) -> String {
    let name = key.details.users.first().map(|user| String::from_utf8_lossy(user.id.id()).into_owned());
    name.unwrap_or_else(|| format!("{:X}", key.primary_key.fingerprint()))
}
