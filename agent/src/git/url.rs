//! The address of a repository: what is fetched from, what is printed, and what two addresses of one repository share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

use super::ssh::{SSH_PORT, SshServer};

/// The address of a repository, over HTTP or SSH. It never holds a password, and prints without a user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryUrl {
    address: Address,
    username: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Web(Url),
    Ssh(SshAddress),
}

/// Where a repository is on an SSH server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SshAddress {
    /// In lower case, without brackets.
    pub host: String,
    pub port: u16,
    /// As the server is asked for it; not absolute if it begins at the user's home.
    pub path: String,
}

/// Why a text is no address of a repository. The text itself is not repeated: it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL: {problem}; write it as in https://git.example/shop or git@git.example:shop")]
    Malformed { problem: String },
    #[error("scheme {scheme:?} is not supported; use https or ssh")]
    Scheme { scheme: String },
    #[error("the URL of {host} holds a password; put it into a file and name that under credentials")]
    Password { host: String },
    #[error("the URL of {host} has a query or a fragment; a repository is named by its path alone")]
    Query { host: String },
}

impl RepositoryUrl {
    /// Returns the address with which two spellings of one repository are equal: scheme and host in lower case, no
    /// default port, no user, no `.git`, no slash at the end. Trace ids are derived from it.
    pub fn canonical(&self) -> String {
        let text = self.to_string();
        let text = text.trim_end_matches('/');
        text.strip_suffix(".git").unwrap_or(text).trim_end_matches('/').to_owned()
    }

    /// Returns the last part of the path, without `.git`: the repository's name where owners have several.
    pub(super) fn repository(&self) -> String {
        let canonical = self.canonical();
        canonical.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// Returns the user name that the address was written with; a credential file goes before it.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Returns the SSH server that the repository is on, if it is on one.
    pub fn ssh_server(&self) -> Option<SshServer> {
        match &self.address {
            Address::Web(_) => None,
            Address::Ssh(address) => Some(SshServer { host: address.host.clone(), port: address.port }),
        }
    }

    /// Says whether nobody but this machine can listen to what is sent there in the clear.
    pub(super) fn is_private(&self) -> bool {
        match &self.address {
            Address::Web(url) => is_private(url),
            Address::Ssh(_) => true,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

/// Says whether nobody but this machine can listen to what is sent there.
pub(super) fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

/// Says of an address that is written whether nobody but this machine can listen to what is sent there.
pub fn is_private_address(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_private(&url))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(rest) = text.strip_prefix("ssh://") {
            return from_ssh_url(rest);
        }
        // As Git has it: a colon before the first slash, and no scheme.
        if let Some((server, path)) = text.split_once(':')
            && !server.is_empty()
            && !server.contains('/')
            && !path.starts_with("//")
        {
            return from_scp_form(server, path);
        }
        from_web_url(text)
    }
}

fn from_web_url(text: &str) -> Result<RepositoryUrl, UrlError> {
    let mut url = Url::parse(text).map_err(|problem| malformed(&problem.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(UrlError::Scheme { scheme: url.scheme().to_owned() });
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    if url.password().is_some() {
        return Err(UrlError::Password { host });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::Query { host });
    }
    let username = match url.username() {
        "" => None,
        name => Some(name.to_owned()),
    };
    url.set_username("").expect("an http URL has a host, so it may have a user");
    Ok(RepositoryUrl { address: Address::Web(url), username })
}

/// Reads what follows `ssh://`.
fn from_ssh_url(rest: &str) -> Result<RepositoryUrl, UrlError> {
    let (server, path) = rest.split_once('/').ok_or_else(|| malformed("it names no path"))?;
    let (username, server) = split_username(server)?;
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| malformed("the port is no number up to 65535"))?)
        }
        _ => (server, SSH_PORT),
    };
    if path.contains(['?', '#']) {
        return Err(UrlError::Query { host: host.to_owned() });
    }
    let path = decode(path).ok_or_else(|| malformed("what follows a % is no byte of text"))?;
    // A home is written as in /~ada/shop, and asked for without the slash.
    let path = if path.starts_with('~') { path } else { format!("/{path}") };
    ssh(username, host, port, path)
}

/// Reads `git@git.example:shop`.
fn from_scp_form(server: &str, path: &str) -> Result<RepositoryUrl, UrlError> {
    let (username, host) = split_username(server)?;
    ssh(username, host, SSH_PORT, path.to_owned())
}

fn ssh(username: Option<String>, host: &str, port: u16, path: String) -> Result<RepositoryUrl, UrlError> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
    if host.is_empty() || host.starts_with('-') || !host.chars().all(is_name) {
        return Err(malformed("it names no host"));
    }
    if path.trim_matches('/').is_empty() || path.starts_with('-') || path.contains(char::is_control) {
        return Err(malformed("it names no path"));
    }
    Ok(RepositoryUrl { address: Address::Ssh(SshAddress { host, port, path }), username })
}

