//! Where an app's files are: in the environment's repository, or in one of their own.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::trust::{Rewrites, Signed};
use crate::version::{Range, RangeError, Version};

/// Where an app's files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AppSource {
    /// In the environment's repository.
    #[default]
    Environment,
    /// In a Git repository of their own.
    Git(GitSource),
    /// In a Helm chart of a chart repository. Its value files are in the environment's repository.
    Chart(ChartSource),
}

/// A state of a Git repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GitSource {
    /// As it is written: `https://`, `http://`, `ssh://` or `git@host:path`. It holds no password.
    pub url: String,
    pub reference: Reference,
    /// What the app asks to be signed. Who may sign is not said in Git.
    pub verify: Option<Signed>,
    pub rewrites: Rewrites,
}

/// A chart of a chart repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChartSource {
    /// `https://` or `http://` for a repository with an `index.yaml`, `oci://` for a registry. No slash at the end.
    pub repository: String,
    pub name: String,
    pub version: ChartVersion,
}

/// Which state of a Git repository is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Branch(String),
    Tag(String),
    /// The newest tag that is a version in the range.
    Versions(Range),
    /// The full id of a commit, in lower case.
    Commit(String),
}

/// Which version of a chart is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChartVersion {
    /// This one, as it is written.
    Exact(String),
    /// The newest one in the range.
    Newest(Range),
}

/// A reference as it is written: one of the four.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct RawReference {
    branch: Option<String>,
    tag: Option<String>,
    semver: Option<String>,
    commit: Option<String>,
}

/// Why a written reference is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("ref needs exactly one of branch, tag, semver and commit")]
    Choice,
    #[error("{key} is not a name that Git allows")]
    Name { key: &'static str },
    #[error("commit is not a full commit id in lower case")]
    Commit,
    #[error("{0}")]
    Range(RangeError),
}

/// Why a text names no repository of charts. The text itself is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    #[error("the URL must begin with https://, http:// or oci://")]
    ChartScheme,
    #[error("the URL must begin with https://, http:// or ssh://, or be written as git@host:path")]
    GitScheme,
    #[error("the URL must not hold a user name or password: they stand in the agent's file")]
    Credentials,
    #[error("the URL is not one of a server and a path")]
    Malformed,
}

impl RawReference {
    /// Checks what is written.
    pub fn check(self) -> Result<Reference, ReferenceError> {
        let Self { branch, tag, semver, commit } = self;
        let named = |key, name: String| match is_reference_name(&name) {
            true => Ok(name),
            false => Err(ReferenceError::Name { key }),
        };
        match (branch, tag, semver, commit) {
            (Some(branch), None, None, None) => named("branch", branch).map(Reference::Branch),
            (None, Some(tag), None, None) => named("tag", tag).map(Reference::Tag),
            (None, None, Some(range), None) => {
                range.parse().map(Reference::Versions).map_err(ReferenceError::Range)
            }
            (None, None, None, Some(id)) if is_commit_id(&id) => Ok(Reference::Commit(id)),
            (None, None, None, Some(_)) => Err(ReferenceError::Commit),
            _ => Err(ReferenceError::Choice),
        }
    }
}

impl ReferenceError {
    /// Returns the key below `ref` that is wrong, if it is one of them.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Choice => None,
            Self::Name { key } => Some(key),
            Self::Commit => Some("commit"),
            Self::Range(_) => Some("semver"),
        }
    }
}

impl ChartVersion {
    /// Reads a version or a range of versions.
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        match Version::of_tag(text) {
            Some(_) => Ok(Self::Exact(text.to_owned())),
            None => text.parse().map(Self::Newest),
        }
    }
}

impl fmt::Display for ChartVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(version) => f.write_str(version),
            Self::Newest(range) => range.fmt(f),
        }
    }
}

impl ChartSource {
    /// Checks a repository's address and returns it without slashes at its end.
    pub fn check_repository(url: &str) -> Result<String, RepositoryError> {
        let schemes = ["https://", "http://", "oci://"];
        let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
        check_place(rest.ok_or(RepositoryError::ChartScheme)?)?;
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// Says whether a text can be the name of a chart.
    pub fn is_name(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !text.is_empty() && !text.starts_with('.') && text.len() <= 250 && text.bytes().all(allowed)
    }
}

impl GitSource {
    /// Checks a repository's address.
    pub fn check_url(url: &str) -> Result<(), RepositoryError> {
        if let Some(rest) = url.strip_prefix("ssh://") {
            // A user is what SSH is asked for; a password has no place there.
            let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (user, host) = server.rsplit_once('@').unwrap_or(("", server));
            return match user.contains(':') {
                true => Err(RepositoryError::Credentials),
                false => check_place(&format!("{host}/{path}")),
            };
        }
        if let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) {
            return check_place(rest);
        }
        match url.split_once(':') {
            // Nothing is decoded in this form: a % stands for itself.
            Some((server, path)) if is_scp_form(server, path) => match leads_elsewhere(path) {
                true => Err(RepositoryError::Malformed),
                false => Ok(()),
            },
            _ => Err(RepositoryError::GitScheme),
        }
    }
}

/// Checks what follows a URL's scheme.
fn check_place(rest: &str) -> Result<(), RepositoryError> {
    let server = rest.split('/').next().unwrap_or_default();
    let visible = !rest.contains(|it: char| it.is_whitespace() || it.is_control());
    if server.contains('@') {
        return Err(RepositoryError::Credentials);
    }
    let path = rest.strip_prefix(server).unwrap_or_default().trim_start_matches('/');
    let elsewhere = leads_elsewhere(path) || hides_letters(rest);
    if server.is_empty() || !visible || rest.contains(['?', '#']) || elsewhere {
        return Err(RepositoryError::Malformed);
    }
    Ok(())
}

