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
        assert!(
            !problems[0].message.contains('\n'),
            "a line of the log is one line: {}",
            problems[0].message
        );
    }
    let after = "status.a.filter(x, x == '(all(').map(x, x).size() == 0";
    HealthChecks::compile(&[exprs(after, None, None)]).expect("one loop after the other");
}

#[test]
fn what_goes_through_a_list_within_a_loop_is_refused() {
    let refused = |text: &str| compile(text).err().map(|error| error.to_string()).unwrap_or_default();
    insta::assert_snapshot!(refused("status.items.all(x, x in status.items)"), @r#"the expression "status.items.all(x, x in status.items)" has "in" within a loop, which goes through a list or a text each time"#);
    assert!(refused("status.items.all(x, x.matches('a+'))").contains("matches"));
    assert!(refused("status.items.all(x, size(status.items + status.items) > 1)").contains("\"+\""));
    let often = vec!["status.items == status.items"; COMPARISONS + 1].join(" && ");
    assert!(refused(&format!("status.items.all(x, {often})")).contains("compares more than"));
    for good in [
        "status.items.all(x, x.generation == metadata.generation && x.type == 'Ready')",
        "status.items.exists_one(x, x.name == 'a') && status.phase in ['Ready', 'Done']",
        "status.items.filter(x, x.ok).map(x, x.size + 1).all(x, x > 2)",
    ] {
        assert_eq!(refused(good), "");
    }
}

#[test]
fn a_deep_expression_is_refused_and_one_at_the_limit_fits_the_stack() {
    for (first, more) in [("1", "+1"), ("status", ".a"), ("true", "?true:true"), ("", "!")] {
        let last = if first.is_empty() { "true" } else { "" };
        let of = |times: usize| format!("{first}{}{last}", more.repeat(times));
        assert!(matches!(compile(&of(DEEPEST + 1)), Err(ExprError::TooDeep)), "{more}");
        let levels = DEEPEST / more.matches(|char: char| char.is_ascii_punctuation()).count();
        // The parser has a limit of its own for what it nests.
        if compile(&of(levels)).is_err() {
            continue;
        }
        let (health, message) = assess(&exprs(&of(levels), None, None), 0, &json!({"a": 1}));
        assert_ne!(message, "healthCheckExprs: an expression cannot be evaluated", "{more}: {health:?}");
    }
}

#[test]
fn an_object_of_many_values_is_not_judged() {
    let exprs = exprs("status.items.all(x, x == 0)", None, None);
    let (health, message) = assess(&exprs, 0, &json!({"items": vec![0; MOST_VALUES]}));
    assert_eq!(health, Health::Unknown);
    assert_eq!(message, "the object is too large for healthCheckExprs: 2003 values");
}
