//! The address of a repository: what is fetched from, what is printed, and what two addresses of one repository share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// An `http` or `https` address of a repository. It never holds a password, and prints without a user name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepositoryUrl {
    url: Url,
    username: Option<String>,
}

/// Why a text is no address of a repository. The text itself is not repeated: it may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL: {problem}; write it as in https://git.example/shop")]
    Malformed { problem: String },
    #[error("scheme {scheme:?} is not supported; use https")]
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
        let text = self.url.as_str().trim_end_matches('/');
        text.strip_suffix(".git").unwrap_or(text).trim_end_matches('/').to_owned()
    }

    /// Returns the user name that the address was written with; a credential file goes before it.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Says whether nobody but this machine can listen to what is sent there in the clear.
    pub(super) fn is_private(&self) -> bool {
        self.url.scheme() == "https" || is_loopback(&self.url)
    }

    pub(super) fn as_url(&self) -> &Url {
        &self.url
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let mut url =
            Url::parse(text).map_err(|problem| UrlError::Malformed { problem: problem.to_string() })?;
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
        Ok(Self { url, username })
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
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
    fn user_is_known_but_never_printed() {
        let url: RepositoryUrl = "https://ghp_secret@git.example/shop.git".parse().unwrap();
        assert_eq!(url.username(), Some("ghp_secret"));
        assert_eq!(url.to_string(), "https://git.example/shop.git");
    }

    #[test]
    fn errors_name_the_way_out_and_no_secret() {
        let error = |text: &str| text.parse::<RepositoryUrl>().unwrap_err().to_string();
        insta::assert_snapshot!(error("shop"), @"not a URL: relative URL without a base; write it as in https://git.example/shop");
        insta::assert_snapshot!(error("ssh://git@git.example/shop"), @r#"scheme "ssh" is not supported; use https"#);
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
