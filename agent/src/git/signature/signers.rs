//! Who may sign: SSH keys in an allowed-signers file, OpenPGP keys, or both; in files or in a Secret. Read anew at each
//! use, as credentials are.

use jiff::Timestamp;

use super::allowed_signers::AllowedSigners;
use super::evidence::Evidence;
use super::openpgp::Keyring;
use super::{Flaw, SignaturePolicy};
use crate::config::SecretError;
use crate::git::credentials::{Found, NamedSecret, NamedSecretError, Spellings};

/// How an OpenPGP key begins, wherever it stands.
const PUBLIC_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
/// The key of a Secret whose text is an allowed-signers file.
const ALLOWED_SIGNERS: Spellings = &["allowed_signers"];

/// Those who may sign.
#[derive(Default)]
pub(in crate::git) struct Signers {
    ssh: AllowedSigners,
    openpgp: Keyring,
    /// Where that stands, for messages.
    places: String,
}

/// Why it cannot be read who may sign.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    #[error("who may sign cannot be read")]
    File { source: SecretError },
    #[error("who may sign cannot be read")]
    Named { source: NamedSecretError },
    #[error("line {line} of {place} names no signer: {problem}")]
    Line { place: String, line: usize, problem: String },
    #[error("{place} has no OpenPGP public key that can be used: {problem}")]
    Key { place: String, problem: String },
    #[error("{places} names nobody who may sign")]
    Nobody { places: String },
}

impl Signers {
    /// Reads them; `named` is the Secret that the policy names, as it is now.
    pub(in crate::git) fn read(
        policy: &SignaturePolicy,
        named: Option<&NamedSecret>,
    ) -> Result<Self, SignersError> {
        let SignaturePolicy { signed: _, allowed_signers, public_keys, secret: _ } = policy;
        let mut signers = Self::default();
        let mut places = Vec::new();
        let file = |path| Found::read(path).map_err(|source| SignersError::File { source });
        if let Some(path) = allowed_signers {
            signers.allow(&file(path)?)?;
            places.push(path.display().to_string());
        }
        if let Some(path) = public_keys {
            signers.trust(&file(path)?)?;
            places.push(path.display().to_string());
        }
        if let Some(named) = named {
            signers.take(named)?;
            places.push(format!("Secret {}", named.name));
        }
        signers.places = places.join(" and ");
        match signers.ssh.is_empty() && signers.openpgp.is_empty() {
            true => Err(SignersError::Nobody { places: signers.places }),
            false => Ok(signers),
        }
    }

    fn take(&mut self, named: &NamedSecret) -> Result<(), SignersError> {
        let allowed = named.find(ALLOWED_SIGNERS).map_err(|source| SignersError::Named { source })?;
        if let Some(found) = allowed {
            self.allow(&found)?;
        }
        // Under whatever key, as with Flux.
        for found in named.texts().filter(|found| found.text.expose().contains(PUBLIC_KEY)) {
            self.trust(&found)?;
        }
        Ok(())
    }

    fn allow(&mut self, found: &Found) -> Result<(), SignersError> {
        self.ssh.add(found.text.expose()).map_err(|(line, problem)| SignersError::Line {
            place: found.place.clone(),
            line,
            problem,
        })
    }

    fn trust(&mut self, found: &Found) -> Result<(), SignersError> {
        let unusable = |problem| SignersError::Key { place: found.place.clone(), problem };
        let text = found.text.expose();
        let begins: Vec<usize> = text.match_indices(PUBLIC_KEY).map(|(at, _)| at).collect();
        if begins.is_empty() {
            return Err(unusable("it is not armored; write it by gpg --export --armor".to_owned()));
        }
        let ends = begins.iter().skip(1).copied().chain([text.len()]);
        for (begin, end) in begins.iter().zip(ends) {
            self.openpgp.add(&text[*begin..end]).map_err(unusable)?;
        }
        Ok(())
    }

    /// Returns where it stands who may sign.
    pub(super) fn places(&self) -> &str {
        &self.places
    }

    /// Returns the name of whoever made a good signature.
    pub(super) fn verify(&self, evidence: &Evidence, now: Timestamp) -> Result<String, Flaw> {
        let Ok(text) = std::str::from_utf8(&evidence.signature) else {
            return Err(Flaw::Invalid("it is no text".to_owned()));
        };
        if text.starts_with("-----BEGIN SSH SIGNATURE-----") {
            self.ssh.verify(&evidence.payload, text, evidence.made_at)
        } else if text.starts_with("-----BEGIN PGP SIGNATURE-----") {
            self.openpgp.verify(&evidence.payload, text, now)
        } else {
            Err(Flaw::Invalid("it is neither one of SSH nor one of OpenPGP".to_owned()))
        }
    }
}
