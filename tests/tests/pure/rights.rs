//! What an app says of rights that the agent lacks.

use std::sync::Arc;

use skiff_shared::object::GroupKind;
use skiff_shared::policy::{OnInvalid, Policy};
use skiff_shared::sync::event::{Blind, Cause, Event, Refusal};
use skiff_tests::sim::Sim;

/// Tells the machine where ConfigMaps cannot be seen.
fn blind(sim: &mut Sim, namespaces: &[Option<&str>]) {
    let place = |namespace: &Option<&str>| {
        let place = match namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let message = format!(
            "configmaps is forbidden: User \"agent\" cannot watch resource \"configmaps\" in API group \"\" {place}"
        );
        Blind {
            namespace: namespace.map(Arc::from),
            cause: Cause { reason: Refusal::Forbidden, code: 403, message },
        }
    };
    let kind = Arc::new(GroupKind::new("", "ConfigMap"));
    sim.say(0, Event::Blind { kind, places: namespaces.iter().map(place).collect() });
    sim.settle().expect("sound");
}

/// Returns the conditions about rights, one a line.
fn told(sim: &Sim) -> String {
    let conditions = sim.report().conditions;
    let conditions =
        conditions.iter().filter(|condition| ["Watched", "Authorized"].contains(&condition.kind));
    let lines: Vec<String> = conditions
        .map(|found| format!("{} {} {}: {}", found.kind, found.status, found.reason, found.message))
        .collect();
    lines.join("\n")
}

#[test]
fn what_cannot_be_seen_is_told_by_the_apps_that_have_it_until_it_is_seen() {
    let mut sim = Sim::shop();
    sim.commit("c1", ["ConfigMap/shop/a", "ConfigMap/pay/b", "ConfigMap/pay/c"]);
    sim.settle().expect("sound");
    blind(&mut sim, &[Some("pay"), Some("elsewhere")]);
    insta::assert_snapshot!(told(&sim), @r#"
    Watched false Forbidden: drift and health of these are not seen: ConfigMap in pay
    Authorized false RightsMissing: may not watch configmaps in pay: - {apiGroups: [""], resources: [configmaps], verbs: [watch]}
    "#);
    blind(&mut sim, &[None]);
    insta::assert_snapshot!(told(&sim), @r#"
    Watched false Forbidden: drift and health of these are not seen: ConfigMap
    Authorized false RightsMissing: may not watch configmaps in the whole cluster: - {apiGroups: [""], resources: [configmaps], verbs: [watch]}
    "#);
    blind(&mut sim, &[]);
    assert_eq!(told(&sim), "");
}

#[test]
fn another_refusal_of_a_write_is_no_missing_right() {
    let mut sim = Sim::with_policy(Policy { on_invalid: OnInvalid::Skip, ..Policy::default() });
    sim.commit("c1", ["ConfigMap/shop/a refused", "ConfigMap/shop/b forbidden"]);
    sim.run_now().expect("sound");
    assert_eq!(told(&sim), "", "the simulated server names no right");
}
