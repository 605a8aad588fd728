//! A source's credentials as they are at the moment of use, and what must not be printed of them.

mod material;
mod named;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use reqwest::{Certificate, Identity};

use super::budget::Budget;
use super::error::FetchError;
use super::github_app;
use super::source::{Proxy, Source};
use super::url::Address;
use crate::config::{Secret, SecretError};

use material::{Carrier, Material, Unreadable};
pub(super) use named::Spellings;
pub use named::{NamedSecret, NamedSecretError, NamedSecrets};

/// What HTTP needs of them.
#[derive(Default)]
pub(super) struct Login {
    pub authorization: Option<HeaderValue>,
    /// Gives out what becomes the authorization.
    pub app: Option<App>,
    pub authorities: Option<Vec<Certificate>>,
    /// The client's own certificate with its key.
    pub identity: Option<Identity>,
    pub proxy: Option<reqwest::Proxy>,
}

/// What SSH needs of them.
pub(super) struct Keys {
    pub user: String,
    pub key: Found,
    pub passphrase: Option<Secret>,
    pub known_hosts: Found,
}

/// A GitHub App with its key.
pub(super) struct App {
    pub app: String,
    pub installation: String,
    pub api: String,
    pub key: Found,
}

/// A text with the place where it was found.
#[derive(Clone)]
pub(super) struct Found {
    pub text: Secret,
    pub place: String,
}

/// Texts that must not be printed, wherever they come back from.
#[derive(Default)]
pub(super) struct Secrets(Vec<Secret>);

impl Source {
    /// Reads what HTTP needs; `named` is the Secret that the source names, `for_proxy` the one that its proxy does, as
    /// they are now.
    pub(super) fn login(
        &self,
        named: Option<&NamedSecret>,
        for_proxy: Option<&NamedSecret>,
    ) -> Result<(Login, Secrets), FetchError> {
        let mut material = self.material(named)?;
        let mut secrets = Secrets::default();
        let app = material.app.take();
        if app.is_some() && (material.password.is_some() || material.token.is_some()) {
            return Err(FetchError::CredentialsAmbiguous { url: self.url.to_string() });
        }
        let authorization = self.authorization(&material, &mut secrets)?;
        if let (None, None, Some(username)) = (&authorization, &app, &material.username) {
            let (url, place) = (self.url.to_string(), username.place.clone());
            return Err(FetchError::PasswordMissing { url, place });
        }
        if (authorization.is_some() || app.is_some()) && !self.url.is_private() {
            return Err(FetchError::InsecureCredentials { url: self.url.to_string() });
        }
        let authorities = material.authorities.as_ref().map(|found| self.authorities(found)).transpose()?;
        let identity = self.identity(&material)?;
        let proxy =
            self.proxy.as_ref().map(|proxy| self.proxy(proxy, for_proxy, &mut secrets)).transpose()?;
        Ok((Login { authorization, app, authorities, identity, proxy }, secrets))
    }

    /// Reads what SSH needs; `named` is the Secret that the source names, as it is now.
    pub(super) fn keys(&self, named: Option<&NamedSecret>) -> Result<(Keys, Secrets), FetchError> {
        let Material { username, ssh_key, ssh_passphrase, known_hosts, .. } = self.material(named)?;
        let user = username.as_ref().map(|found| found.text.expose()).or(self.url.username());
        let user = user.unwrap_or("git").to_owned();
        let missing = |what, key| FetchError::SshKeyMissing { url: self.url.to_string(), what, key };
        let key = ssh_key.ok_or_else(|| missing("a private key", "identity"))?;
        let known_hosts = known_hosts.ok_or_else(|| missing("known hosts", "known_hosts"))?;
        let passphrase = ssh_passphrase.map(|found| found.text);
        let secrets = Secrets(passphrase.iter().cloned().collect());
        Ok((Keys { user, key, passphrase, known_hosts }, secrets))
    }

    fn material(&self, named: Option<&NamedSecret>) -> Result<Material, FetchError> {
        let carrier = match self.url.address() {
            Address::Web(_) => Carrier::Web,
            Address::Ssh(_) => Carrier::Ssh,
        };
        let url = self.url.to_string();
        Material::read(&self.credentials, named, carrier).map_err(|unreadable| match unreadable {
            Unreadable::File(source) => FetchError::CredentialsUnreadable { url, source },
            Unreadable::Named(source) => FetchError::SecretUnusable { url, source },
            Unreadable::AppKeyMissing => FetchError::AppKeyMissing { url },
        })
    }

