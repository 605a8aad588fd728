//! Any text as `skiff.yaml`: it is an app list, or every mistake has its place.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use skiff_shared::environment::substitute::{self, Typing, Variables};
use skiff_shared::environment::{Fact, Facts, RepoPath, Setting, parse, patterns};
use skiff_shared::policy::Policy;

fuzz_target!(|text: &str| {
    let facts = Facts {
        cluster: "eu-1".to_owned(),
        labels: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        vars: BTreeMap::from([("domain".to_owned(), Fact::Text("eu.example".to_owned()))]),
    };
    let folder = RepoPath::parse("clusters/eu").expect("it is a path");
    let names = ["web", "db", ".git", "a b", "WEB"].map(str::to_owned);
    let folders =
        patterns(text, &folder, &facts).into_iter().map(|pattern| (pattern, names.to_vec())).collect();
    let policy = Policy::default();
    let setting = Setting { folder: &folder, policy: &policy, facts: &facts, folders: &folders };
    match parse(text, &setting) {
        Ok(list) => {
            let mut names: Vec<&str> = list.apps.iter().map(|app| app.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), list.apps.len(), "names are unique");
        }
        Err(errors) => assert!(errors.problems.iter().all(|problem| !problem.place.is_empty()), "{errors}"),
    }
    let _completed = substitute::text(text, &Variables { facts: &facts, app: None }, Typing::Text);
});
