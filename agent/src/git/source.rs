//! A source as the config has it, and its credentials as the files have them at the moment of use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::Certificate;

use super::error::FetchError;
use super::reference::Reference;
use super::url::RepositoryUrl;
use crate::config::Secret;

/// Where an environment or an app comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub url: RepositoryUrl,
    pub reference: Reference,
    pub credentials: CredentialFiles,
    pub limits: Limits,
}

/// The files that credentials are in. Each is read anew for each use, so a rotated Secret needs no restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// With `password`: basic authentication. Without this file the URL's user name is used, or else `git`.
    pub username: Option<PathBuf>,
    pub password: Option<PathBuf>,
    /// Bearer authentication; not together with `password`.
    pub token: Option<PathBuf>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

/// What one operation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning of an operation to its end, however lively the server is in between.
    pub deadline: Duration,
    /// Bytes that are received from the server.
    pub transfer: u64,
    /// Bytes of one file, unpacked; also those of the repository's files that nobody reads, as a pack is checked whole.
    pub file: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), transfer: 256 << 20, file: 64 << 20 }
    }
}

/// Credentials that were just read.
pub(super) struct Login {
    pub authorization: Option<HeaderValue>,
    pub authorities: Option<Vec<Certificate>>,
    pub secrets: Secrets,
}

/// Texts that must not be printed, wherever they come back from.
#[derive(Default)]
pub(super) struct Secrets(Vec<Secret>);

impl Source {
    /// Reads the credential files.
    pub(super) fn login(&self) -> Result<Login, FetchError> {
        let CredentialFiles { username, password, token, ca } = &self.credentials;
        let read = |path: &Option<PathBuf>| path.as_deref().map(|path| self.read(path)).transpose();
        let (username, password, token) = (read(username)?, read(password)?, read(token)?);
        let mut secrets = Secrets::default();
        let authorization = match (password, token) {
            (None, None) => None,
            (Some(password), None) => {
                let username = username.as_ref().map(Secret::expose);
                let username = username.or(self.url.username()).unwrap_or("git");
                let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
                let header = format!("Basic {encoded}");
                secrets.0.extend([password, Secret::new(encoded)]);
                Some(header)
            }
            (None, Some(token)) => {
                let header = format!("Bearer {}", token.expose());
                secrets.0.push(token);
                Some(header)
            }
            (Some(_), Some(_)) => return Err(FetchError::CredentialsAmbiguous { url: self.url.to_string() }),
        };
        if authorization.is_some() && !self.url.is_private() {
            return Err(FetchError::InsecureCredentials { url: self.url.to_string() });
        }
        let authorization = authorization.map(|header| self.header(&header)).transpose()?;
        let authorities = ca.as_deref().map(|path| self.authorities(path)).transpose()?;
        Ok(Login { authorization, authorities, secrets })
    }

    fn read(&self, path: &Path) -> Result<Secret, FetchError> {
        Secret::read(path)
            .map_err(|source| FetchError::CredentialsUnreadable { url: self.url.to_string(), source })
    }

    fn header(&self, text: &str) -> Result<HeaderValue, FetchError> {
        let mut header = HeaderValue::from_str(text)
            .map_err(|_| FetchError::CredentialsUnprintable { url: self.url.to_string() })?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn authorities(&self, path: &Path) -> Result<Vec<Certificate>, FetchError> {
        let content = self.read(path)?;
        let certificates = Certificate::from_pem_bundle(content.expose().as_bytes()).unwrap_or_default();
        match certificates.is_empty() {
            false => Ok(certificates),
            true => Err(FetchError::CertificatesMissing { url: self.url.to_string(), path: path.to_owned() }),
        }
    }
}

impl Secrets {
    /// Returns the text without what must not be printed. Servers have been seen to repeat what they were sent.
    pub(super) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"))
    }
}
