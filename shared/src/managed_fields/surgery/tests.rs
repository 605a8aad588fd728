use super::super::{BEFORE_FIRST_APPLY, Entry, Path};
use super::{Adoption, adopt, release};

fn entries(json: &str) -> Vec<Entry> {
    serde_json::from_str(json).expect("the test's list is valid")
}

/// Prints one entry a line: what names it, then its field set.
fn shown(list: &[Entry]) -> String {
    let line = |entry: &Entry| {
        let names = [&entry.manager, &entry.operation, &entry.api_version, &entry.subresource];
        let names = names.map(String::as_str).join(" ");
        let time = entry.time.as_deref().unwrap_or("-");
        format!("{names} {time} {}\n", entry.fields.as_ref().map_or("-", |fields| fields.get()))
    };
    list.iter().map(line).collect()
}

fn pointers(texts: &[&str]) -> Vec<Path> {
    texts.iter().map(|text| Path::from_pointer(text).expect("the test's pointer is valid")).collect()
}

const KUBECTL: &str = r#"[
    {"manager":"hpa","operation":"Update","apiVersion":"apps/v1","time":"2026-11-23T07:00:01Z","fieldsType":"FieldsV1",
     "fieldsV1":{"f:spec":{"f:replicas":{}}},"subresource":"scale"},
    {"manager":"kubectl-client-side-apply","operation":"Update","apiVersion":"apps/v1","time":"2026-11-23T07:00:00Z",
     "fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:note":{}}},
     "f:spec":{"f:replicas":{},"f:paused":{}}}},
    {"manager":"kube-controller-manager","operation":"Update","apiVersion":"apps/v1","time":"2026-11-23T07:00:02Z",
     "fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:replicas":{}}},"subresource":"status"},
    {"manager":"kubectl-client-side-apply","operation":"Update","apiVersion":"apps/v1beta1",
     "time":"2026-11-23T06:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:old":{}}}}]"#;

const TAKE_KUBECTL: Adoption<'static> =
    Adoption { api_version: "apps/v1", take: &["kubectl-client-side-apply"], yielded: &[] };

#[test]
fn adoption_merges_the_old_manager_and_leaves_the_rest() {
    let adopted = adopt(&entries(KUBECTL), &TAKE_KUBECTL).expect("valid");
    insta::assert_snapshot!(shown(&adopted.entries), @r#"
    hpa Update apps/v1 scale 2026-11-23T07:00:01Z {"f:spec":{"f:replicas":{}}}
    skiff Apply apps/v1  2026-11-23T07:00:00Z {"f:metadata":{"f:annotations":{".":{},"f:note":{}}},"f:spec":{"f:paused":{},"f:replicas":{}}}
    kube-controller-manager Update apps/v1 status 2026-11-23T07:00:02Z {"f:status":{"f:replicas":{}}}
    kubectl-client-side-apply Update apps/v1beta1  2026-11-23T06:00:00Z {"f:spec":{"f:old":{}}}
    "#);
    insta::assert_snapshot!(shown(&adopted.other_versions), @r#"kubectl-client-side-apply Update apps/v1beta1  2026-11-23T06:00:00Z {"f:spec":{"f:old":{}}}"#);
}

#[test]
fn adoption_leaves_yielded_fields_to_whom_they_are() {
    let yielded = pointers(&["/spec/replicas", "/metadata/annotations/note"]);
    let adopted = adopt(&entries(KUBECTL), &Adoption { yielded: &yielded, ..TAKE_KUBECTL }).expect("valid");
    let ours: Vec<String> = adopted.ours.paths().map(ToString::to_string).collect();
    assert_eq!(ours, [".spec.paused"]);
}

#[test]
fn adoption_adds_to_what_is_ours_already() {
    let list = entries(
        r#"[{"manager":"before-first-apply","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1",
             "fieldsV1":{"f:data":{".":{},"f:a":{}}}},
            {"manager":"skiff","operation":"Apply","apiVersion":"v1","time":"2026-11-23T07:00:00Z",
             "fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:b":{}}}}]"#,
    );
    let take = [BEFORE_FIRST_APPLY];
    let adopted = adopt(&list, &Adoption { api_version: "v1", take: &take, yielded: &[] }).expect("valid");
    insta::assert_snapshot!(shown(&adopted.entries), @r#"skiff Apply v1  2026-11-23T07:00:00Z {"f:data":{".":{},"f:a":{},"f:b":{}}}"#);
}

