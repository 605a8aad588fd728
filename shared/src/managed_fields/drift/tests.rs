use super::super::{Entry, FieldSet, Fields, Owned, Path, field_set_of};
use super::{Actor, Mark, Verdict, blame, drifted_paths, judge};

const OURS: Owned = Owned { digest: 1, time: 100 };

fn mark() -> Mark<'static> {
    Mark { uid: "u1", rv: 5, generation: 2, fields: Fields { ours: Some(OURS), others: 7, status: 9 } }
}

#[test]
fn the_rule_in_a_table() {
    let fields = mark().fields;
    let later = Mark { rv: 6, ..mark() };
    let lost = Fields { ours: Some(Owned { digest: 2, ..OURS }), ..fields };
    let applied = Fields { ours: Some(Owned { time: 101, ..OURS }), ..fields };
    let cleared = Fields { ours: None, ..fields };
    let other = Fields { others: 8, ..fields };
    let status = Fields { status: 10, ..fields };
    for (what, now, verdict) in [
        ("the answer's own event", mark(), Verdict::Same),
        ("another object", Mark { uid: "u2", ..mark() }, Verdict::Replaced),
        ("a field lost", Mark { fields: lost, ..later }, Verdict::Changed),
        ("applied under our name", Mark { fields: applied, ..later }, Verdict::Changed),
        ("our entry gone", Mark { fields: cleared, ..later }, Verdict::Changed),
        ("another manager's field", Mark { fields: other, generation: 3, ..later }, Verdict::Same),
        ("status written", Mark { fields: status, ..later }, Verdict::Same),
        ("nothing changed but the version", later, Verdict::Ambiguous),
        ("our entry put back", Mark { generation: 3, ..later }, Verdict::Ambiguous),
        ("put back, and status", Mark { fields: status, generation: 3, ..later }, Verdict::Ambiguous),
    ] {
        assert_eq!(judge(&mark(), &now), verdict, "{what}");
    }
}

fn entries(json: &str) -> Vec<Entry> {
    serde_json::from_str(json).expect("the test's list is valid")
}

fn lost(list: &[Entry]) -> Vec<Path> {
    let recorded = FieldSet::from_v1(r#"{"f:spec":{"f:replicas":{},"f:paused":{}}}"#).expect("valid");
    drifted_paths(&recorded, &field_set_of(list).expect("valid"))
}

fn blamed(list: &str) -> Option<Actor> {
    let list = entries(list);
    blame(&list, &lost(&list), 1_795_419_717).expect("valid")
}

const OUR_ENTRY: &str = r#"{"manager":"skiff","operation":"Apply","time":"2026-11-23T07:41:57Z","fieldsV1":{"f:spec":{"f:paused":{}}}}"#;

#[test]
fn who_holds_the_lost_field_is_named() {
    let list = format!(
        r#"[{OUR_ENTRY},
        {{"manager":"later","operation":"Update","time":"2026-11-23T07:50:00Z","fieldsV1":{{"f:spec":{{"f:x":{{}}}}}}}},
        {{"manager":"dev","operation":"Update","time":"2026-11-23T07:42:00Z","fieldsV1":{{"f:spec":{{"f:replicas":{{}}}}}},
          "subresource":"scale"}}]"#
    );
    let lost = lost(&entries(&list));
    assert_eq!(lost.iter().map(ToString::to_string).collect::<Vec<_>>(), [".spec.replicas"]);
    let dev = Actor {
        manager: "dev".to_owned(),
        operation: "Update".to_owned(),
        subresource: "scale".to_owned(),
        time: 1_795_419_720,
    };
    assert_eq!(blamed(&list), Some(dev));
}

#[test]
fn who_removed_a_field_is_the_newest_since_our_apply() {
    let list = format!(
        r#"[{OUR_ENTRY},
        {{"manager":"old","operation":"Update","time":"2026-11-23T07:00:00Z","fieldsV1":{{"f:spec":{{"f:x":{{}}}}}}}},
        {{"manager":"kubelet","operation":"Update","time":"2026-11-23T07:59:00Z","fieldsV1":{{"f:status":{{}}}},
          "subresource":"status"}},
        {{"manager":"dev","operation":"Update","time":"2026-11-23T07:42:00Z","fieldsV1":{{"f:spec":{{"f:y":{{}}}}}}}}]"#
    );
    assert_eq!(blamed(&list).map(|actor| actor.manager).as_deref(), Some("dev"));
}

#[test]
fn applies_under_our_name_are_named_so() {
    let ours = OUR_ENTRY.replace("41:57", "42:01");
    let actor = blamed(&format!("[{ours}]")).expect("the time moved");
    assert_eq!((actor.manager.as_str(), actor.time), ("skiff", 1_795_419_721));
}

#[test]
fn co_owners_of_old_are_not_blamed_for_what_was_applied_under_our_name() {
    let ours = OUR_ENTRY.replace("41:57", "42:01");
    let co_owner = r#"{"manager":"ops-tool","operation":"Apply","time":"2026-11-23T07:00:00Z",
        "fieldsV1":{"f:spec":{"f:replicas":{}}}}"#;
    let actor = blamed(&format!("[{ours},{co_owner}]")).expect("the time moved");
    assert_eq!(actor.manager, "skiff");
    let actor = blamed(&format!("[{OUR_ENTRY},{co_owner}]")).expect("it holds the field");
    assert_eq!(actor.manager, "ops-tool", "the clock of another API server may be behind");
}

#[test]
fn nobody_is_named_without_a_trace() {
    assert_eq!(blamed(&format!("[{OUR_ENTRY}]")), None);
}
