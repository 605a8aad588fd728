//! The API server still does what the fixtures of the rule of drift say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use skiff_e2e::drift;
use skiff_harness::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_does_what_the_fixtures_of_drift_say() {
    let options = Options { without_controller_manager: true, without_scheduler: true, ..Options::default() };
    let cluster = Cluster::start(options).await.expect("the control plane starts");
    let recordings = drift::record_all(&cluster).await.expect("every case can be performed");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/drift");
    for recording in &recordings {
        let path = folder.join(format!("{}.json", recording.case));
        let committed =
            fs::read_to_string(&path).expect("run `cargo run -p skiff-e2e --bin record-fixtures`");
        let live = recording.to_json().expect("plain JSON");
        assert_eq!(comparable(&live), comparable(&committed), "{} is out of date", path.display());
    }
    let files = fs::read_dir(&folder).expect("the folder is there").count();
    assert_eq!(files, recordings.len(), "{} has files of cases that are no more", folder.display());
}

/// Reads a recording and replaces what differs each time by what it means: the order of times and versions, and which
/// uids are the same.
fn comparable(recording: &str) -> Value {
    let mut value: Value = serde_json::from_str(recording).expect("a recording is JSON");
    for name in ["time", "uid", "resourceVersion"] {
        let mut found = BTreeSet::new();
        visit(&mut value, name, &mut |text| {
            found.insert((text.len(), text.clone()));
        });
        // Uids have no order: what counts is whether there are two.
        let ranks: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
        let is_first =
            |text: &str| if name == "uid" { None } else { ranks.iter().position(|rank| rank == text) };
        let count = ranks.len();
        visit(&mut value, name, &mut |text| {
            *text = is_first(text).map_or_else(|| format!("one of {count}"), |rank| format!("{name} {rank}"));
        });
    }
    value
}

fn visit(value: &mut Value, name: &str, act: &mut impl FnMut(&mut String)) {
    match value {
        Value::Object(members) => members.iter_mut().for_each(|(key, member)| match member {
            Value::String(text) if key == name => act(text),
            member => visit(member, name, act),
        }),
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, name, act)),
        _ => {}
    }
}
