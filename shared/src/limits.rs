//! What an environment may touch, as the agent's own file says: Git cannot widen it.
//!
//! Asked while an app is rendered, before anything is planned. An app that is outside of a limit is not synced; what was
//! applied of it before stays, and is never pruned because of a limit.

use crate::environment::{AppSource, spelled};
use crate::glob;
use crate::object::{Digest, GroupKind, Hashing};

/// The limits of one environment. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The environment, for messages.
    pub environment: String,
    /// URLs of repositories that apps may come from.
    pub repositories: Allowed,
    /// Namespaces that objects may be in, and Namespace objects that may be there.
    pub namespaces: Allowed,
    /// Kinds of objects, `group/Kind`; of the core group `Kind` alone.
    pub kinds: Allowed,
    pub cluster_scoped: ClusterScoped,
    /// Namespaces that the agent works in at all.
    pub reach: Allowed,
}

/// Patterns of what is allowed. Those that begin with `!` say what is not; the rest, if there is any, what is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<String>>);

/// Whether objects without a namespace may be applied. Namespaces count as what they are named, not as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterScoped {
    #[default]
    Allowed,
    Refused,
}

/// Where an object would be.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    pub kind: &'a GroupKind,
    /// `None` for an object of the whole cluster.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

/// What is outside of a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("repository {url} is outside of {limit}")]
    Repository { url: String, limit: Limit },
    #[error("namespace {namespace:?} is outside of {limit}")]
    Namespace { namespace: String, limit: Limit },
    #[error("kind {kind:?} is outside of {limit}")]
    Kind { kind: String, limit: Limit },
    #[error("it belongs to the whole cluster, which {limit} forbids")]
    ClusterScoped { limit: Limit },
}

/// A limit by its key in the agent's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    OfEnvironment { environment: String, key: &'static str },
    OfAgent,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OfEnvironment { environment, key } => {
                write!(f, "limits.{key} of environment {environment:?} in the agent's file")
            }
            Self::OfAgent => f.write_str("agent.namespaces in the agent's file"),
        }
    }
}

/// A pattern that can match nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern must not be empty")]
    Empty,
    #[error("{pattern:?} is no kind: write group/Kind, or Kind alone for the core group")]
    Kind { pattern: String },
}

impl Allowed {
    /// Allows what patterns say; an empty list allows nothing.
    pub fn only(patterns: Vec<String>) -> Result<Self, PatternError> {
        if patterns.iter().any(|pattern| pattern.trim_start_matches('!').is_empty()) {
            return Err(PatternError::Empty);
        }
        Ok(Self(Some(patterns)))
    }

    /// Allows kinds that patterns say.
    pub fn only_kinds(patterns: Vec<String>) -> Result<Self, PatternError> {
        match patterns.iter().find(|pattern| pattern.matches('/').count() > 1) {
            Some(pattern) => Err(PatternError::Kind { pattern: pattern.clone() }),
            None => Self::only(patterns),
        }
    }

    fn has(&self, name: &str, matches: impl Fn(&str, &str) -> bool) -> bool {
        let Some(patterns) = &self.0 else { return true };
        let (refused, allowed): (Vec<&str>, Vec<&str>) =
            patterns.iter().map(String::as_str).partition(|pattern| pattern.starts_with('!'));
        let named = |pattern: &&str| matches(pattern.trim_start_matches('!'), name);
        let is_listed = allowed.iter().any(named) || (allowed.is_empty() && !refused.is_empty());
        is_listed && !refused.iter().any(named)
    }

    fn digest(&self, hashing: Hashing) -> Hashing {
        match &self.0 {
            None => hashing.part(b"all"),
            Some(patterns) => patterns
                .iter()
                .fold(hashing.part(b"only"), |hashing, pattern| hashing.part(pattern.as_bytes())),
        }
    }
}

impl Limits {
    /// Says whether an app may come from a repository.
    pub fn repository(&self, url: &str) -> Result<(), Refusal> {
        let matches = |pattern: &str, url: &str| glob::matches(&spelled(pattern), url);
        match self.repositories.has(&spelled(url), matches) {
            true => Ok(()),
            false => Err(Refusal::Repository { url: url.to_owned(), limit: self.limit("repositories") }),
        }
    }

