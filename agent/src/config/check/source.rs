//! Checks where an environment's files are, and with which credentials they are read.

use skiff_shared::environment::RepoPath;
use skiff_shared::version::Range;

use super::Check;
use crate::config::raw::{RawCredentials, RawGithubApp, RawProxy, RawReference, RawSource};
use crate::config::{Credentials, GithubApp, Proxy, Reference, Source};
use crate::git::{CommitId, RepositoryUrl, UrlError};

impl Check<'_> {
    pub(super) fn source(&mut self, raw: RawSource, at: &str) -> Option<Source> {
        let RawSource { url, reference, path, credentials, proxy } = raw;
        let over_ssh = url.as_deref().is_some_and(is_over_ssh);
        let credentials = self.credentials(credentials, over_ssh, &format!("{at}/credentials"));
        let path = RepoPath::parse(path.as_deref().unwrap_or_default());
        let path = path.map_err(|error| self.report(&format!("{at}/path"), error.to_string())).ok();
        let reference = self.reference(reference, &format!("{at}/ref"));
        let proxy = match proxy {
            Some(proxy) => Some(self.proxy(proxy, over_ssh, &format!("{at}/proxy"))?),
            None => None,
        };
        let Some(url) = url else {
            self.missing(at, "url");
            return None;
        };
        let url = repository_url(&url).map_err(|message| self.report(&format!("{at}/url"), message)).ok();
        Some(Source { url: url?, reference: reference?, path: path?, credentials, proxy })
    }

    fn reference(&mut self, raw: RawReference, at: &str) -> Option<Reference> {
        let RawReference { branch, tag, semver, commit } = raw;
        let name = |name: String| is_reference_name(&name).then_some(name).ok_or("a name that Git allows");
        let (key, checked) = match (branch, tag, semver, commit) {
            (Some(branch), None, None, None) => ("branch", name(branch).map(Reference::Branch)),
            (None, Some(tag), None, None) => ("tag", name(tag).map(Reference::Tag)),
            (None, None, Some(range), None) => {
                let range = range.parse::<Range>();
                let reported = range.map_err(|error| self.report(&format!("{at}/semver"), error.to_string()));
                ("semver", Ok(Reference::Versions(reported.ok()?)))
            }
            (None, None, None, Some(commit)) => ("commit", commit_id(&commit).map(Reference::Commit)),
            _ => {
                self.report(at, "ref needs exactly one of branch, tag, semver and commit".to_owned());
                return None;
            }
        };
        let report = |expected| self.report(&format!("{at}/{key}"), format!("{key} is not {expected}"));
        checked.map_err(report).ok()
    }

    fn credentials(&mut self, raw: RawCredentials, over_ssh: bool, at: &str) -> Credentials {
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
        } = raw;
        let has_app = github_app.is_some();
        let github_app = github_app.and_then(|app| self.github_app(app, &format!("{at}/githubApp")));
        if over_ssh {
            let of_http =
                [&username_file, &password_file, &token_file, &ca_file, &certificate_file, &key_file];
            if has_app || of_http.iter().any(|file| file.is_some()) {
                self.report(
                    at,
                    "over SSH only sshKeyFile, knownHostsFile and sshPassphraseFile count".to_owned(),
                );
            }
            if ssh_key_file.is_none() || known_hosts_file.is_none() {
                self.report(at, "SSH needs sshKeyFile and knownHostsFile".to_owned());
            }
        } else {
            if ssh_key_file.is_some() || known_hosts_file.is_some() || ssh_passphrase_file.is_some() {
                self.report(
                    at,
                    "sshKeyFile, knownHostsFile and sshPassphraseFile are for ssh:// URLs".to_owned(),
                );
            }
            self.pair(
                at,
                ("usernameFile", username_file.is_some()),
                ("passwordFile", password_file.is_some()),
            );
            self.pair(at, ("certificateFile", certificate_file.is_some()), ("keyFile", key_file.is_some()));
            if has_app && [&username_file, &password_file, &token_file].iter().any(|file| file.is_some()) {
                self.report(
                    at,
                    "githubApp stands instead of a password or token, not beside them".to_owned(),
                );
            }
            if token_file.is_some() && (username_file.is_some() || password_file.is_some()) {
                self.report(
                    at,
                    "tokenFile stands instead of usernameFile and passwordFile, not beside them".to_owned(),
                );
            }
        }
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
        }
    }

    fn github_app(&mut self, raw: RawGithubApp, at: &str) -> Option<GithubApp> {
        let RawGithubApp { app_id, installation_id, private_key_file, api_url } = raw;
        for (key, given) in [
            ("appId", app_id.is_some()),
            ("installationId", installation_id.is_some()),
            ("privateKeyFile", private_key_file.is_some()),
        ] {
            if !given {
                self.missing(at, key);
            }
        }
        let api_url = api_url.unwrap_or_else(|| "https://api.github.com".to_owned());
        if let Err(message) = check_url(&api_url) {
            self.report(&format!("{at}/apiUrl"), message.to_owned());
        }
        Some(GithubApp {
            app_id: app_id?,
            installation_id: installation_id?,
            private_key_file: private_key_file?,
            api_url,
        })
    }

    fn proxy(&mut self, raw: RawProxy, over_ssh: bool, at: &str) -> Option<Proxy> {
        let RawProxy { url, username_file, password_file } = raw;
        if over_ssh {
            self.report(at, "a proxy is for http:// and https:// URLs".to_owned());
        }
        self.pair(at, ("usernameFile", username_file.is_some()), ("passwordFile", password_file.is_some()));
        let Some(url) = url else {
            self.missing(at, "url");
            return None;
        };
        if let Err(message) = check_server(&url) {
            self.report(&format!("{at}/url"), message.to_owned());
        }
        Some(Proxy { url, username_file, password_file })
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

/// Says whether Git would take the name for a branch or tag: the rules of `git check-ref-format`.
fn is_reference_name(name: &str) -> bool {
    let forbidden = |character: char| character.is_control() || " ~^:?*[\\".contains(character);
    let parts = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(forbidden)
        && name.split('/').all(parts)
}

/// Reads the id of a commit; `CommitId` itself also takes one with its format before it.
fn commit_id(id: &str) -> Result<CommitId, &'static str> {
    let is_plain = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    id.parse().ok().filter(|_| is_plain).ok_or("a full commit id in lower case")
}
