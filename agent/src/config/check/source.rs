//! Checks where an environment's files are, and with which credentials they are read.

use std::path::PathBuf;

use skiff_shared::environment::{
    self, ChartSource, GitSource, RawReference, RawRewrites, RepoPath, TrustError,
};

use super::Check;
use crate::config::raw::{RawCredentials, RawGithubApp, RawProxy, RawRepository, RawSource, RawVerify};
use crate::config::{Credentials, GithubApp, Proxy, Reference, RepositoryAccess, Source};
use crate::git::{RepositoryUrl, Rewrites, SignaturePolicy, UrlError};

impl Check<'_> {
    pub(super) fn source(&mut self, raw: RawSource, at: &str) -> Option<Source> {
        let RawSource { url, reference, path, credentials, proxy, verify, refuse_rewrites, accepted_rewrite } =
            raw;
        let over_ssh = url.as_deref().is_some_and(is_over_ssh);
        let credentials = self.credentials(credentials, over_ssh, &format!("{at}/credentials"));
        let path = RepoPath::parse(path.as_deref().unwrap_or_default());
        let path = path.map_err(|error| self.report(&format!("{at}/path"), error.to_string())).ok();
        let reference = self.reference(reference, &format!("{at}/ref"));
        let proxy = match proxy {
            Some(proxy) => Some(self.proxy(proxy, over_ssh, &format!("{at}/proxy"))?),
            None => None,
        };
        let rewrites = RawRewrites { refuse: refuse_rewrites, accepted: accepted_rewrite };
        let rewrites = self.rewrites(rewrites, reference.as_ref(), at);
        let verify = verify.map(|verify| self.verify(verify, reference.as_ref(), at));
        let Some(url) = url else {
            self.missing(at, "url");
            return None;
        };
        let url = repository_url(&url).map_err(|message| self.report(&format!("{at}/url"), message)).ok();
        let reference = Reference::try_from(reference?);
        let reference =
            reference.map_err(|error| self.report(&format!("{at}/ref/commit"), error.to_string()));
        Some(Source {
            url: url?,
            reference: reference.ok()?,
            path: path?,
            credentials,
            proxy,
            verify,
            rewrites,
        })
    }

    fn reference(&mut self, raw: RawReference, at: &str) -> Option<environment::Reference> {
        let checked = raw.check().map_err(|error| {
            let key = error.key().map(|key| format!("/{key}")).unwrap_or_default();
            self.report(&format!("{at}{key}"), error.to_string());
        });
        checked.ok()
    }

    /// Reads what becomes of rewritten branches; without a reference these are branches of several repositories.
    fn rewrites(
        &mut self,
        raw: RawRewrites,
        reference: Option<&environment::Reference>,
        at: &str,
    ) -> Rewrites {
        let checked = raw.check().and_then(|rewrites| {
            reference.map_or(Ok(()), |reference| rewrites.check(reference))?;
            Rewrites::try_from(rewrites).map_err(|_| TrustError::AcceptedCommit)
        });
        checked.unwrap_or_else(|error| {
            self.report(&format!("{at}/{}", error.key()), error.to_string());
            Rewrites::Follow
        })
    }

    /// Reads how the repositories of apps are reached.
    pub(super) fn repositories(&mut self, items: Vec<RawRepository>, at: &str) -> Vec<RepositoryAccess> {
        let mut read: Vec<RepositoryAccess> = Vec::new();
        for (index, raw) in items.into_iter().enumerate() {
            let at = format!("{at}/{index}");
            let RawRepository { url, credentials, proxy, verify, refuse_rewrites, accepted_rewrite } = raw;
            let Some(url) = url else {
                self.missing(&at, "url");
                continue;
            };
            let over_ssh = is_over_ssh(&url);
            let is_chart = ChartSource::check_repository(&url).is_ok();
            if let Err(error) = GitSource::check_url(&url)
                && !is_chart
            {
                self.report(&format!("{at}/url"), error.to_string());
            }
            if read.iter().any(|known| known.url == url) {
                self.report(&format!("{at}/url"), "the URL is there twice".to_owned());
            }
            if url.starts_with("oci://") && (verify.is_some() || refuse_rewrites) {
                self.report(&at, "verify and refuseRewrites are about Git repositories".to_owned());
            }
            let credentials = self.credentials(credentials, over_ssh, &format!("{at}/credentials"));
            let proxy = proxy.and_then(|proxy| self.proxy(proxy, over_ssh, &format!("{at}/proxy")));
            let verify = verify.map(|verify| self.verify(verify, None, &at));
            let rewrites = RawRewrites { refuse: refuse_rewrites, accepted: accepted_rewrite };
            let rewrites = self.rewrites(rewrites, None, &at);
            read.push(RepositoryAccess { url, credentials, proxy, verify, rewrites });
        }
        read
    }

    fn credentials(&mut self, raw: RawCredentials, over_ssh: bool, at: &str) -> Credentials {
        match over_ssh {
            true => self.credentials_over_ssh(&raw, at),
            false => self.credentials_over_http(&raw, at),
        }
        let RawCredentials {
            username_file,
            password_file,
            token_file,
            ca_file,
            certificate_file,
            key_file,
            ssh_key_file,
            known_hosts_file,
            ssh_passphrase_file,
            github_app,
            secret_ref,
        } = raw;
        self.secret_name(secret_ref.as_deref(), at);
        let key = if secret_ref.is_some() { AppKey::MayBeElsewhere } else { AppKey::Needed };
        let github_app = github_app.and_then(|app| self.github_app(app, key, &format!("{at}/githubApp")));
        Credentials {
            username_file,
            password_file,
            token_file,
            ca_file,
            certificate_file,
            key_file,
            ssh_key_file,
            known_hosts_file,
            ssh_passphrase_file,
            github_app,
            secret_ref,
        }
    }

    pub(super) fn secret_name(&mut self, name: Option<&str>, at: &str) {
        if name.is_some_and(|name| !is_object_name(name)) {
            self.report(
                &format!("{at}/secretRef"),
                "secretRef is not a name that a Secret can have".to_owned(),
            );
        }
    }

    fn verify(
        &mut self,
        raw: RawVerify,
        reference: Option<&environment::Reference>,
        at: &str,
    ) -> SignaturePolicy {
        let RawVerify { mode, allowed_signers_file, public_keys_file, secret_ref } = raw;
        let of_verify = format!("{at}/verify");
        self.secret_name(secret_ref.as_deref(), &of_verify);
        if allowed_signers_file.is_none() && public_keys_file.is_none() && secret_ref.is_none() {
            self.report(
                &of_verify,
                "verify needs allowedSignersFile, publicKeysFile or secretRef: who may sign".to_owned(),
            );
        }
        if let Some(Err(error)) = reference.map(|reference| mode.check(reference)) {
            self.report(&format!("{at}/{}", error.key()), error.to_string());
        }
        SignaturePolicy {
            signed: mode,
            allowed_signers: allowed_signers_file,
            public_keys: public_keys_file,
            secret: secret_ref,
        }
    }

    fn credentials_over_ssh(&mut self, raw: &RawCredentials, at: &str) {
        let of_http = [
            &raw.username_file,
            &raw.password_file,
            &raw.token_file,
            &raw.ca_file,
            &raw.certificate_file,
            &raw.key_file,
        ];
        if raw.github_app.is_some() || of_http.iter().any(|file| file.is_some()) {
            self.report(
                at,
                "over SSH only sshKeyFile, knownHostsFile, sshPassphraseFile and secretRef count".to_owned(),
            );
        }
        if raw.secret_ref.is_none() && (raw.ssh_key_file.is_none() || raw.known_hosts_file.is_none()) {
            self.report(
                at,
                "SSH needs sshKeyFile and knownHostsFile, or secretRef with a Secret that has them"
                    .to_owned(),
            );
        }
    }

    fn credentials_over_http(&mut self, raw: &RawCredentials, at: &str) {
        let of_ssh = [&raw.ssh_key_file, &raw.known_hosts_file, &raw.ssh_passphrase_file];
        if of_ssh.iter().any(|file| file.is_some()) {
            self.report(
                at,
                "sshKeyFile, knownHostsFile and sshPassphraseFile are for ssh:// URLs".to_owned(),
            );
        }
        // The other half may be in the Secret.
        if raw.secret_ref.is_none() {
            let given = |file: &Option<PathBuf>| file.is_some();
            self.pair(
                at,
                ("usernameFile", given(&raw.username_file)),
                ("passwordFile", given(&raw.password_file)),
            );
            self.pair(
                at,
                ("certificateFile", given(&raw.certificate_file)),
                ("keyFile", given(&raw.key_file)),
            );
        }
        let has_password = raw.username_file.is_some() || raw.password_file.is_some();
        if raw.github_app.is_some() && (has_password || raw.token_file.is_some()) {
            self.report(at, "githubApp stands instead of a password or token, not beside them".to_owned());
        }
        if raw.token_file.is_some() && has_password {
            self.report(
                at,
                "tokenFile stands instead of usernameFile and passwordFile, not beside them".to_owned(),
            );
        }
    }

    fn github_app(&mut self, raw: RawGithubApp, key: AppKey, at: &str) -> Option<GithubApp> {
        let RawGithubApp { app_id, installation_id, private_key_file, api_url } = raw;
        let has_key = private_key_file.is_some() || key == AppKey::MayBeElsewhere;
        for (key, given) in [
            ("appId", app_id.is_some()),
            ("installationId", installation_id.is_some()),
            ("privateKeyFile", has_key),
        ] {
            if !given {
                self.missing(at, key);
            }
        }
        let api_url = api_url.unwrap_or_else(|| "https://api.github.com".to_owned());
        if let Err(message) = check_url(&api_url) {
            self.report(&format!("{at}/apiUrl"), message.to_owned());
        }
        Some(GithubApp { app_id: app_id?, installation_id: installation_id?, private_key_file, api_url })
    }

    pub(super) fn proxy(&mut self, raw: RawProxy, over_ssh: bool, at: &str) -> Option<Proxy> {
        let RawProxy { url, username_file, password_file, secret_ref } = raw;
        self.secret_name(secret_ref.as_deref(), at);
        if over_ssh {
            self.report(at, "a proxy is for http:// and https:// URLs".to_owned());
        }
        // The other half may be in the Secret.
        if secret_ref.is_none() {
            let given = (username_file.is_some(), password_file.is_some());
            self.pair(at, ("usernameFile", given.0), ("passwordFile", given.1));
        }
        let Some(url) = url else {
            self.missing(at, "url");
            return None;
        };
        if let Err(message) = check_server(&url) {
            self.report(&format!("{at}/url"), message.to_owned());
        }
        Some(Proxy { url, username_file, password_file, secret_ref })
    }

    /// Reports keys of which one is there without the other.
    fn pair(&mut self, at: &str, first: (&str, bool), second: (&str, bool)) {
        for ((key, given), (other, other_given)) in [(first, second), (second, first)] {
            if given && !other_given {
                self.report(at, format!("{key} needs {other}"));
            }
        }
    }
}