    /// Says whether an app's own source may be used. What the environment itself comes from was asked before.
    pub fn source(&self, source: &AppSource) -> Result<(), Refusal> {
        match source {
            AppSource::Environment => Ok(()),
            AppSource::Git(git) => self.repository(&git.url),
            AppSource::Chart(chart) => self.repository(&chart.repository),
        }
    }

    /// Returns the limits that an object is outside of.
    pub fn object(&self, address: Address<'_>) -> Vec<Refusal> {
        let Address { kind, namespace, name } = address;
        let is_namespace = kind.group.is_empty() && &*kind.kind == "Namespace";
        let mut refusals = Vec::new();
        let written = written(kind);
        if !self.kinds.has(&written, kind_matches) {
            refusals.push(Refusal::Kind { kind: written, limit: self.limit("kinds") });
        }
        match namespace.or_else(|| is_namespace.then_some(name)) {
            Some(namespace) if !self.reach.has(namespace, glob::matches) => {
                refusals.push(Refusal::Namespace { namespace: namespace.to_owned(), limit: Limit::OfAgent });
            }
            Some(namespace) if !self.namespaces.has(namespace, glob::matches) => {
                let limit = self.limit("namespaces");
                refusals.push(Refusal::Namespace { namespace: namespace.to_owned(), limit });
            }
            None if self.cluster_scoped == ClusterScoped::Refused => {
                refusals.push(Refusal::ClusterScoped { limit: self.limit("clusterScoped") });
            }
            _ => {}
        }
        refusals
    }

    /// Returns a digest that changes when any limit does.
    pub fn digest(&self) -> Digest {
        let Self { environment, repositories, namespaces, kinds, cluster_scoped, reach } = self;
        let scope: &[u8] = match cluster_scoped {
            ClusterScoped::Allowed => b"cluster",
            ClusterScoped::Refused => b"namespaced",
        };
        let hashing = Hashing::default().part(environment.as_bytes()).part(scope);
        [repositories, namespaces, kinds, reach]
            .into_iter()
            .fold(hashing, |hashing, allowed| allowed.digest(hashing))
            .finish()
    }

    fn limit(&self, key: &'static str) -> Limit {
        Limit::OfEnvironment { environment: self.environment.clone(), key }
    }
}

/// Returns a kind as patterns have it.
fn written(kind: &GroupKind) -> String {
    if kind.group.is_empty() { kind.kind.to_string() } else { format!("{}/{}", kind.group, kind.kind) }
}

