//! Metrics as a scraper reads them.

use jiff::{SignedDuration, Timestamp};
use skiff_shared::desired::{Assignment, Interval, Revision};
use skiff_shared::gate::Wait;
use skiff_shared::health::Health;
use skiff_shared::object::{Digest, Interner};
use skiff_shared::policy::Policy;
use skiff_shared::report::{
    Cause, Condition, HistoryEntry, ObjectCounts, Outcome, Report, RunRecord, Stage, SyncStatus,
};
use skiff_shared::sync::effect::{Drift, DriftKind, Notice};

use super::*;

/// Starts telemetry that sends nothing and logs nothing.
pub(super) fn telemetry() -> Telemetry {
    Telemetry::start(TelemetryConfig {
        identity: Identity::new("eu-1", "eu-1"),
        endpoint: None,
        headers_file: None,
        detail: Detail::Stages,
        log_format: LogFormat::Text,
        log_filter: Some("off".to_owned()),
        variables: Variables::default(),
    })
}

fn web(telemetry: &Telemetry) -> AppTelemetry {
    let (environment, app) = ("production".to_owned(), "web".to_owned());
    telemetry.app(AppName { environment, app, namespace: Some("shop".to_owned()) })
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_795_000_000 + seconds)
}

fn revision() -> Revision {
    Revision {
        url: "https://git.example/shop".to_owned(),
        reference: "main".to_owned(),
        commit: "sha1:4f2c9a7d3be1a90c5d6e7f8091a2b3c4d5e6f708".to_owned(),
        committed_at: Some(at(-20)),
        ..Revision::default()
    }
}

fn run(outcome: Outcome) -> RunRecord {
    let approve = Interval { start: at(1), end: at(31) };
    RunRecord {
        revision: revision(),
        cause: Cause::Release,
        outcome,
        stages: vec![Stage { name: "approve", interval: approve, events: Vec::new() }],
        began: at(0),
        ended: at(40),
        counts: Vec::new(),
        failures: Vec::new(),
        approved_by: None,
    }
}

fn report(sync: SyncStatus, health: Health) -> Report {
    Report {
        sync,
        health,
        revision: Some(revision()),
        applied: Some(revision()),
        assignment: None,
        policy: Policy::default(),
        phase: "Idle",
        waiting_for: Vec::new(),
        gate: None,
        plan: None,
        conditions: Vec::new(),
        objects: ObjectCounts { total: 5, healthy: 3, out_of_sync: 2, drifted: 1, held: 1, failed: 0 },
        held: BTreeMap::new(),
        rows: Vec::new(),
        history: Vec::new(),
        pinned: None,
        unlisted: false,
        window: None,
        synced_for: None,
    }
}

/// Returns the samples of the metrics whose names begin like this, without the cluster, which all have.
fn samples(telemetry: &Telemetry, prefix: &str) -> String {
    let all = telemetry.prometheus().expect("the metrics can be encoded");
    let kept: Vec<&str> = all.lines().filter(|line| line.starts_with(prefix)).collect();
    kept.join("\n").replace(&format!("{CLUSTER},"), "").replace(&format!(",{CLUSTER}"), "")
}

const CLUSTER: &str = r#"k8s_cluster_name="eu-1""#;

#[test]
fn every_series_names_its_cluster() {
    let telemetry = telemetry();
    let app = web(&telemetry);
    app.report(&report(SyncStatus::Synced, Health::Healthy));
    app.finished(&run(Outcome::Success));
    let text = telemetry.prometheus().expect("the metrics can be encoded");
    let silent: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && !line.contains(CLUSTER)).collect();
    assert_eq!(silent, [""; 0]);
    assert!(text.lines().count() > 20, "{text}");
}

