//! Secrets of the agent's namespace that a source names, each read at the moment of its use. Who reads them is the
//! cluster's adapter; here is which of their keys mean what.

use std::collections::BTreeMap;
use std::fmt;

use futures::future::BoxFuture;

use super::Found;
use crate::config::Secret;

/// Reads Secrets by their names.
pub trait NamedSecrets: Send + Sync {
    /// Reads one as it is now. Fails if it is not there, may not be read, or nobody answers.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<NamedSecret, NamedSecretError>>;
}

/// What is in a Secret. Never printed: only its name and the names of its keys are.
pub struct NamedSecret {
    /// `namespace/name`.
    pub name: String,
    /// The values as they are, decoded from base64.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Why a Secret, or one of its keys, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamedSecretError {
    #[error("Secret {name} not found; create it, or correct secretRef")]
    NotFound { name: String },
    #[error(
        "the agent may not read Secret {name}; a Role in its namespace has to allow it: {{apiGroups: [\"\"], resources: [secrets], resourceNames: [{bare}], verbs: [get]}}",
        bare = bare(.name)
    )]
    Forbidden { name: String },
    #[error("Secret {name} cannot be read: {problem}")]
    Unanswered { name: String, problem: String },
    #[error("Secret {name} lacks {expected}; it has {found}")]
    Lacks { name: String, expected: String, found: String },
    #[error("Secret {name} has {first} and {second}, which mean the same and differ; leave one out")]
    KeyTwice { name: String, first: String, second: String },
    #[error("key {key} of Secret {name} is empty")]
    Empty { name: String, key: String },
    #[error("key {key} of Secret {name} is not UTF-8 text")]
    NotText { name: String, key: String },
}

/// Spellings of one key: the first is ours and Flux's; the others are read too.
pub(in crate::git) type Spellings = &'static [&'static str];

pub(super) const USERNAME: Spellings = &["username"];
/// Over HTTP the password, over SSH the private key's passphrase, as Flux has it.
pub(super) const PASSWORD: Spellings = &["password"];
pub(super) const TOKEN: Spellings = &["bearerToken"];
pub(super) const AUTHORITIES: Spellings = &["ca.crt", "caFile"];
pub(super) const CERTIFICATE: Spellings = &["tls.crt", "certFile", "tlsClientCertData"];
pub(super) const CERTIFICATE_KEY: Spellings = &["tls.key", "keyFile", "tlsClientCertKey"];
pub(super) const SSH_KEY: Spellings = &["identity", "sshPrivateKey", "ssh-privatekey"];
pub(super) const KNOWN_HOSTS: Spellings = &["known_hosts"];
pub(super) const APP: Spellings = &["githubAppID"];
pub(super) const INSTALLATION: Spellings = &["githubAppInstallationID"];
pub(super) const APP_KEY: Spellings = &["githubAppPrivateKey"];
pub(super) const APP_ADDRESS: Spellings = &["githubAppBaseURL", "githubAppEnterpriseBaseUrl"];

impl NamedSecretError {
    /// Says whether the Secret itself could not be had, whatever is in it.
    pub fn is_unread(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Forbidden { .. } | Self::Unanswered { .. })
    }
}

impl NamedSecret {
    /// Returns what stands under a key, however it is spelled.
    pub(in crate::git) fn find(&self, spellings: Spellings) -> Result<Option<Found>, NamedSecretError> {
        let mut present = spellings.iter().filter_map(|key| Some((*key, self.data.get(*key)?)));
        let Some((key, value)) = present.next() else { return Ok(None) };
        if let Some((second, _)) = present.find(|(_, other)| *other != value) {
            let (name, first, second) = (self.name.clone(), key.to_owned(), second.to_owned());
            return Err(NamedSecretError::KeyTwice { name, first, second });
        }
        self.text(key, value).map(Some)
    }

    /// Returns every value that is text.
    pub(in crate::git) fn texts(&self) -> impl Iterator<Item = Found> {
        self.data.iter().filter_map(|(key, value)| self.text(key, value).ok())
    }

