use serde_json::json;

use super::*;

fn exprs(current: &str, in_progress: Option<&str>, failed: Option<&str>) -> HealthCheckExprs {
    HealthCheckExprs {
        kind: GroupKind::new("example.com", "Database"),
        current: current.to_owned(),
        in_progress: in_progress.map(str::to_owned),
        failed: failed.map(str::to_owned),
        place: "skiff.yaml:4".to_owned(),
    }
}

fn assess(exprs: &HealthCheckExprs, generation: i64, status: &serde_json::Value) -> (Health, String) {
    let checks = HealthChecks::compile(std::slice::from_ref(exprs)).expect("good expressions");
    let raw = serde_json::value::to_raw_value(status).expect("JSON");
    let labels = BTreeMap::new();
    let subject = Subject {
        namespace: Some("shop"),
        name: "db",
        generation,
        labels: &labels,
        spec: None,
        status: Some(&raw),
    };
    let found = checks.assess(&exprs.kind, &subject).expect("a kind that is named");
    (found.health, found.message.unwrap_or_default())
}

#[test]
fn expressions_are_asked_in_fluxs_order() {
    let exprs = exprs(
        "status.conditions.filter(c, c.type == 'Ready').all(c, c.status == 'True') && size(status.conditions) > 0",
        Some("has(status.phase) && status.phase == 'Creating'"),
        Some("status.replicas == 0"),
    );
    let health = |status| assess(&exprs, 0, &status).0;
    assert_eq!(health(json!({})), Health::Progressing, "a field that is not there yet");
    assert_eq!(health(json!({"phase": "Creating", "replicas": 0})), Health::Progressing);
    assert_eq!(health(json!({"replicas": 0})), Health::Degraded);
    let ready = |status: &str| json!({"replicas": 1, "conditions": [{"type": "Ready", "status": status}]});
    assert_eq!(health(ready("False")), Health::Progressing);
    assert_eq!(health(ready("True")), Health::Healthy);
}

#[test]
fn a_status_of_an_older_generation_does_not_count() {
    let exprs = exprs("status.observedGeneration == metadata.generation", None, None);
    assert_eq!(assess(&exprs, 3, &json!({"observedGeneration": 2})).0, Health::Progressing);
    assert_eq!(assess(&exprs, 3, &json!({"observedGeneration": 3})).0, Health::Healthy);
}

#[test]
fn what_cannot_be_judged_is_unknown_and_says_why() {
    let exprs = exprs("status.phase", None, None);
    let (health, message) = assess(&exprs, 0, &json!({"phase": "Ready"}));
    assert_eq!(health, Health::Unknown);
    assert_eq!(message, "an expression of healthCheckExprs is neither true nor false");
}

#[test]
fn bad_expressions_name_themselves_and_their_line() {
    let long = "a".repeat(LONGEST + 1);
    for (text, wanted) in [
        ("status.phase ==", "is no CEL"),
        ("object.status.phase == 'x'", "names \"object\""),
        (long.as_str(), "longer than"),
        ("status.a.all(x, x.exists(y, y == 'all('))", "a list within another"),
    ] {
        let problems = HealthChecks::compile(&[exprs(text, None, None)]).expect_err("refused");
        assert_eq!(problems.len(), 1, "{text}");
        assert_eq!(problems[0].place, "skiff.yaml:4");
        assert!(problems[0].message.contains(wanted), "{}", problems[0].message);
    }
    let after = "status.a.filter(x, x == '(all(').map(x, x).size() == 0";
    HealthChecks::compile(&[exprs(after, None, None)]).expect("one loop after the other");
}
