//! `each: apps/*`: one app per folder that matches a pattern.
//!
//! Pure: it is told which folders there are, and says which of them are apps. Whoever has the repository asks
//! [`Pattern::base`] what to list, so that nothing else is read.

use super::{PathError, RepoPath};
use crate::glob;

const WILDCARD: char = '*';

/// A path within the repository with `*` in one of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    base: RepoPath,
    name: String,
    rest: RepoPath,
}

/// A pattern that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("pattern {pattern:?} has no \"*\": write path for a single folder")]
    NoWildcard { pattern: String },
    #[error("pattern {pattern:?} has \"*\" in more than one of its names: only one of them may vary")]
    ManyWildcards { pattern: String },
    #[error("pattern {pattern:?} has \"**\": a pattern matches the folders of one level")]
    Recursive { pattern: String },
    #[error("pattern {pattern:?} has \"..\" after its \"*\"")]
    Leaves { pattern: String },
    #[error(transparent)]
    Path(PathError),
}

impl Pattern {
    /// Reads a pattern that starts at a folder of the repository.
    pub fn parse(folder: &RepoPath, pattern: &str) -> Result<Self, PatternError> {
        let owned = || pattern.to_owned();
        if pattern.contains("**") {
            return Err(PatternError::Recursive { pattern: owned() });
        }
        let varying = |name: &&str| name.contains(WILDCARD);
        match pattern.split('/').filter(varying).count() {
            0 => return Err(PatternError::NoWildcard { pattern: owned() }),
            1 => {}
            _ => return Err(PatternError::ManyWildcards { pattern: owned() }),
        }
        let names: Vec<&str> = pattern.split('/').collect();
        let place = names.iter().position(|name| name.contains(WILDCARD)).unwrap_or_default();
        let rest = &names[place + 1..];
        if rest.contains(&"..") {
            return Err(PatternError::Leaves { pattern: owned() });
        }
        let base = match place {
            0 => folder.clone(),
            _ => folder.join(&names[..place].join("/")).map_err(PatternError::Path)?,
        };
        let rest = RepoPath::parse(&rest.join("/")).map_err(PatternError::Path)?;
        Ok(Self { base, name: names[place].to_owned(), rest })
    }

    /// Returns the folder whose folders have to be known.
    pub fn base(&self) -> &RepoPath {
        &self.base
    }

    /// Says whether a folder of the base matches. Names that begin with a dot never do.
    pub fn matches(&self, name: &str) -> bool {
        !name.starts_with('.') && glob::matches(&self.name, name)
    }

    /// Returns the folder that is the app where the varying name is this one.
    pub fn folder(&self, name: &str) -> RepoPath {
        let below = format!("{name}/{}", self.rest.as_str());
        self.base.join(&below).expect("a folder below another is in the repository")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str) -> Result<Pattern, String> {
        let folder = RepoPath::parse("clusters/eu").unwrap();
        Pattern::parse(&folder, pattern).map_err(|error| error.to_string())
    }

    #[test]
    fn the_varying_name_may_stand_anywhere_in_the_path() {
        let last = pattern("../../apps/*").unwrap();
        assert_eq!((last.base().as_str(), last.folder("web").as_str()), ("apps", "apps/web"));
        let inner = pattern("../../apps/*/overlays/production").unwrap();
        assert_eq!(inner.folder("web").as_str(), "apps/web/overlays/production");
        let first = pattern("*").unwrap();
        assert_eq!((first.base().as_str(), first.folder("a").as_str()), ("clusters/eu", "clusters/eu/a"));
    }

    #[test]
    fn hidden_folders_never_match() {
        let matching = |name: &str, found: &str| pattern(name).unwrap().matches(found);
        assert!(matching("web-*", "web-1") && !matching("web-*", "db-1"));
        assert!(matching("*", "web") && !matching("*", ".github"));
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        let errors: Vec<String> = ["apps/web", "*/a/*", "apps/**", "apps/*/../x", "/apps/*", "../../../*"]
            .into_iter()
            .map(|text| pattern(text).unwrap_err())
            .collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        pattern "apps/web" has no "*": write path for a single folder
        pattern "*/a/*" has "*" in more than one of its names: only one of them may vary
        pattern "apps/**" has "**": a pattern matches the folders of one level
        pattern "apps/*/../x" has ".." after its "*"
        path "/apps" is absolute: it must be relative
        path "../../.." leaves the repository
        "#);
    }
}
