//! The pure mappings of `App`, and its definition.

use std::collections::HashSet;

use jiff::Timestamp;
use kube_core::CustomResourceExt as _;

use super::*;
use crate::desired::{self, Propagation};
use crate::health::Health;
use crate::inventory::Uid;
use crate::object::Digest;
use crate::plan::Action;
use crate::policy::{Adopt, ApprovalPolicy, Binds, Mode, Policy, Prune};
use crate::report::{self, ObjectCounts, ObjectReport, Report, SyncStatus};
use crate::sync::event::{Approval, Deletion};

fn report() -> Report {
    Report {
        sync: SyncStatus::OutOfSync,
        health: Health::Degraded,
        revision: Some(desired::Revision {
            url: "https://git.example/shop".into(),
            reference: "main".into(),
            commit: "sha1:4f2c9a0000000000000000000000000000000000".into(),
            ..desired::Revision::default()
        }),
        applied: None,
        assignment: None,
        policy: Policy::default(),
        phase: "Applying",
        waiting_for: Vec::new(),
        gate: None,
        plan: None,
        conditions: vec![condition(true)],
        objects: ObjectCounts { total: 2, ..ObjectCounts::default() },
        held: std::collections::BTreeMap::new(),
        rows: vec![row("web", "quota exceeded")],
        history: Vec::new(),
        pinned: None,
        unlisted: false,
        window: None,
        synced_for: None,
    }
}

fn condition(status: bool) -> report::Condition {
    report::Condition { kind: "Ready", status, reason: "Because".into(), message: "so".into() }
}