/// Where the private key of a GitHub App is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AppKey {
    Needed,
    /// In the Secret that is named beside it.
    MayBeElsewhere,
}

/// Says whether Kubernetes takes the name for an object: a DNS subdomain.
fn is_object_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().all(|byte| inner(byte) || byte == b'-')
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// Says whether a URL is one of SSH, in either of its forms.
fn is_over_ssh(url: &str) -> bool {
    let server = url.split('/').next().unwrap_or_default();
    url.starts_with("ssh://") || !url.contains("://") && server.contains(':')
}

/// Reads the URL of a repository, or says what is wrong with it.
fn repository_url(url: &str) -> Result<RepositoryUrl, String> {
    if !is_over_ssh(url) {
        if web_server(url).is_none() {
            return Err("the URL must begin with https://, http:// or ssh://".to_owned());
        }
        check_url(url)?;
    }
    url.parse().map_err(|error: UrlError| error.to_string())
}

/// Says what is wrong with the URL of a repository or a collector.
pub(super) fn check_url(url: &str) -> Result<(), &'static str> {
    check_server(url)?;
    let visible = url.chars().all(|character| !character.is_whitespace() && !character.is_control());
    if !visible || url.contains(['?', '#']) {
        return Err("the URL is not one of a server and a path");
    }
    Ok(())
}

fn check_server(url: &str) -> Result<(), &'static str> {
    let authority = web_server(url).ok_or("the URL must begin with https:// or http://")?;
    if authority.contains('@') {
        return Err("the URL must not hold a user name or password: name files with them instead");
    }
    if authority.is_empty() {
        return Err("the URL is not one of a server and a path");
    }
    Ok(())
}

/// Returns the server in a URL of HTTP.
fn web_server(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    rest.split('/').next()
}
