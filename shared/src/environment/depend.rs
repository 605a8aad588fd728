//! Which app waits for which: refuses circles, which would wait for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::AppName;

/// Returns the circles among apps that depend on each other, each once: the first app of a circle, its followers, and
/// the first one again.
pub fn circles(edges: &BTreeMap<&AppName, Vec<&AppName>>) -> Vec<Vec<AppName>> {
    let mut settled: BTreeSet<&AppName> = BTreeSet::new();
    let mut found = Vec::new();
    for start in edges.keys() {
        walk(edges, start, &mut settled, &mut found);
    }
    found
}

/// Follows the edges from an app, without recursion: an environment may have thousands of apps in a row.
fn walk<'a>(
    edges: &BTreeMap<&'a AppName, Vec<&'a AppName>>,
    start: &'a AppName,
    settled: &mut BTreeSet<&'a AppName>,
    found: &mut Vec<Vec<AppName>>,
) {
    let mut path: Vec<(&AppName, usize)> = Vec::new();
    if !settled.contains(start) {
        path.push((start, 0));
    }
    while let Some((app, next)) = path.last_mut() {
        let app = *app;
        let Some(target) = edges.get(app).and_then(|targets| targets.get(*next)).copied() else {
            settled.insert(app);
            path.pop();
            continue;
        };
        *next += 1;
        if let Some(place) = path.iter().position(|(on_path, _)| *on_path == target) {
            let circle = path[place..].iter().map(|(app, _)| (*app).clone());
            found.push(circle.chain([target.clone()]).collect());
        } else if !settled.contains(target) {
            path.push((target, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `a>b c>a` as "a depends on b, c depends on a".
    fn found(text: &str) -> Vec<String> {
        let name = |name: &str| AppName::parse(name).unwrap();
        let pairs: Vec<(AppName, AppName)> = text
            .split(' ')
            .map(|pair| pair.split_once('>').unwrap())
            .map(|(a, b)| (name(a), name(b)))
            .collect();
        let mut edges: BTreeMap<&AppName, Vec<&AppName>> = BTreeMap::new();
        for (from, to) in &pairs {
            edges.entry(from).or_default().push(to);
        }
        let words = |circle: &Vec<AppName>| circle.iter().map(AppName::as_str).collect::<Vec<_>>().join(" ");
        circles(&edges).iter().map(words).collect()
    }

    #[test]
    fn apps_that_wait_for_each_other_are_found() {
        assert_eq!(found("a>b b>c a>c"), Vec::<String>::new());
        assert_eq!(found("a>b b>c c>a"), ["a b c a"]);
        assert_eq!(found("a>a b>a"), ["a a"]);
        assert_eq!(found("x>a a>b b>a c>d d>c"), ["a b a", "c d c"]);
    }
}