    /// Returns what has to stand under a key.
    pub(super) fn need(&self, spellings: Spellings) -> Result<Found, NamedSecretError> {
        self.find(spellings)?.ok_or_else(|| self.lacks(spellings.join(" or ")))
    }

    pub(super) fn has(&self, spellings: Spellings) -> bool {
        spellings.iter().any(|key| self.data.contains_key(*key))
    }

    /// Makes sure that one of these keys is there at all.
    pub(super) fn expect_any(&self, expected: &[Spellings]) -> Result<(), NamedSecretError> {
        if expected.iter().any(|spellings| self.has(spellings)) {
            return Ok(());
        }
        let named: Vec<&str> = expected.iter().filter_map(|spellings| spellings.first().copied()).collect();
        Err(self.lacks(format!("all of {}", named.join(", "))))
    }

    fn lacks(&self, expected: String) -> NamedSecretError {
        NamedSecretError::Lacks { name: self.name.clone(), expected, found: self.keys() }
    }

    fn keys(&self) -> String {
        match self.data.is_empty() {
            true => "nothing".to_owned(),
            false => self.data.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        }
    }

    /// Returns a value as text. Line ends after it are not part of it, as with files.
    fn text(&self, key: &str, value: &[u8]) -> Result<Found, NamedSecretError> {
        let (name, key) = (self.name.clone(), key.to_owned());
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(NamedSecretError::NotText { name, key });
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(NamedSecretError::Empty { name, key }),
            text => {
                let place = format!("key {key} of Secret {name}");
                Ok(Found { text: Secret::new(text.to_owned()), place })
            }
        }
    }
}

impl fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, keys) = (&self.name, self.keys());
        f.debug_struct("NamedSecret").field("name", name).field("keys", &keys).finish_non_exhaustive()
    }
}

/// Returns a Secret's name without its namespace.
fn bare(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, bare)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> NamedSecret {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        NamedSecret { name: "skiff/shop-git".to_owned(), data: data.collect() }
    }

    #[test]
    fn a_key_is_found_in_each_of_its_spellings() {
        for key in ["identity", "sshPrivateKey", "ssh-privatekey"] {
            let found = secret(&[(key, "text\n")]).find(SSH_KEY).unwrap().unwrap();
            assert_eq!(found.text.expose(), "text");
            assert_eq!(found.place, format!("key {key} of Secret skiff/shop-git"));
        }
        let same = secret(&[("tls.crt", "a"), ("certFile", "a")]);
        assert_eq!(same.find(CERTIFICATE).unwrap().unwrap().text.expose(), "a");
        assert!(same.find(SSH_KEY).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_shown() {
        let twice = secret(&[("ca.crt", "s3cret"), ("caFile", "t0ken")]);
        insta::assert_snapshot!(twice.find(AUTHORITIES).err().unwrap(), @"Secret skiff/shop-git has ca.crt and caFile, which mean the same and differ; leave one out");
        insta::assert_snapshot!(secret(&[("username", "\n")]).find(USERNAME).err().unwrap(), @"key username of Secret skiff/shop-git is empty");
        let mut binary = secret(&[]);
        binary.data.insert("password".to_owned(), vec![0xff]);
        insta::assert_snapshot!(binary.find(PASSWORD).err().unwrap(), @"key password of Secret skiff/shop-git is not UTF-8 text");
        insta::assert_snapshot!(twice.expect_any(&[USERNAME, TOKEN]).unwrap_err(), @"Secret skiff/shop-git lacks all of username, bearerToken; it has ca.crt, caFile");
        insta::assert_snapshot!(secret(&[]).expect_any(&[SSH_KEY]).unwrap_err(), @"Secret skiff/shop-git lacks all of identity; it has nothing");
        insta::assert_snapshot!(format!("{twice:?}"), @r#"NamedSecret { name: "skiff/shop-git", keys: "ca.crt, caFile", .. }"#);
        insta::assert_snapshot!(NamedSecretError::Forbidden { name: "skiff/shop-git".to_owned() }, @r#"the agent may not read Secret skiff/shop-git; a Role in its namespace has to allow it: {apiGroups: [""], resources: [secrets], resourceNames: [shop-git], verbs: [get]}"#);
    }
}
