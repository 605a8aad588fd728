//! The rule of drift over what a real API server did, as recorded in `fixtures/drift`.
//!
//! `cargo run -p skiff-e2e --bin record-fixtures` records them anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use skiff_shared::managed_fields::{
    Entry, Fields, Mark, Path as FieldPath, Verdict, blame, drifted_paths, field_set_of, judge, release,
};

#[derive(Deserialize)]
struct Recording {
    case: String,
    recorded: Metadata,
    now: Option<Metadata>,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    resource_version: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    managed_fields: Option<Box<RawValue>>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Expected {
    verdict: String,
    lost: Vec<String>,
    actor: Option<String>,
}

impl Metadata {
    fn json(&self) -> &str {
        self.managed_fields.as_ref().map_or("[]", |list| list.get())
    }

    fn entries(&self) -> Vec<Entry> {
        serde_json::from_str(self.json()).expect("the API server's own JSON")
    }

    fn mark(&self) -> Mark<'_> {
        Mark {
            uid: &self.uid,
            rv: self.resource_version.parse().expect("resource versions are numbers"),
            generation: self.generation,
            fields: serde_json::from_str(self.json()).expect("the API server's own JSON"),
        }
    }
}

impl Recording {
    /// Returns what the rule says of the recording.
    fn judged(&self) -> Expected {
        let Some(now) = &self.now else {
            return Expected { verdict: "Gone".to_owned(), lost: Vec::new(), actor: None };
        };
        let verdict = judge(&self.recorded.mark(), &now.mark());
        let lost = self.lost(now);
        let since = self.recorded.mark().fields.ours.expect("we applied it").time;
        let actor = match verdict {
            Verdict::Changed | Verdict::Replaced => blame(&now.entries(), &lost, since).expect("readable"),
            Verdict::Same | Verdict::Ambiguous => None,
        };
        let actor = actor.map(|actor| {
            format!("{} {} {}", actor.manager, actor.operation, actor.subresource).trim_end().to_owned()
        });
        let lost = lost.iter().map(ToString::to_string).collect();
        Expected { verdict: format!("{verdict:?}"), lost, actor }
    }

    fn lost(&self, now: &Metadata) -> Vec<FieldPath> {
        let set = |entries: &[Entry]| field_set_of(entries).expect("readable");
        drifted_paths(&set(&self.recorded.entries()), &set(&now.entries()))
    }

    /// Returns the lists before and after, as the API server wrote them.
    fn lists(&self) -> Vec<&Metadata> {
        [Some(&self.recorded), self.now.as_ref()].into_iter().flatten().collect()
    }
}

fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/drift");
    let files = fs::read_dir(folder).expect("the fixtures are committed");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let recording = serde_json::from_str(&fs::read_to_string(path).expect("readable"));
        assert!(recording.is_ok(), "{} is not a recording", path.display());
        recording.expect("just checked")
    };
    paths.iter().map(read).collect()
}

#[test]
fn drift_is_seen_exactly_where_it_is_with_the_paths_and_the_actor() {
    let wrong: Vec<String> = recordings()
        .iter()
        .filter(|recording| recording.judged() != recording.expected)
        .map(|recording| {
            format!("{}:\n{:#?}\nexpected {:#?}", recording.case, recording.judged(), recording.expected)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_cases_and_what_the_rule_says_of_them() {
    let line = |recording: &Recording| {
        let Expected { verdict, lost, actor } = recording.judged();
        let by = actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
        let lost = if lost.is_empty() { String::new() } else { format!(", {} lost", lost.len()) };
        format!("{}: {verdict}{by}{lost}", recording.case)
    };
    let lines: Vec<String> = recordings().iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    annotated: Same
    annotation-changed: Changed by kubectl-annotate Update, 1 lost
    another-label-removed: Changed, 1 lost
    applied-by-another-fewer: Same
    applied-by-another-other: Changed by ops-tool Apply, 1 lost
    applied-by-another-same: Same
    applied-under-our-name-at-once: Ambiguous
    applied-under-our-name: Changed by skiff Apply
    args-changed: Changed by kubectl-edit Update, 1 lost
    change-and-back: Changed by kubectl-patch Update, 1 lost
    client-side-apply: Changed by kubectl-client-side-apply Update, 1 lost
    config-data-removed: Changed, 2 lost
    config-forged: Ambiguous
    config-key-added: Same
    config-key-changed: Changed by kubectl-edit Update, 1 lost
    deleted: Gone
    env-added: Same
    env-removed: Changed, 3 lost
    foreign-label-removed: Same
    managed-fields-cleared: Changed, 18 lost
    managed-fields-forged: Ambiguous
    our-label-removed: Changed, 1 lost
    put-by-client: Changed by client Update, 1 lost
    put-by-controller: Changed by operator Update, 5 lost
    recreated-at-once: Replaced
    rollout-restart: Same
    same-quantity: Same
    same-value: Same
    scale-to-the-same: Same
    scale-up: Changed by kubectl Update scale, 1 lost
    set-image: Changed by kubectl-set Update, 1 lost
    status-written-again-at-once: Ambiguous
    status-written-at-once: Same
    status-written: Same
    ");
}

#[test]
fn streamed_lists_are_reduced_as_whole_ones() {
    for recording in recordings() {
        for metadata in recording.lists() {
            let whole = Fields::of(&metadata.entries()).expect("readable");
            assert_eq!(metadata.mark().fields, whole, "{}", recording.case);
        }
    }
}

#[test]
fn field_sets_and_entries_are_written_as_the_server_wrote_them() {
    let value = |json: &str| serde_json::from_str::<Value>(json).expect("valid");
    for recording in recordings() {
        for metadata in recording.lists() {
            let entries = metadata.entries();
            assert_eq!(
                serde_json::to_string(&entries).expect("valid"),
                metadata.json(),
                "{}",
                recording.case
            );
            for entry in entries {
                let set = entry.field_set().expect("readable").to_fields_v1();
                let server = entry.fields.as_ref().map_or("{}", |fields| fields.get());
                assert_eq!(value(set.get()), value(server), "{}", recording.case);
            }
        }
    }
}

#[test]
fn releasing_a_field_leaves_the_rest_of_a_real_list_as_it_is() {
    let replicas = FieldPath::from_pointer("/spec/replicas").expect("valid");
    for recording in recordings() {
        let before = recording.recorded.entries();
        let after = release(&before, std::slice::from_ref(&replicas)).expect("readable");
        let gone = drifted_paths(
            &field_set_of(&before).expect("readable"),
            &field_set_of(&after).expect("readable"),
        );
        let had = field_set_of(&before).expect("readable").contains(&replicas);
        assert_eq!(gone, if had { vec![replicas.clone()] } else { Vec::new() }, "{}", recording.case);
    }
}