fn row(name: &str, message: &str) -> ObjectReport {
    ObjectReport {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: Some("shop".into()),
        name: name.into(),
        sync: SyncStatus::OutOfSync,
        health: Health::Degraded,
        message: message.into(),
        held: None,
        prunable: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

#[test]
fn a_list_of_apps_reads_like_a_sentence() {
    let status = AppStatus::of("development", &report(), None, at(7));
    let shown = serde_json::to_string_pretty(&status).expect("JSON");
    insta::assert_snapshot!(shown, @r#"
    {
      "environment": "development",
      "sync": "OutOfSync",
      "health": "Degraded",
      "phase": "Applying",
      "message": "Deployment/shop/web: quota exceeded",
      "revision": {
        "name": "main@sha1:4f2c9a000000",
        "url": "https://git.example/shop",
        "reference": "main",
        "commit": "sha1:4f2c9a0000000000000000000000000000000000"
      },
      "policy": {
        "mode": "auto",
        "approval": {
          "binds": "plan",
          "byTag": false
        },
        "selfHeal": true,
        "adopt": "ifUnowned",
        "onInvalid": "block",
        "failOnShared": false,
        "prune": {
          "enabled": true,
          "when": "healthy",
          "maxShare": 50,
          "sensitiveKinds": false
        }
      },
      "conditions": [
        {
          "type": "Ready",
          "status": "True",
          "reason": "Because",
          "message": "so",
          "lastTransitionTime": "1970-01-01T00:00:07Z"
        }
      ],
      "counts": {
        "total": 2,
        "healthy": 0,
        "outOfSync": 0,
        "drifted": 0,
        "held": 0,
        "failed": 0
      },
      "objects": [
        {
          "group": "apps",
          "kind": "Deployment",
          "namespace": "shop",
          "name": "web",
          "sync": "OutOfSync",
          "health": "Degraded",
          "message": "quota exceeded"
        }
      ]
    }
    "#);
}

#[test]
fn what_an_app_waits_for_comes_before_what_is_wrong() {
    let waiting = Report { waiting_for: vec!["approval of plan 12".into()], ..report() };
    assert_eq!(AppStatus::of("development", &waiting, None, at(7)).message, "approval of plan 12");
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let first = AppStatus::of("development", &report(), None, at(7));
    let same = AppStatus::of("development", &report(), Some(&first), at(8));
    assert_eq!(same.conditions[0].last_transition_time, at(7));
    let turned = Report { conditions: vec![condition(false)], ..report() };
    let changed = AppStatus::of("development", &turned, Some(&same), at(9));
    assert_eq!(changed.conditions[0].last_transition_time, at(9));
}

#[test]
fn rows_messages_and_history_are_bounded() {
    let long = "ä".repeat(3_000);
    let rows = (0..500).map(|n| row(&n.to_string(), &long)).collect();
    let status = AppStatus::of("development", &Report { rows, ..report() }, None, at(7));
    assert_eq!(status.objects.len(), 100);
    assert_eq!(status.objects[0].message.chars().count(), MAX_ROW_MESSAGE);
    let bytes = serde_json::to_vec(&status).expect("JSON").len();
    assert!(bytes < 100_000, "{bytes} bytes");
}

#[test]
fn an_approval_is_taken_by_digest_and_anything_else_is_none() {
    let digest = Digest::of(b"plan");
    let pin = PinRequest { release: Digest::of(b"render").to_string(), reason: "incident 7".into() };
    let spec = AppSpec {
        pin: Some(pin),
        approval: Some(ApprovalRequest { digest: digest.to_string(), by: "ops".into() }),
        pause: Some(Pause { reason: "holidays".into() }),
        sync: Some("2026-11-23T08:00:00Z".into()),
        delete: Some(DeleteRequest { cascade: Propagation::Foreground, sensitive_kinds: true }),
        prune: vec![PruneRequest { object: "ConfigMap/shop/old".into(), uid: "uid-1".into() }],
    };
    let ask = spec.ask();
    assert_eq!(ask.prune, HashSet::from([Uid("uid-1".into())]));
    let deletion = Deletion { cascade: Propagation::Foreground, sensitive_kinds: true };
    assert_eq!(ask.delete, Some(deletion));
    assert_eq!(ask.approval, Some(Approval { digest, by: "ops".into() }));
    assert_eq!(ask.paused.as_deref(), Some("holidays"));
    let odd =
        AppSpec { approval: Some(ApprovalRequest { digest: "latest".into(), by: "ops".into() }), ..spec };
    assert_eq!(odd.ask().approval, None);
}

#[test]
fn the_definition_names_apps_and_their_columns() {
    let definition = App::crd();
    assert_eq!(definition.metadata.name.as_deref(), Some("apps.skiff.dev"));
    let columns = definition.spec.versions[0].additional_printer_columns.clone().unwrap_or_default();
    let columns: Vec<_> =
        columns.iter().map(|column| format!("{} {}", column.name, column.json_path)).collect();
    insta::assert_snapshot!(columns.join("\n"), @r"
    Sync .status.sync
    Health .status.health
    Revision .status.revision.name
    Message .status.message
    Age .metadata.creationTimestamp
    Phase .status.phase
    Objects .status.counts.total
    Applied .status.applied.name
    Repository .status.revision.url
    Plan .status.plan.digest
    ");
}

#[test]
fn what_a_status_remembers_is_read_back_at_the_next_start() {
    let trailer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let revision =
        report().revision.map(|found| desired::Revision { traceparent: Some(trailer.into()), ..found });
    let assignment = desired::Assignment {
        environment: "production".into(),
        url: "https://git.example/shop".into(),
        path: "clusters/eu".into(),
        facts: "4f2c".into(),
    };
    let entry = report::HistoryEntry {
        number: 7,
        revision: revision.clone().expect("the report has one"),
        assignment: assignment.clone(),
        render: Digest::of(b"render"),
        seen_at: at(1),
        applied_at: Some(at(2)),
        healthy_at: None,
        approved_by: Some("ops".into()),
        outcome: report::Outcome::Superseded,
        counts: vec![(Action::Configured, 3), (Action::Pruned, 1)],
        pinned: true,
        stored: vec!["skiff-render-shop-4f2c".into()],
        without: vec![Digest::of(b"held back")],
    };
    let before = Report {
        applied: revision.clone(),
        assignment: Some(assignment.clone()),
        history: vec![entry.clone()],
        synced_for: Some("now".into()),
        ..report()
    };
    let recorded = AppStatus::of("development", &before, None, at(7)).recorded();
    let expected = report::Recorded {
        applied: revision,
        assignment: Some(assignment),
        history: vec![entry],
        synced_for: Some("now".into()),
    };
    assert_eq!(recorded, expected);
}

#[test]
fn a_trailer_that_names_no_trace_has_no_place_in_a_status() {
    for (trailer, is_kept) in [
        (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ", true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736", false),
        ("see the pipeline", false),
    ] {
        let revision =
            desired::Revision { traceparent: Some(trailer.into()), ..desired::Revision::default() };
        let told = AppStatus::of("staging", &Report { revision: Some(revision), ..report() }, None, at(7));
        let kept = told.revision.and_then(|revision| revision.traceparent);
        assert_eq!(kept, is_kept.then(|| trailer.trim().to_owned()), "{trailer:?}");
    }
}

#[test]
fn an_app_that_nobody_looks_after_is_not_shown_as_healthy() {
    let healthy = Report { sync: SyncStatus::Synced, health: Health::Healthy, ..report() };
    let status = AppStatus::of("staging", &healthy, None, at(7));
    let unattended = status.unattended(at(9)).expect("it is news");
    assert_eq!((unattended.sync.as_str(), unattended.health.as_str()), ("Unknown", "Unknown"));
    assert_eq!(unattended.conditions.len(), 1);
    insta::assert_snapshot!(unattended.message, @r#"the agent's file has no environment "staging" any more: the objects stay as they are, and nobody heals them"#);
    assert_eq!(unattended.revision, status.revision, "what it was is remembered");
    assert_eq!(unattended.unattended(at(11)), None);
}

#[test]
fn the_policy_of_an_app_is_read_back_as_it_was_told() {
    let policy = Policy {
        mode: Mode::Manual,
        approval: ApprovalPolicy { binds: Binds::Live, by_tag: true },
        self_heal: false,
        adopt: Adopt::Always,
        fail_on_shared: true,
        prune: Prune { max_share: 5, sensitive_kinds: true, ..Policy::default().prune },
        ..Policy::default()
    };
    let status = AppStatus::of("shop", &Report { policy: policy.clone(), ..report() }, None, at(7));
    assert_eq!(status.policy.map(SyncPolicy::read), Some(policy));
}
