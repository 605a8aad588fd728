//! How many releases of the past stay stored: their renders have one bound for all apps of a cluster.
//!
//! Between the machines, each of which keeps its own newest releases, and the agent, which knows how large a stored
//! render is. What healing needs is never let go, whatever it takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::object::Digest;

/// What an app needs of the stored renders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// Names of the stored renders that it is healed from, or is about to be.
    pub needed: BTreeSet<String>,
    /// The releases that it can go back to.
    pub releases: Vec<StoredRelease>,
}

/// A release that can be gone back to, and the stored renders that hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRelease {
    pub render: Digest,
    pub at: Timestamp,
    pub stored: Vec<String>,
}

/// A stored render as it lies in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Size {
    pub app: Arc<str>,
    pub bytes: u64,
}

/// Returns the releases that have to go so that all stored renders take at most `limit` bytes: the oldest of all apps
/// first. A release whose parts are all needed anyway stays, as nothing is won by letting it go.
///
/// `sizes` has the stored renders by name; one that it lacks counts as nothing. Those of apps that are not in `apps`
/// count, and stay.
pub fn excess(
    apps: &BTreeMap<Arc<str>, Stored>,
    sizes: &HashMap<String, Size>,
    limit: u64,
) -> BTreeMap<Arc<str>, BTreeSet<Digest>> {
    let size = |name: &str| sizes.get(name).map_or(0, |size| size.bytes);
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for stored in apps.values() {
        let of_releases = stored.releases.iter().flat_map(|release| &release.stored);
        stored.needed.iter().chain(of_releases).for_each(|name| *uses.entry(name).or_default() += 1);
    }
    let others = sizes.values().filter(|size| !apps.contains_key(&size.app)).map(|size| size.bytes);
    let mut total: u64 = others.chain(uses.keys().map(|name| size(name))).sum();
    let mut releases: Vec<(&Arc<str>, &StoredRelease)> = apps
        .iter()
        .flat_map(|(app, stored)| {
            let frees =
                |release: &&StoredRelease| !release.stored.iter().all(|it| stored.needed.contains(it));
            stored.releases.iter().filter(frees).map(move |release| (app, release))
        })
        .collect();
    releases.sort_by_key(|(app, release)| (release.at, *app));
    let mut excess: BTreeMap<Arc<str>, BTreeSet<Digest>> = BTreeMap::new();
    for (app, release) in releases {
        if total <= limit {
            break;
        }
        for name in &release.stored {
            let left = uses.entry(name).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                total = total.saturating_sub(size(name));
            }
        }
        excess.entry(app.clone()).or_default().insert(release.render);
    }
    excess
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an app that needs the first of the names, and has releases `second:names`.
    fn app(needed: &str, releases: &[(i64, &[&str])]) -> Stored {
        let release = |(second, names): &(i64, &[&str])| StoredRelease {
            render: Digest::of(&second.to_be_bytes()),
            at: Timestamp::from_second(*second).expect("a time"),
            stored: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Stored {
            needed: BTreeSet::from([needed.to_owned()]),
            releases: releases.iter().map(release).collect(),
        }
    }

    fn sizes(stored: &[(&str, &str, u64)]) -> HashMap<String, Size> {
        let size = |app: &str, bytes| Size { app: app.into(), bytes };
        stored.iter().map(|(app, name, bytes)| ((*name).to_owned(), size(app, *bytes))).collect()
    }

    /// Returns the seconds of the releases that go, by app.
    fn gone(apps: &[(&str, Stored)], sizes: &HashMap<String, Size>, limit: u64) -> String {
        let apps: BTreeMap<Arc<str>, Stored> =
            apps.iter().map(|(name, stored)| (Arc::from(*name), stored.clone())).collect();
        let excess = excess(&apps, sizes, limit);
        let line = |(app, renders): (&Arc<str>, &BTreeSet<Digest>)| {
            let of_app = apps[app].releases.iter().filter(|release| renders.contains(&release.render));
            let seconds: Vec<String> = of_app.map(|release| release.at.as_second().to_string()).collect();
            format!("{app}: {}", seconds.join(" "))
        };
        excess.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_oldest_releases_of_all_apps_go_first_and_never_what_healing_needs() {
        let apps = [
            ("shop", app("s3", &[(30, &["s3"]), (20, &["s2"]), (10, &["s1"])])),
            ("web", app("w2", &[(25, &["w2"]), (15, &["w1"])])),
        ];
        let sizes = sizes(&[
            ("shop", "s1", 10),
            ("shop", "s2", 10),
            ("shop", "s3", 10),
            ("web", "w1", 10),
            ("web", "w2", 10),
        ]);
        assert_eq!(gone(&apps, &sizes, 50), "");
        assert_eq!(gone(&apps, &sizes, 49), "shop: 10");
        assert_eq!(gone(&apps, &sizes, 35), "shop: 10, web: 15");
        assert_eq!(gone(&apps, &sizes, 0), "shop: 20 10, web: 15", "what is in force stays");
    }

    #[test]
    fn what_releases_share_goes_with_the_last_of_them() {
        let apps = [("shop", app("now", &[(30, &["now"]), (20, &["old", "b"]), (10, &["old", "a"])]))];
        let sizes = sizes(&[
            ("shop", "now", 1),
            ("shop", "old", 100),
            ("shop", "a", 1),
            ("shop", "b", 1),
            ("gone", "x", 5),
        ]);
        assert_eq!(gone(&apps, &sizes, 107), "shop: 10");
        assert_eq!(gone(&apps, &sizes, 106), "shop: 20 10", "a part of both is won with the second");
        assert_eq!(gone(&apps, &sizes, 108), "", "another app's renders count and stay");
    }
}