/// Says whether a server may take a path for another one than is written: limits are compared with what is written.
fn leads_elsewhere(path: &str) -> bool {
    let path = path.trim_start_matches('/').trim_end_matches('/');
    path.contains('\\') || path.split('/').any(|name| matches!(name, "" | "." | "..") && !path.is_empty())
}

/// Says whether a URL holds an escape for what could stand there itself: a letter, a digit, `-._~` (RFC 3986, 2.3), or a
/// slash of either kind.
fn hides_letters(text: &str) -> bool {
    text.split('%').skip(1).any(|escape| {
        let code = escape.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        code.is_none_or(|code| code.is_ascii_alphanumeric() || b"-._~/\\".contains(&code))
    })
}

/// Returns an address, or a pattern of addresses, in the one spelling in which two are compared: a URL whose server is in
/// lower case, without user, default port, `.git` and slashes at the end.
pub fn spelled(url: &str) -> String {
    let (scheme, rest) = match (url.split_once("://"), url.split_once(':')) {
        (Some((scheme, rest)), _) => (scheme.to_ascii_lowercase(), rest.to_owned()),
        (None, Some((server, path))) if is_scp_form(server, path) => {
            ("ssh".to_owned(), format!("{server}/{}", path.trim_start_matches('/')))
        }
        _ => return url.to_owned(),
    };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix(".git").unwrap_or(rest).trim_end_matches('/');
    let (server, path) = rest.split_once('/').map_or((rest, None), |(server, path)| (server, Some(path)));
    let host = server.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let port = match scheme.as_str() {
        "http" => ":80",
        "ssh" => ":22",
        _ => ":443",
    };
    let host = host.strip_suffix(port).unwrap_or(&host).trim_end_matches('.');
    let path = path.map(|path| format!("/{}", path.trim_start_matches('/'))).unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

/// Says whether the parts around a colon are those of `git@host:path`.
fn is_scp_form(server: &str, path: &str) -> bool {
    let visible = |text: &str| !text.contains(|it: char| it.is_whitespace() || it.is_control());
    !server.is_empty()
        && !server.contains('/')
        && !path.is_empty()
        && !path.starts_with("//")
        && visible(server)
        && visible(path)
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

pub(super) fn is_commit_id(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_charts_are_servers_and_paths() {
        let check = |url: &str| ChartSource::check_repository(url).map_err(|error| error.to_string());
        assert_eq!(check("https://charts.example/stable/"), Ok("https://charts.example/stable".to_owned()));
        assert_eq!(
            check("oci://registry.example:5000/charts"),
            Ok("oci://registry.example:5000/charts".to_owned())
        );
        for (url, told) in [
            ("charts.example", "the URL must begin with https://, http:// or oci://"),
            ("ssh://git@git.example/x", "the URL must begin with https://, http:// or oci://"),
            (
                "https://ada:secret@charts.example",
                "the URL must not hold a user name or password: they stand in the agent's file",
            ),
            ("https:///x", "the URL is not one of a server and a path"),
            ("https://charts.example/?token=x", "the URL is not one of a server and a path"),
            ("https://charts.example/team/%2E%2e/other", "the URL is not one of a server and a path"),
        ] {
            assert_eq!(check(url), Err(told.to_owned()), "{url}");
        }
    }

    #[test]
    fn repositories_of_git_are_known_by_their_form() {
        for url in ["https://git.example/shop", "ssh://git@git.example:2222/shop", "git@git.example:shop"] {
            assert_eq!(GitSource::check_url(url), Ok(()), "{url}");
        }
        for url in ["git.example/shop", "oci://git.example/shop", "git:// x", "git@git.example:"] {
            assert!(GitSource::check_url(url).is_err(), "{url}");
        }
        assert_eq!(GitSource::check_url("ssh://ada:x@git.example/shop"), Err(RepositoryError::Credentials));
        // A limit on `…/team/*` must not be got round.
        for url in [
            "git@git.example:team/../other/secret",
            "git@git.example:team//secret",
            "ssh://git@git.example/team/..%2fother",
            "ssh://git@git.example/team/%2E./other",
            "https://git.example/te%61m/secret",
            "https://git.example/team//secret",
            "https://git.example/team/%zz",
        ] {
            assert_eq!(GitSource::check_url(url), Err(RepositoryError::Malformed), "{url}");
        }
        for url in
            ["https://git.example/my%20shop", "git@git.example:100%/shop", "ssh://git@git.example/~ada/x"]
        {
            assert_eq!(GitSource::check_url(url), Ok(()), "{url}");
        }
        assert_eq!(GitSource::check_url("https://ada@git.example/shop"), Err(RepositoryError::Credentials));
    }

    #[test]
    fn three_numbers_are_a_version_and_fewer_a_range() {
        let parse = |text: &str| ChartVersion::parse(text).unwrap();
        assert_eq!(parse("1.2.3+b.1"), ChartVersion::Exact("1.2.3+b.1".to_owned()));
        assert_eq!(parse("v1.2.3-rc.1"), ChartVersion::Exact("v1.2.3-rc.1".to_owned()));
        assert!(matches!(parse("1.2"), ChartVersion::Newest(_)));
        assert_eq!(parse("^1.2 || 3.x").to_string(), "^1.2 || 3.x");
        assert!(ChartVersion::parse("newest").is_err());
    }

    #[test]
    fn names_of_charts_lead_nowhere() {
        assert!(["redis", "kube_state-metrics", "Web.2"].iter().all(|name| ChartSource::is_name(name)));
        assert!(["", "..", ".hidden", "a/b", "a b", "a\n"].iter().all(|name| !ChartSource::is_name(name)));
    }
}
