//! Every folder under `scenarios/`. `SKIFF_BLESS=1` writes down what is shown.

use std::path::{Path, PathBuf};

use skiff_tests::scenario::{Shown, play};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(root).expect("the scenarios are beside the tests");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_scenario_plans_and_syncs_as_it_says() {
    let bless = std::env::var_os("SKIFF_BLESS").is_some();
    let mut wrong = Vec::new();
    for folder in folders() {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let Shown { plan, sync } = play(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (file, shown) in [("plan.txt", plan), ("sync.txt", sync)] {
            let path = folder.join(file);
            if bless {
                std::fs::write(&path, &shown).expect("written");
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if expected != shown {
                wrong.push(format!("{name}/{file} says\n{expected}and it is\n{shown}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