#[test]
fn states_of_an_app_are_gauges_that_end_with_it() {
    let telemetry = telemetry();
    let app = web(&telemetry);
    app.report(&report(SyncStatus::OutOfSync, Health::Degraded));
    assert!(samples(&telemetry, "skiff_app_info").contains("OutOfSync"));
    app.report(&report(SyncStatus::Synced, Health::Healthy));
    insta::assert_snapshot!(samples(&telemetry, "skiff_app"), @r#"
    skiff_app_info{cicd_pipeline_name="web",deployment_environment_name="production",skiff_app_phase="Idle",skiff_health_status="Healthy",skiff_sync_status="Synced"} 1
    skiff_app_objects{cicd_pipeline_name="web",deployment_environment_name="production"} 5
    skiff_app_objects_by_state{cicd_pipeline_name="web",deployment_environment_name="production",skiff_object_state="drifted"} 1
    skiff_app_objects_by_state{cicd_pipeline_name="web",deployment_environment_name="production",skiff_object_state="failed"} 0
    skiff_app_objects_by_state{cicd_pipeline_name="web",deployment_environment_name="production",skiff_object_state="healthy"} 3
    skiff_app_objects_by_state{cicd_pipeline_name="web",deployment_environment_name="production",skiff_object_state="held"} 1
    skiff_app_objects_by_state{cicd_pipeline_name="web",deployment_environment_name="production",skiff_object_state="out_of_sync"} 2
    skiff_app_revision{cicd_pipeline_name="web",deployment_environment_name="production"} 87052989053921
    skiff_app_revision_commit_time_seconds{cicd_pipeline_name="web",deployment_environment_name="production"} 1794999980
    "#);
    drop(app);
    assert_eq!(samples(&telemetry, "skiff_app"), "");
}

#[test]
fn conditions_waits_and_what_is_held_are_gauges() {
    let telemetry = telemetry();
    let app = web(&telemetry);
    let ready = |status, reason: &str| Condition {
        kind: "Ready",
        status,
        reason: reason.to_owned(),
        message: "words".to_owned(),
    };
    let waits = Report {
        gate: Some(Wait::Dependencies(vec!["db".into(), "cache".into()])),
        conditions: vec![ready(false, "WaitingForDependencies")],
        held: BTreeMap::from([("PruneBudget", 41)]),
        ..report(SyncStatus::OutOfSync, Health::Healthy)
    };
    app.report(&waits);
    let labels = r#"cicd_pipeline_name="web",deployment_environment_name="production","#;
    let of = |name| samples(&telemetry, name).replace(labels, "");
    insta::assert_snapshot!(of("skiff_app_condition"), @r#"skiff_app_condition{skiff_condition_reason="WaitingForDependencies",skiff_condition_status="false",skiff_condition_type="Ready"} 1"#);
    insta::assert_snapshot!(of("skiff_app_objects_held"), @r#"skiff_app_objects_held{skiff_held_reason="PruneBudget"} 41"#);
    insta::assert_snapshot!(of("skiff_app_waiting"), @r#"
    skiff_app_waiting{skiff_wait_app="cache",skiff_wait_reason="WaitingForDependencies"} 1
    skiff_app_waiting{skiff_wait_app="db",skiff_wait_reason="WaitingForDependencies"} 1
    "#);
    let digest = Digest::of(b"plan");
    app.report(&Report { gate: Some(Wait::Approval { digest, outdated: None }), ..waits });
    insta::assert_snapshot!(of("skiff_app_waiting"), @r#"skiff_app_waiting{skiff_wait_reason="WaitingForApproval"} 1"#);
    app.report(&Report {
        conditions: vec![ready(true, "Synced")],
        ..report(SyncStatus::Synced, Health::Healthy)
    });
    insta::assert_snapshot!(of("skiff_app_condition"), @r#"skiff_app_condition{skiff_condition_reason="Synced",skiff_condition_status="true",skiff_condition_type="Ready"} 1"#);
    assert_eq!(of("skiff_app_waiting"), "");
}

#[test]
fn labels_of_the_cluster_are_those_of_the_file_in_force() {
    let telemetry = telemetry();
    let labels = |ring: &str| BTreeMap::from([("ring".to_owned(), ring.to_owned())]);
    telemetry.cluster_labelled(&labels("canary"));
    telemetry.cluster_labelled(&labels("broad"));
    insta::assert_snapshot!(samples(&telemetry, "skiff_agent_info"), @r#"skiff_agent_info{skiff_cluster_label_ring="broad"} 1"#);
}

#[test]
fn end_of_an_old_driver_does_not_end_the_gauges_of_the_new() {
    let telemetry = telemetry();
    let (old, new) = (web(&telemetry), web(&telemetry));
    old.report(&report(SyncStatus::OutOfSync, Health::Degraded));
    new.report(&report(SyncStatus::Synced, Health::Healthy));
    drop(old);
    assert!(samples(&telemetry, "skiff_app_info").contains("Synced"));
}

#[test]
fn a_sync_is_measured_without_the_time_that_it_waited_for_a_person() {
    let telemetry = telemetry();
    let app = web(&telemetry);
    app.finished(&run(Outcome::Success));
    insta::assert_snapshot!(samples(&telemetry, "cicd_pipeline_run_duration_seconds_sum"), @r#"
    cicd_pipeline_run_duration_seconds_sum{cicd_pipeline_name="web",cicd_pipeline_run_state="pending",deployment_environment_name="production"} 30
    cicd_pipeline_run_duration_seconds_sum{cicd_pipeline_name="web",cicd_pipeline_result="success",cicd_pipeline_run_state="executing",deployment_environment_name="production"} 10
    "#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_commit_to_healthy_duration_seconds_sum"), @r#"skiff_commit_to_healthy_duration_seconds_sum{cicd_pipeline_name="web",deployment_environment_name="production"} 60"#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_app_last_sync"), @r#"skiff_app_last_sync_time_seconds{cicd_pipeline_name="web",deployment_environment_name="production"} 1795000040"#);
}

#[test]
fn last_sync_is_known_from_the_history_after_a_restart() {
    let telemetry = telemetry();
    let synced = HistoryEntry {
        number: 1,
        revision: revision(),
        assignment: Assignment::default(),
        render: Digest::of(b"render"),
        seen_at: at(0),
        applied_at: Some(at(1)),
        healthy_at: Some(at(2)),
        approved_by: None,
        outcome: Outcome::Success,
        counts: Vec::new(),
        pinned: false,
        stored: Vec::new(),
        without: Vec::new(),
    };
    let blocked = HistoryEntry { outcome: Outcome::Blocked, healthy_at: None, ..synced.clone() };
    let history = vec![blocked, synced];
    let app = web(&telemetry);
    app.report(&Report { history, ..report(SyncStatus::OutOfSync, Health::Healthy) });
    let line = samples(&telemetry, "skiff_app_last_sync");
    assert!(line.ends_with(" 1795000002"), "{line}");
}

#[test]
fn errors_are_counted_by_class() {
    let telemetry = telemetry();
    let failure = |id: &str, reason| (id.to_owned(), reason, "words".to_owned());
    let failures = vec![
        failure("Deployment/shop/a", "Invalid"),
        failure("Deployment/shop/b", "Forbidden"),
        failure("Deployment/shop/c", "Invalid"),
    ];
    web(&telemetry).finished(&RunRecord { failures, ..run(Outcome::Blocked) });
    insta::assert_snapshot!(samples(&telemetry, "cicd_pipeline_run_errors"), @r#"
    cicd_pipeline_run_errors_total{cicd_pipeline_name="web",deployment_environment_name="production",error_type="Forbidden"} 1
    cicd_pipeline_run_errors_total{cicd_pipeline_name="web",deployment_environment_name="production",error_type="Invalid"} 2
    "#);
    insta::assert_snapshot!(samples(&telemetry, "cicd_pipeline_run_duration_seconds_count"), @r#"
    cicd_pipeline_run_duration_seconds_count{cicd_pipeline_name="web",cicd_pipeline_run_state="pending",deployment_environment_name="production"} 1
    cicd_pipeline_run_duration_seconds_count{cicd_pipeline_name="web",cicd_pipeline_result="failure",cicd_pipeline_run_state="executing",deployment_environment_name="production",error_type="Invalid"} 1
    "#);
    assert_eq!(samples(&telemetry, "skiff_app_last_sync"), "");
}

#[test]
fn drift_heals_and_fights_are_counted() {
    let telemetry = telemetry();
    let app = web(&telemetry);
    let id = Interner::default().object("apps", "Deployment", Some("shop"), "web");
    let drift = Drift { id: id.clone(), kind: DriftKind::Changed, paths: Vec::new(), actor: None };
    app.notice(&Notice::Drifted(drift.clone()));
    app.notice(&Notice::Healed { drift, seen_at: at(0), healed_at: at(1) });
    app.notice(&Notice::Contested { id, manager: "autoscaler".to_owned(), since: at(56), until: at(60) });
    insta::assert_snapshot!(samples(&telemetry, "skiff_drifts"), @r#"skiff_drifts_total{cicd_pipeline_name="web",deployment_environment_name="production",skiff_drift_kind="changed"} 1"#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_heals"), @r#"skiff_heals_total{cicd_pipeline_name="web",deployment_environment_name="production"} 1"#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_heal_duration_seconds_sum"), @r#"skiff_heal_duration_seconds_sum{cicd_pipeline_name="web",deployment_environment_name="production"} 1"#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_contested_hold_duration_seconds_sum"), @r#"skiff_contested_hold_duration_seconds_sum{cicd_pipeline_name="web",deployment_environment_name="production"} 4"#);
    insta::assert_snapshot!(samples(&telemetry, "skiff_contested_total"), @r#"skiff_contested_total{cicd_pipeline_name="web",deployment_environment_name="production"} 1"#);
}

#[test]
fn renders_and_sources_have_their_series() {
    let telemetry = telemetry();
    let web = AppName { environment: "production".to_owned(), app: "web".to_owned(), namespace: None };
    let took = |seconds| Interval { start: at(0), end: at(seconds) };
    telemetry.rendered(&web, Rendering::Done { read: 3, reused: 0 }, took(2));
    telemetry.rendered(&web, Rendering::Done { read: 1, reused: 2 }, took(1));
    telemetry.rendered(&web, Rendering::Cached, took(0));
    telemetry.rendered(&web, Rendering::Failed, took(5));
    let labels = r#"cicd_pipeline_name="web",deployment_environment_name="production","#;
    let of = |name| samples(&telemetry, name).replace(labels, "");
    insta::assert_snapshot!(of("skiff_render_duration_seconds_sum"), @r#"
    skiff_render_duration_seconds_sum{skiff_render_result="cached"} 0
    skiff_render_duration_seconds_sum{skiff_render_result="failed"} 5
    skiff_render_duration_seconds_sum{skiff_render_result="rendered"} 3
    "#);
    insta::assert_snapshot!(of("skiff_render_files"), @r#"
    skiff_render_files_total{skiff_render_file="read"} 4
    skiff_render_files_total{skiff_render_file="reused"} 2
    "#);

    assert_eq!(samples(&telemetry, "skiff_source_age"), "");
    telemetry.source_expected("production");
    assert!(samples(&telemetry, "skiff_source_age_seconds{").contains("production"));
    telemetry.source_read("production");
    telemetry.source_gone("production");
    assert_eq!(samples(&telemetry, "skiff_source_age_seconds{"), "");
}

#[test]
fn a_fleet_of_many_apps_is_not_summed_up() {
    let telemetry = telemetry();
    let apps = (0..1_000).map(|number| {
        let (environment, app) = ("production".to_owned(), format!("app-{number}"));
        telemetry.app(AppName { environment, app, namespace: None })
    });
    let apps: Vec<AppTelemetry> = apps.collect();
    apps.iter().for_each(|app| app.report(&report(SyncStatus::Synced, Health::Healthy)));
    assert_eq!(samples(&telemetry, "skiff_app_info{").lines().count(), 1_000);
    assert_eq!(samples(&telemetry, "skiff_app_objects_by_state{").lines().count(), 5_000);
}

#[test]
fn the_process_tells_its_memory_and_its_name() {
    let telemetry = telemetry();
    let memory = samples(&telemetry, "process_memory_usage_bytes{");
    let bytes: f64 = memory.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 1_000_000.0, "{memory}");
    let info = samples(&telemetry, "target_info");
    assert!(info.contains(r#"service_name="skiff""#), "{info}");
}