    fn authorization(
        &self,
        material: &Material,
        secrets: &mut Secrets,
    ) -> Result<Option<HeaderValue>, FetchError> {
        let header = match (&material.password, &material.token) {
            (None, None) => return Ok(None),
            (Some(password), None) => {
                let username = material.username.as_ref().map(|found| found.text.expose());
                let username = username.or(self.url.username()).unwrap_or("git");
                secrets.hide(password.text.clone());
                basic(username, &password.text)
            }
            (None, Some(token)) => {
                secrets.hide(token.text.clone());
                Secret::new(format!("Bearer {}", token.text.expose()))
            }
            (Some(_), Some(_)) => return Err(FetchError::CredentialsAmbiguous { url: self.url.to_string() }),
        };
        self.header(header, secrets).map(Some)
    }

    fn header(&self, header: Secret, secrets: &mut Secrets) -> Result<HeaderValue, FetchError> {
        let mut value = HeaderValue::from_str(header.expose())
            .map_err(|_| FetchError::CredentialsUnprintable { url: self.url.to_string() })?;
        value.set_sensitive(true);
        // Also without the word before it, which everybody may see.
        let bare = header.expose().split_once(' ').map(|(_, bare)| Secret::new(bare.to_owned()));
        secrets.0.extend(bare);
        Ok(value)
    }

    /// Returns the header for a token that was given out for this app.
    pub(super) fn app_authorization(
        &self,
        token: &Secret,
        budget: &Budget,
    ) -> Result<HeaderValue, FetchError> {
        let mut secrets = Secrets::default();
        let header = self.header(basic(github_app::USER, token), &mut secrets)?;
        secrets.0.into_iter().for_each(|secret| budget.hide(secret));
        Ok(header)
    }

    fn authorities(&self, found: &Found) -> Result<Vec<Certificate>, FetchError> {
        let read = Certificate::from_pem_bundle(found.text.expose().as_bytes()).unwrap_or_default();
        match read.is_empty() {
            false => Ok(read),
            true => {
                let (url, place) = (self.url.to_string(), found.place.clone());
                Err(FetchError::CertificatesMissing { url, place })
            }
        }
    }

    /// Returns the client certificate with its key.
    fn identity(&self, material: &Material) -> Result<Option<Identity>, FetchError> {
        let (certificate, key) = match (&material.certificate, &material.certificate_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(found), None) | (None, Some(found)) => {
                let (url, place) = (self.url.to_string(), found.place.clone());
                return Err(FetchError::IdentityIncomplete { url, place });
            }
        };
        let both = format!("{}\n{}\n", certificate.text.expose(), key.text.expose());
        Identity::from_pem(both.as_bytes()).map(Some).map_err(|_| FetchError::IdentityInvalid {
            url: self.url.to_string(),
            certificate: certificate.place.clone(),
            key: key.place.clone(),
        })
    }

    fn proxy(
        &self,
        proxy: &Proxy,
        named: Option<&NamedSecret>,
        secrets: &mut Secrets,
    ) -> Result<reqwest::Proxy, FetchError> {
        let url = || self.url.to_string();
        let read = |file: &Option<PathBuf>, key: Spellings| match (file, named) {
            (Some(file), _) => Found::read(file)
                .map(Some)
                .map_err(|source| FetchError::CredentialsUnreadable { url: url(), source }),
            (None, Some(named)) => {
                named.need(key).map(Some).map_err(|source| FetchError::SecretUnusable { url: url(), source })
            }
            (None, None) => Ok(None),
        };
        let username = read(&proxy.username, named::USERNAME)?;
        let password = read(&proxy.password, named::PASSWORD)?;
        let invalid = |_| FetchError::ProxyInvalid { url: self.url.to_string(), proxy: proxy.url.clone() };
        let configured = reqwest::Proxy::all(&proxy.url).map_err(invalid)?;
        let (Some(username), Some(password)) = (username, password) else {
            return Ok(configured);
        };
        let authorized = configured.basic_auth(username.text.expose(), password.text.expose());
        secrets.hide(password.text);
        Ok(authorized)
    }
}

impl Found {
    pub(super) fn read(path: &Path) -> Result<Self, SecretError> {
        Ok(Self { text: Secret::read(path)?, place: path.display().to_string() })
    }
}

fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

impl Secrets {
    pub(super) fn hide(&mut self, secret: Secret) {
        self.0.push(secret);
    }

    /// Returns the text without what must not be printed. Servers have been seen to repeat what they were sent.
    pub(super) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"))
    }
}