/// Matches group and kind apart, so that `*` alone means the core group's kinds.
fn kind_matches(pattern: &str, kind: &str) -> bool {
    let parted = |text: &'_ str| -> (String, String) {
        let (group, kind) = text.split_once('/').unwrap_or(("", text));
        (group.to_owned(), kind.to_owned())
    };
    let ((wanted_group, wanted), (group, kind)) = (parted(pattern), parted(kind));
    glob::matches(&wanted_group, &group) && glob::matches(&wanted, &kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{ChartSource, ChartVersion};

    fn only(patterns: &[&str]) -> Allowed {
        Allowed::only_kinds(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()).unwrap()
    }

    fn limits() -> Limits {
        Limits {
            environment: "staging".to_owned(),
            repositories: Allowed::only(vec!["https://git.example/shop/*".to_owned()]).unwrap(),
            namespaces: only(&["shop", "shop-*", "!shop-secret"]),
            kinds: only(&["*", "apps/*", "*.example.com/*", "!Secret"]),
            cluster_scoped: ClusterScoped::Refused,
            reach: only(&["shop", "shop-secret", "kube-system"]),
        }
    }

    fn refused(group: &str, kind: &str, namespace: Option<&str>) -> String {
        let kind = GroupKind::new(group, kind);
        let refusals = limits().object(Address { kind: &kind, namespace, name: "shop-x" });
        refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn objects_within_the_limits_pass() {
        assert_eq!(refused("", "ConfigMap", Some("shop")), "");
        assert_eq!(refused("db.example.com", "Postgres", Some("shop")), "");
        let everywhere = Limits { reach: Allowed::default(), ..limits() };
        let kind = GroupKind::new("", "Namespace");
        let namespace = Address { kind: &kind, namespace: None, name: "shop-x" };
        assert_eq!(everywhere.object(namespace), [], "a Namespace counts by its name");
    }

    #[test]
    fn every_limit_that_is_broken_is_named() {
        insta::assert_snapshot!(refused("batch", "Job", Some("kube-system")), @r#"
        kind "batch/Job" is outside of limits.kinds of environment "staging" in the agent's file
        namespace "kube-system" is outside of limits.namespaces of environment "staging" in the agent's file
        "#);
        insta::assert_snapshot!(refused("rbac.authorization.k8s.io", "ClusterRole", None), @r#"
        kind "rbac.authorization.k8s.io/ClusterRole" is outside of limits.kinds of environment "staging" in the agent's file
        it belongs to the whole cluster, which limits.clusterScoped of environment "staging" in the agent's file forbids
        "#);
        insta::assert_snapshot!(refused("", "Secret", Some("shop-secret")), @r#"
        kind "Secret" is outside of limits.kinds of environment "staging" in the agent's file
        namespace "shop-secret" is outside of limits.namespaces of environment "staging" in the agent's file
        "#);
    }

    #[test]
    fn namespaces_that_the_agent_has_nothing_to_do_with_are_refused_in_its_name() {
        insta::assert_snapshot!(refused("apps", "Deployment", Some("shop-1")), @r#"namespace "shop-1" is outside of agent.namespaces in the agent's file"#);
    }

    #[test]
    fn repositories_are_compared_as_a_whole() {
        let limits = limits();
        assert_eq!(limits.repository("https://git.example/shop/web.git"), Ok(()));
        insta::assert_snapshot!(limits.repository("https://git.example/other.git").unwrap_err(), @r#"repository https://git.example/other.git is outside of limits.repositories of environment "staging" in the agent's file"#);
        assert_eq!(Limits::default().repository("https://any"), Ok(()));
    }

    #[test]
    fn sources_of_apps_are_compared_whatever_the_spelling_of_their_server() {
        let limits = Limits {
            repositories: Allowed::only(vec!["!https://charts.example/*".to_owned()]).unwrap(),
            ..Limits::default()
        };
        let chart = |repository: &str| {
            AppSource::Chart(ChartSource {
                repository: repository.to_owned(),
                name: "redis".to_owned(),
                version: ChartVersion::Exact("1.0.0".to_owned()),
            })
        };
        for refused in
            ["https://charts.example/a", "https://CHARTS.example:443/a", "https://charts.example./a"]
        {
            assert!(limits.source(&chart(refused)).is_err(), "{refused}");
        }
        assert_eq!(limits.source(&chart("oci://charts.example/a")), Ok(()));
        assert_eq!(limits.source(&AppSource::Environment), Ok(()));
    }

    #[test]
    fn repository_that_is_refused_is_refused_in_every_spelling() {
        let refused = |pattern: &str, url: &str| {
            let repositories = Allowed::only(vec![pattern.to_owned()]).unwrap();
            Limits { repositories, ..Limits::default() }.repository(url).is_err()
        };
        for pattern in ["!git@git.example:team/secret", "!ssh://git@git.example/team/secret.git"] {
            for url in [
                "git@git.example:team/secret",
                "ada@GIT.example:/team/secret.git",
                "ssh://git@git.example:22/team/secret/",
                "ssh://git.example./team/secret",
            ] {
                assert!(refused(pattern, url), "{pattern} and {url}");
            }
            assert!(!refused(pattern, "git@git.example:team/shop"), "{pattern}");
        }
        assert!(refused("!https://git.example/secret", "https://git.example/secret.git/"));
        assert!(!refused("git@git.example:team/*", "ssh://git@git.example/team/shop"));
    }

    #[test]
    fn lists_of_exceptions_alone_allow_the_rest_and_empty_ones_nothing() {
        let has = |allowed: &Allowed, name: &str| allowed.has(name, glob::matches);
        assert!(has(&only(&["!kube-*"]), "shop") && !has(&only(&["!kube-*"]), "kube-system"));
        assert!(!has(&only(&[]), "shop"));
        assert!(has(&Allowed::default(), "shop"));
    }

    #[test]
    fn patterns_that_can_match_nothing_are_refused() {
        let error = |pattern: &str| Allowed::only_kinds(vec![pattern.to_owned()]).unwrap_err().to_string();
        assert_eq!(error("!"), "a pattern must not be empty");
        assert_eq!(
            error("apps/v1/Deployment"),
            "\"apps/v1/Deployment\" is no kind: write group/Kind, or Kind alone for the core group"
        );
    }
}
