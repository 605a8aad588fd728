//! Which credentials the repositories of apps are read with: those that the agent's own file names for their address.

use skiff_shared::environment::GitSource;

use super::{Credentials, EnvironmentConfig, Proxy, RepositoryAccess, Source};

impl EnvironmentConfig {
    /// Returns how a repository is reached that an app names in Git: as the longest entry of `repositories` says that it
    /// is at or below, else, if it is the environment's own, as that is, else without credentials.
    pub fn access(&self, url: &str) -> (Credentials, Option<Proxy>) {
        let wanted = plain(url);
        let entries = self.repositories.iter().map(|entry| (plain(&entry.url), entry));
        let above = entries.filter(|(entry, _)| is_at_or_below(&wanted, entry));
        if let Some((_, entry)) = above.max_by_key(|(url, _)| url.len()) {
            let RepositoryAccess { url: _, credentials, proxy } = entry;
            return (credentials.clone(), proxy.clone());
        }
        let Source { url, credentials, proxy, .. } = &self.source;
        match plain(&url.to_string()) == wanted {
            true => (credentials.clone(), proxy.clone()),
            false => (Credentials::default(), None),
        }
    }
}

fn is_at_or_below(url: &str, entry: &str) -> bool {
    url.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns an address in the one spelling in which two are compared.
fn plain(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.to_owned()),
        None if GitSource::check_url(url).is_ok() => ("ssh", url.replacen(':', "/", 1)),
        None => ("", url.to_owned()),
    };
    let (server, path) = rest.split_once('/').unwrap_or((&rest, ""));
    let server = server.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let path = path.trim_start_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{}://{server}{slash}{path}", scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::Config;

    const FILE: &str = "cluster: {name: eu-1}
environments:
- name: development
  source:
    url: https://git.example/fleet.git
    ref: {branch: main}
    credentials: {tokenFile: /own}
  repositories:
  - url: https://git.example/team
    credentials: {tokenFile: /team}
  - url: https://git.example/team/secret
    credentials: {tokenFile: /secret}
  - url: git@git.example:team
    credentials: {sshKeyFile: /key, knownHostsFile: /known}
  - url: oci://registry.example/charts/
    credentials: {usernameFile: /user, passwordFile: /password}
";

    fn file(url: &str) -> Option<PathBuf> {
        let config = Config::parse(FILE.as_bytes(), "config.yaml", []).unwrap();
        let (credentials, _) = config.environments[0].access(url);
        [credentials.token_file, credentials.ssh_key_file, credentials.password_file]
            .into_iter()
            .flatten()
            .next()
    }

    #[test]
    fn longest_entry_decides_and_names_are_whole() {
        for (url, expected) in [
            ("https://git.example/team/web.git", Some("/team")),
            ("https://GIT.example/team", Some("/team")),
            ("https://git.example/team/secret/", Some("/secret")),
            ("https://git.example/team/secrets", Some("/team")),
            ("https://git.example/teams/web", None),
            ("https://git.example.evil/team/web", None),
            ("http://git.example/team/web", None),
            ("ssh://git@git.example/team/web", Some("/key")),
            ("git@git.example:team/web", Some("/key")),
            ("oci://registry.example/charts", Some("/password")),
            ("https://registry.example/charts", None),
        ] {
            assert_eq!(file(url).as_deref(), expected.map(Path::new), "{url}");
        }
    }

    #[test]
    fn entries_are_checked_like_a_source() {
        let entries = "  - credentials: {tokenFile: /t}
  - url: git.example/team
  - url: https://git.example/team
  - url: ssh://git@git.example/other
";
        let errors = Config::parse(format!("{FILE}{entries}").as_bytes(), "config.yaml", []).unwrap_err();
        let told = errors.to_string();
        for (line, message) in [
            (17, "missing key environments.0.repositories.4.url"),
            (18, "the URL must begin with https://, http:// or ssh://, or be written as git@host:path"),
            (19, "the URL is there twice"),
            (20, "SSH needs sshKeyFile and knownHostsFile"),
        ] {
            assert!(told.contains(&format!("config.yaml:{line}: {message}")), "{message}:\n{told}");
        }
    }

    #[test]
    fn the_environments_own_repository_is_read_with_its_own_credentials() {
        assert_eq!(file("https://git.example/fleet").as_deref(), Some(Path::new("/own")));
        assert_eq!(file("https://git.example/fleet/other"), None);
    }
}
