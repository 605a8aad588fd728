//! How the repositories of apps are reached and what they are trusted with: as the agent's own file says for their
//! address. Git may ask for more, and never for less.

use skiff_shared::environment::{self, ChartSource, GitSource, spelled};

use super::{Credentials, EnvironmentConfig, Proxy, RepositoryAccess, Source};
use crate::git::{IdError, Rewrites, SignaturePolicy};

/// How a repository is reached that an app names in Git, and what it has to prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub credentials: Credentials,
    pub proxy: Option<Proxy>,
    pub verify: Option<SignaturePolicy>,
    pub rewrites: Rewrites,
}

/// Why an app cannot have the source that it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    #[error(
        "verify asks for a signature, and the agent's file does not say who may sign in {url}: it needs verify in an entry of repositories of environment {environment:?}"
    )]
    NobodyMaySign { url: String, environment: String },
    #[error(
        "acceptedRewrite does not count here: it is the agent's file that refuses rewritten branches of {url}, and it alone accepts one"
    )]
    NotYoursToAccept { url: String },
    #[error(
        "charts of {url} cannot be used: the agent's file asks for signatures there, and those of charts are not checked"
    )]
    ChartsUnsigned { url: String },
    #[error("{0}")]
    Commit(IdError),
}

impl EnvironmentConfig {
    /// Returns how an app's own Git repository is reached, and what it has to prove: what the agent's file asks for, and
    /// what the app asks for beside that.
    pub fn git_access(&self, asked: &GitSource) -> Result<Access, AccessError> {
        let GitSource { url, reference, verify, rewrites } = asked;
        let access = self.access(url);
        let verify = match (access.verify, verify) {
            (Some(policy), Some(asked)) => {
                Some(SignaturePolicy { signed: policy.signed.and(*asked), ..policy })
            }
            (None, Some(asked)) => {
                // Whoever may sign what names the app may sign the app.
                let own = self.source.verify.clone().ok_or_else(|| AccessError::NobodyMaySign {
                    url: url.clone(),
                    environment: self.name.to_string(),
                })?;
                Some(SignaturePolicy { signed: *asked, ..own })
            }
            (policy, None) => policy,
        };
        let is_branch = matches!(reference, environment::Reference::Branch(_));
        let rewrites = match (access.rewrites, rewrites) {
            (Rewrites::Refuse { .. }, environment::Rewrites::Refuse { accepted: Some(_) }) => {
                return Err(AccessError::NotYoursToAccept { url: url.clone() });
            }
            (refused @ Rewrites::Refuse { .. }, _) if is_branch => refused,
            (_, asked) => asked.clone().try_into().map_err(AccessError::Commit)?,
        };
        Ok(Access { verify, rewrites, ..access })
    }

    /// Returns how a chart repository is reached.
    pub fn chart_access(&self, asked: &ChartSource) -> Result<Access, AccessError> {
        let access = self.access(&asked.repository);
        match access.verify {
            Some(_) => Err(AccessError::ChartsUnsigned { url: asked.repository.clone() }),
            None => Ok(access),
        }
    }

    /// Returns what the agent's file says of a repository: the longest entry of `repositories` that it is at or below,
    /// else, if it is the environment's own, the same as for that, else nothing. What the environment's own repository
    /// has to prove, it has to prove whatever reference of it an app names.
    fn access(&self, url: &str) -> Access {
        let wanted = spelled(url);
        let entries = self.repositories.iter().map(|entry| (spelled(&entry.url), entry));
        let above = entries.filter(|(entry, _)| is_at_or_below(&wanted, entry));
        let entry = above.max_by_key(|(url, _)| url.len()).map(|(_, entry)| {
            let RepositoryAccess { url: _, credentials, proxy, verify, rewrites } = entry.clone();
            Access { credentials, proxy, verify, rewrites }
        });
        let Source { url, reference: _, path: _, credentials, proxy, verify, rewrites } = self.source.clone();
        if spelled(&url.to_string()) != wanted {
            return entry.unwrap_or_default();
        }
        let Some(entry) = entry else { return Access { credentials, proxy, verify, rewrites } };
        let rewrites = if rewrites == Rewrites::Follow { entry.rewrites } else { rewrites };
        Access { verify: verify.or(entry.verify), rewrites, ..entry }
    }
}