/// Takes the user off a server's name.
fn split_username(server: &str) -> Result<(Option<String>, &str), UrlError> {
    match server.rsplit_once('@') {
        None => Ok((None, server)),
        Some((username, host)) if username.contains(':') => Err(UrlError::Password { host: host.to_owned() }),
        Some(("", _)) => Err(malformed("it names no user before the @")),
        Some((username, host)) => Ok((Some(username.to_owned()), host)),
    }
}

/// Turns `%20` and its like into what they stand for.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // A number may have a sign, a byte may not.
        let is_byte = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_byte)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn malformed(problem: &str) -> UrlError {
    UrlError::Malformed { problem: problem.to_owned() }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Web(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Address::Ssh(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        let path = path.trim_start_matches('/').trim_end_matches('/');
        match (host.contains(':'), *port == SSH_PORT) {
            (false, true) => write!(f, "ssh://{host}/{path}"),
            (false, false) => write!(f, "ssh://{host}:{port}/{path}"),
            (true, true) => write!(f, "ssh://[{host}]/{path}"),
            (true, false) => write!(f, "ssh://[{host}]:{port}/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<RepositoryUrl>().unwrap().canonical()
    }

    #[test]
    fn spellings_of_one_repository_are_equal() {
        for text in [
            "https://git.example/Shop",
            "HTTPS://Git.Example:443/Shop.git",
            "https://ada@git.example/Shop/",
            "https://git.example/Shop.git/",
        ] {
            assert_eq!(canonical(text), "https://git.example/Shop");
        }
        assert_eq!(canonical("http://git.example:8080/shop"), "http://git.example:8080/shop");
    }

    #[test]
    fn spellings_over_ssh_are_equal_too() {
        for text in [
            "git@git.example:ada/shop.git",
            "ssh://git@git.example/ada/shop",
            "ssh://GIT.example:22/ada/shop.git/",
            "ssh://git@git.example/%61da/shop",
        ] {
            assert_eq!(canonical(text), "ssh://git.example/ada/shop", "{text}");
        }
        assert_eq!(canonical("ssh://git@git.example:2222/shop"), "ssh://git.example:2222/shop");
        assert_eq!(canonical("ssh://git@[::1]:2222/shop"), "ssh://[::1]:2222/shop");
    }

    #[test]
    fn server_is_asked_for_the_path_as_it_is_meant() {
        let path = |text: &str| match text.parse::<RepositoryUrl>().unwrap().address {
            Address::Ssh(address) => address.path,
            Address::Web(_) => unreachable!(),
        };
        assert_eq!(path("git@git.example:shop.git"), "shop.git");
        assert_eq!(path("git@git.example:/srv/shop.git"), "/srv/shop.git");
        assert_eq!(path("ssh://git@git.example/srv/my%20shop.git"), "/srv/my shop.git");
        assert_eq!(path("ssh://git@git.example/~ada/shop"), "~ada/shop");
    }

    #[test]
    fn user_is_known_but_never_printed() {
        let url: RepositoryUrl = "https://ghp_secret@git.example/shop.git".parse().unwrap();
        assert_eq!(url.username(), Some("ghp_secret"));
        assert_eq!(url.to_string(), "https://git.example/shop.git");
    }

    #[test]
    fn errors_name_the_way_out_and_no_secret() {
        let error = |text: &str| text.parse::<RepositoryUrl>().unwrap_err().to_string();
        insta::assert_snapshot!(error("shop"), @"not a URL: relative URL without a base; write it as in https://git.example/shop or git@git.example:shop");
        insta::assert_snapshot!(error("git://git.example/shop"), @r#"scheme "git" is not supported; use https or ssh"#);
        insta::assert_snapshot!(error("ssh://ada:secret@git.example/shop"), @"the URL of git.example holds a password; put it into a file and name that under credentials");
        insta::assert_snapshot!(error("ssh://git@git.example/shop?depth=1"), @"the URL of git.example has a query or a fragment; a repository is named by its path alone");
        for text in [
            "ssh://git.example",
            "ssh://git.example/",
            "ssh://@git.example/shop",
            "ssh://-oProxyCommand=sh/shop",
            "-oProxyCommand=sh:shop",
            "git@git.example:-shop",
            "git@git.example:",
            "git@git.example:a\nb",
            "ssh://git.example:x/shop",
            "ssh://git.example/%ff",
            "ssh://git.example/%2",
            "ssh://git.example/%+5",
        ] {
            assert!(matches!(text.parse::<RepositoryUrl>(), Err(UrlError::Malformed { .. })), "{text:?}");
        }
        insta::assert_snapshot!(error("https://a:secret@git.example/shop"), @"the URL of git.example holds a password; put it into a file and name that under credentials");
        insta::assert_snapshot!(error("https://git.example/shop?token=secret"), @"the URL of git.example has a query or a fragment; a repository is named by its path alone");
    }

    #[test]
    fn only_tls_and_loopback_are_private() {
        let private = |text: &str| text.parse::<RepositoryUrl>().unwrap().is_private();
        for text in
            ["https://git.example/s", "http://127.79.0.1:80/s", "http://[::1]/s", "http://localhost/s"]
        {
            assert!(private(text), "{text}");
        }
        assert!(!private("http://git.example/s"));
        assert!(!private("http://127.0.0.1.git.example/s"));
    }
}
