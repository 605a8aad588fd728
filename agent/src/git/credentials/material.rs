//! What is found of a source's credentials, in files and in the Secret that it names, before it is known what for.

use std::path::PathBuf;

use super::named::{self, NamedSecret, NamedSecretError, Spellings};
use super::{App, Found};
use crate::config::SecretError;
use crate::git::github_app::GithubApp;
use crate::git::source::Credentials;

/// Where GitHub's interface is if nobody says otherwise.
const GITHUB: &str = "https://api.github.com";

/// What the credentials are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Web,
    Ssh,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Material {
    pub username: Option<Found>,
    pub password: Option<Found>,
    pub token: Option<Found>,
    pub authorities: Option<Found>,
    pub certificate: Option<Found>,
    pub certificate_key: Option<Found>,
    pub ssh_key: Option<Found>,
    pub ssh_passphrase: Option<Found>,
    pub known_hosts: Option<Found>,
    pub app: Option<App>,
}

/// Why it cannot be read.
pub(super) enum Unreadable {
    File(SecretError),
    Named(NamedSecretError),
    /// A GitHub App is named without its private key.
    AppKeyMissing,
}

impl Material {
    /// Reads all of it. What a file holds goes before what the Secret holds.
    pub(super) fn read(
        credentials: &Credentials,
        secret: Option<&NamedSecret>,
        carrier: Carrier,
    ) -> Result<Self, Unreadable> {
        let files = Self::in_files(credentials).map_err(Unreadable::File)?;
        let named = secret.map(|secret| Self::in_secret(secret, carrier)).transpose();
        let named = named.map_err(Unreadable::Named)?.unwrap_or_default();
        let app = app(credentials, secret.filter(|_| carrier == Carrier::Web))?;
        Ok(Self {
            username: files.username.or(named.username),
            password: files.password.or(named.password),
            token: files.token.or(named.token),
            authorities: files.authorities.or(named.authorities),
            certificate: files.certificate.or(named.certificate),
            certificate_key: files.certificate_key.or(named.certificate_key),
            ssh_key: files.ssh_key.or(named.ssh_key),
            ssh_passphrase: files.ssh_passphrase.or(named.ssh_passphrase),
            known_hosts: files.known_hosts.or(named.known_hosts),
            app,
        })
    }

    fn in_files(credentials: &Credentials) -> Result<Self, SecretError> {
        let Credentials {
            username,
            password,
            token,
            ca,
            certificate,
            certificate_key,
            ssh_key,
            ssh_passphrase,
            known_hosts,
            github_app: _,
            secret: _,
        } = credentials;
        let read = |path: &Option<PathBuf>| path.as_deref().map(Found::read).transpose();
        Ok(Self {
            username: read(username)?,
            password: read(password)?,
            token: read(token)?,
            authorities: read(ca)?,
            certificate: read(certificate)?,
            certificate_key: read(certificate_key)?,
            ssh_key: read(ssh_key)?,
            ssh_passphrase: read(ssh_passphrase)?,
            known_hosts: read(known_hosts)?,
            app: None,
        })
    }

    fn in_secret(secret: &NamedSecret, carrier: Carrier) -> Result<Self, NamedSecretError> {
        const OVER_SSH: &[Spellings] = &[named::SSH_KEY, named::KNOWN_HOSTS];
        const OVER_HTTP: &[Spellings] = &[
            named::USERNAME,
            named::PASSWORD,
            named::TOKEN,
            named::AUTHORITIES,
            named::CERTIFICATE,
            named::CERTIFICATE_KEY,
            named::APP,
            named::INSTALLATION,
            named::APP_KEY,
        ];
        match carrier {
            Carrier::Ssh => {
                secret.expect_any(OVER_SSH)?;
                Ok(Self {
                    username: secret.find(named::USERNAME)?,
                    ssh_key: secret.find(named::SSH_KEY)?,
                    ssh_passphrase: secret.find(named::PASSWORD)?,
                    known_hosts: secret.find(named::KNOWN_HOSTS)?,
                    ..Self::default()
                })
            }
            Carrier::Web => {
                secret.expect_any(OVER_HTTP)?;
                Ok(Self {
                    username: secret.find(named::USERNAME)?,
                    password: secret.find(named::PASSWORD)?,
                    token: secret.find(named::TOKEN)?,
                    authorities: secret.find(named::AUTHORITIES)?,
                    certificate: secret.find(named::CERTIFICATE)?,
                    certificate_key: secret.find(named::CERTIFICATE_KEY)?,
                    ..Self::default()
                })
            }
        }
    }
}

/// Returns the GitHub App that the config or the Secret names.
fn app(credentials: &Credentials, secret: Option<&NamedSecret>) -> Result<Option<App>, Unreadable> {
    match (&credentials.github_app, secret) {
        (Some(app), secret) => configured_app(app, secret).map(Some),
        (None, Some(secret)) => named_app(secret).map_err(Unreadable::Named),
        (None, None) => Ok(None),
    }
}

fn configured_app(app: &GithubApp, secret: Option<&NamedSecret>) -> Result<App, Unreadable> {
    let key = match (&app.private_key, secret) {
        (Some(path), _) => Found::read(path).map_err(Unreadable::File)?,
        (None, Some(secret)) => secret.need(named::APP_KEY).map_err(Unreadable::Named)?,
        (None, None) => return Err(Unreadable::AppKeyMissing),
    };
    let GithubApp { app, installation, api, private_key: _ } = app.clone();
    Ok(App { app, installation, api, key })
}

fn named_app(secret: &NamedSecret) -> Result<Option<App>, NamedSecretError> {
    let whole = [named::APP, named::INSTALLATION, named::APP_KEY];
    if whole.iter().all(|key| !secret.has(key)) {
        return Ok(None);
    }
    let api = secret.find(named::APP_ADDRESS)?.map_or_else(|| GITHUB.to_owned(), exposed);
    Ok(Some(App {
        app: exposed(secret.need(named::APP)?),
        installation: exposed(secret.need(named::INSTALLATION)?),
        api,
        key: secret.need(named::APP_KEY)?,
    }))
}

/// Takes out what is no secret, though it stands in one.
fn exposed(found: Found) -> String {
    found.text.expose().to_owned()
}