#[test]
fn adoption_of_fields_without_a_time_writes_none() {
    let list = entries(
        r#"[{"manager":"before-first-apply","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1",
             "fieldsV1":{"f:data":{}}}]"#,
    );
    let take = [BEFORE_FIRST_APPLY];
    let adopted = adopt(&list, &Adoption { api_version: "v1", take: &take, yielded: &[] }).expect("valid");
    let written = serde_json::to_string(&adopted.entries).expect("plain values are valid JSON");
    insta::assert_snapshot!(written, @r#"[{"manager":"skiff","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}]"#);
}

#[test]
fn adoption_of_nothing_changes_nothing() {
    let list = entries(KUBECTL);
    let adopted = adopt(&list, &Adoption { take: &["helm"], ..TAKE_KUBECTL }).expect("valid");
    assert_eq!(adopted.entries, list);
    assert!(adopted.ours.is_empty());
}

const APPLIED: &str = r#"[
    {"manager":"skiff","operation":"Apply","apiVersion":"apps/v1","time":"2026-11-23T07:00:00Z","fieldsType":"FieldsV1",
     "fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:note":{}}},"f:spec":{"f:replicas":{},"f:paused":{}}}},
    {"manager":"hpa","operation":"Update","apiVersion":"apps/v1","time":"2026-11-23T07:00:01Z","fieldsType":"FieldsV1",
     "fieldsV1":{"f:spec":{"f:replicas":{}}},"subresource":"scale"}]"#;

#[test]
fn released_fields_leave_with_parents_that_are_empty() {
    let list = release(&entries(APPLIED), &pointers(&["/spec/replicas", "/metadata/annotations/note"]));
    insta::assert_snapshot!(shown(&list.expect("valid")), @r#"
    skiff Apply apps/v1  2026-11-23T07:00:00Z {"f:spec":{"f:paused":{}}}
    hpa Update apps/v1 scale 2026-11-23T07:00:01Z {"f:spec":{"f:replicas":{}}}
    "#);
}

#[test]
fn releasing_everything_drops_our_entry() {
    let list = release(&entries(APPLIED), &pointers(&["/spec", "/metadata"])).expect("valid");
    assert_eq!(list, entries(APPLIED)[1..]);
}

#[test]
fn lists_serialize_as_the_server_wrote_them() {
    let written = APPLIED.lines().map(str::trim).collect::<String>();
    assert_eq!(serde_json::to_string(&entries(APPLIED)).expect("valid"), written);
}

#[test]
fn damaged_field_set_names_the_manager() {
    let list = entries(r#"[{"manager":"skiff","operation":"Apply","fieldsV1":7}]"#);
    let error = release(&list, &[]).expect_err("damaged");
    insta::assert_snapshot!(error, @r#"field set of manager "skiff" cannot be read; managedFields of the object are damaged"#);
}

#[test]
fn part_of_what_is_one_field_is_refused_whoever_has_it() {
    let list = entries(
        r#"[{"manager":"skiff","operation":"Apply","apiVersion":"v1","time":"2026-11-23T07:00:00Z",
             "fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:app":{}}}}},
            {"manager":"injector","operation":"Update","apiVersion":"v1","time":"2026-11-23T07:00:01Z",
             "fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}}]"#,
    );
    let object =
        serde_json::json!({"metadata": {"labels": {"app": "x"}}, "spec": {"caBundle": "placeholder"}});
    let error = super::release_fields(&list, &pointers(&["/spec/caBundle"]), &object).expect_err("a part");
    insta::assert_snapshot!(error, @".spec.caBundle cannot be left to others alone: to the API server .spec is one field; name that one");
    let same = super::release_fields(&list, &pointers(&["/spec/other"]), &object)
        .expect("nothing is declared there");
    assert_eq!(same, list);
}