fn is_at_or_below(url: &str, entry: &str) -> bool {
    url.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use skiff_shared::environment::{ChartVersion, Reference as Asked, Signed};

    use super::*;
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
        let Access { credentials, .. } = config.environments[0].access(url);
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
  - {url: 'oci://registry.example/team', verify: {secretRef: s}}
  - {url: https://git.example/x, verify: {}, acceptedRewrite: 4f2c}
";
        let errors = Config::parse(format!("{FILE}{entries}").as_bytes(), "config.yaml", []).unwrap_err();
        let told = errors.to_string();
        for (line, message) in [
            (17, "missing key environments.0.repositories.4.url"),
            (18, "the URL must begin with https://, http:// or ssh://, or be written as git@host:path"),
            (19, "the URL is there twice"),
            (20, "SSH needs sshKeyFile and knownHostsFile"),
            (21, "verify and refuseRewrites are about Git repositories"),
            (22, "acceptedRewrite needs refuseRewrites"),
            (22, "verify needs allowedSignersFile, publicKeysFile or secretRef: who may sign"),
        ] {
            assert!(told.contains(&format!("config.yaml:{line}: {message}")), "{message}:\n{told}");
        }
    }

    #[test]
    fn the_environments_own_repository_is_read_with_its_own_credentials() {
        assert_eq!(file("https://git.example/fleet").as_deref(), Some(Path::new("/own")));
        assert_eq!(file("https://git.example/fleet/other"), None);
    }

    /// What the agent's file may ask of its own repository and of those of a team.
    fn guarded(own: &str, team: &str) -> EnvironmentConfig {
        let file = format!(
            "cluster: {{name: eu-1}}
environments:
- name: development
  source: {{url: https://git.example/fleet.git, ref: {{branch: main}}, {own}}}
  repositories:
  - {{url: https://git.example/team, {team}}}
"
        );
        Config::parse(file.as_bytes(), "config.yaml", []).unwrap().environments.remove(0)
    }

    fn asked(url: &str, verify: Option<Signed>, rewrites: environment::Rewrites) -> GitSource {
        let (url, reference) = (format!("https://git.example/{url}"), Asked::Branch("main".to_owned()));
        GitSource { url, reference, verify, rewrites }
    }

    fn signers(policy: &SignaturePolicy) -> &str {
        policy.secret.as_deref().unwrap_or_default()
    }

    #[test]
    fn what_the_agents_file_asks_for_holds_whatever_an_app_says() {
        let (follow, any) = (environment::Rewrites::Follow, Some(Signed::Either));
        let config = guarded(
            "verify: {secretRef: own}, refuseRewrites: true",
            "verify: {mode: tag, secretRef: team}, refuseRewrites: true",
        );
        for (url, verify, who, signed) in [
            ("fleet", None, "own", Signed::Commit),
            ("fleet.git", any, "own", Signed::Commit),
            ("team/web", any, "team", Signed::Tag),
            ("team/web", Some(Signed::Commit), "team", Signed::Both),
        ] {
            let access = config.git_access(&asked(url, verify, follow.clone())).unwrap();
            let policy = access.verify.unwrap();
            assert_eq!((signers(&policy), policy.signed), (who, signed), "{url} {verify:?}");
            assert_eq!(access.rewrites, Rewrites::Refuse { accepted: None }, "{url}");
        }
        let other = config.git_access(&asked("other", None, follow.clone())).unwrap();
        assert_eq!((other.verify, other.rewrites), (None, Rewrites::Follow));
        let tag = GitSource { reference: Asked::Tag("v1".to_owned()), ..asked("team/web", None, follow) };
        assert_eq!(config.git_access(&tag).unwrap().rewrites, Rewrites::Follow, "a tag is no branch");
        let accepted = Some("4f2c9a7d3b".repeat(4));
        let error = config.git_access(&asked("team/web", None, environment::Rewrites::Refuse { accepted }));
        insta::assert_snapshot!(error.unwrap_err(), @"acceptedRewrite does not count here: it is the agent's file that refuses rewritten branches of https://git.example/team/web, and it alone accepts one");
    }

    #[test]
    fn an_app_may_ask_for_more_than_the_agents_file() {
        let refuse = environment::Rewrites::Refuse { accepted: None };
        let config = guarded("verify: {secretRef: own}", "credentials: {tokenFile: /team}");
        let access = config.git_access(&asked("team/web", Some(Signed::Commit), refuse.clone())).unwrap();
        assert_eq!(access.verify.as_ref().map(signers), Some("own"), "whoever may sign the list");
        assert_eq!(access.rewrites, Rewrites::Refuse { accepted: None });
        assert_eq!(access.credentials.token_file.as_deref(), Some(Path::new("/team")));
        let nobody = guarded("path: clusters", "credentials: {tokenFile: /team}");
        let error = nobody.git_access(&asked("team/web", Some(Signed::Commit), refuse)).unwrap_err();
        insta::assert_snapshot!(error, @r#"verify asks for a signature, and the agent's file does not say who may sign in https://git.example/team/web: it needs verify in an entry of repositories of environment "development""#);
    }

    #[test]
    fn an_entry_of_the_environments_own_repository_takes_nothing_back() {
        let config =
            guarded("verify: {secretRef: own}, refuseRewrites: true", "credentials: {tokenFile: /t}");
        let entry = RepositoryAccess {
            url: "https://git.example/fleet".to_owned(),
            verify: None,
            rewrites: Rewrites::Follow,
            ..config.repositories[0].clone()
        };
        let config = EnvironmentConfig { repositories: vec![entry], ..config };
        let access = config.git_access(&asked("fleet", None, environment::Rewrites::Follow)).unwrap();
        assert_eq!(access.verify.as_ref().map(signers), Some("own"));
        assert_eq!(access.rewrites, Rewrites::Refuse { accepted: None });
        assert_eq!(access.credentials.token_file.as_deref(), Some(Path::new("/t")));
    }

    #[test]
    fn charts_are_refused_where_signatures_are_asked_for() {
        let config = guarded("path: clusters", "verify: {secretRef: team}");
        let chart = |repository: &str| ChartSource {
            repository: format!("https://git.example/{repository}"),
            name: "web".to_owned(),
            version: ChartVersion::Exact("1.0.0".to_owned()),
        };
        insta::assert_snapshot!(config.chart_access(&chart("team/charts")).unwrap_err(), @"charts of https://git.example/team/charts cannot be used: the agent's file asks for signatures there, and those of charts are not checked");
        assert_eq!(config.chart_access(&chart("charts")), Ok(Access::default()));
    }
}
