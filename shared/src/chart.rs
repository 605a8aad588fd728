//! Charts of chart repositories: which versions there are, and which of them is wanted.
//!
//! Between a repository's answer and what is downloaded: texts in, a choice out. The adapter asks and downloads.

mod dependencies;
mod index;

use crate::environment::ChartVersion;
use crate::version::{self, Range, Version};

pub use dependencies::{Declared, Dependency, DependencyProblem, Undecided, dependencies};
pub use index::{Index, IndexError};

/// One version of a chart in a repository's index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub version: String,
    /// Where its archive is: whole addresses, or paths from the index.
    pub urls: Vec<String>,
    /// SHA-256 of the archive in lower case; not every repository gives one.
    pub digest: Option<String>,
}

/// Chooses the wanted one among the versions of a chart, as Helm does: what is written as it is, else the newest version
/// in the range.
pub fn choose<'a>(wanted: &ChartVersion, versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    match wanted {
        ChartVersion::Newest(range) => version::newest(range, versions),
        ChartVersion::Exact(text) => {
            let exact = Version::of_tag(text)?;
            let equal = |name: &&str| Version::of_tag(name).is_some_and(|version| version == exact);
            let equal: Vec<&str> = versions.into_iter().filter(equal).collect();
            equal.iter().find(|name| *name == text).or(equal.first()).copied()
        }
    }
}

/// Returns the newest of all versions, prereleases too.
pub fn newest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    version::newest(&Range::any(), versions)
}

/// Returns the tag that a registry has a version under: a tag cannot hold a `+`, so Helm writes `_`.
pub fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

/// Returns the version that a registry's tag stands for.
pub fn version_of(tag: &str) -> String {
    tag.replace('_', "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<'a>(wanted: &str, versions: &[&'a str]) -> Option<&'a str> {
        choose(&ChartVersion::parse(wanted).unwrap(), versions.iter().copied())
    }

    #[test]
    fn ranges_take_the_newest_and_versions_themselves() {
        let versions = ["18.0.4", "18.1.2", "19.0.0-rc.1", "18.1.10", "0.1"];
        assert_eq!(chosen("^18.1", &versions), Some("18.1.10"));
        assert_eq!(chosen("*", &versions), Some("18.1.10"));
        assert_eq!(chosen(">=19-0", &versions), Some("19.0.0-rc.1"));
        assert_eq!(chosen("18.0.4", &versions), Some("18.0.4"));
        assert_eq!(chosen("18.0.5", &versions), None);
        assert_eq!(newest(versions), Some("19.0.0-rc.1"));
    }

    #[test]
    fn a_version_is_found_under_its_other_spelling_but_its_own_goes_first() {
        assert_eq!(chosen("1.2.3", &["v1.2.3"]), Some("v1.2.3"));
        assert_eq!(chosen("1.2.3", &["v1.2.3", "1.2.3"]), Some("1.2.3"));
        assert_eq!(chosen("1.2.3+a", &["1.2.3+b"]), None);
    }

    #[test]
    fn build_metadata_is_spelled_otherwise_in_tags() {
        assert_eq!(tag_of("1.2.3+b.4"), "1.2.3_b.4");
        assert_eq!(version_of("1.2.3_b.4"), "1.2.3+b.4");
    }
}
