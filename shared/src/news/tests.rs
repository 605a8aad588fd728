use std::collections::BTreeMap;

use super::*;
use crate::api::v1alpha1::{Assignment, Condition, HistoryEntry, PlanSummary, Revision};
use crate::desired;
use crate::managed_fields::{Actor, Path};
use crate::object::Interner;
use crate::sync::effect::{Drift, DriftKind};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn revision(name: &str) -> Revision {
    Revision { name: format!("main@sha1:{name}"), subject: format!("commit {name}"), ..Revision::default() }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
    let words = [kind, status, reason, message].map(str::to_owned);
    let [kind, status, reason, message] = words;
    Condition { kind, status, reason, message, last_transition_time: at(0) }
}

/// A status at a revision, with the condition `Ready`.
fn status(name: &str, health: &str, reason: &str, message: &str) -> AppStatus {
    let is_ready = if reason == "Synced" { "True" } else { "False" };
    AppStatus {
        sync: if reason == "Synced" { "Synced" } else { "OutOfSync" }.to_owned(),
        health: health.to_owned(),
        revision: Some(revision(name)),
        conditions: vec![condition("Ready", is_ready, reason, message)],
        ..AppStatus::default()
    }
}

fn entry(number: u64, name: &str, outcome: &str) -> HistoryEntry {
    HistoryEntry {
        number,
        revision: revision(name),
        assignment: Assignment::default(),
        render: format!("render of {name}"),
        seen_at: at(0),
        applied_at: None,
        healthy_at: None,
        approved_by: None,
        outcome: outcome.to_owned(),
        counts: BTreeMap::from([("configured".to_owned(), 1), ("unchanged".to_owned(), 7)]),
        pinned: false,
        stored: Vec::new(),
        without: Vec::new(),
    }
}

fn plan(digest: &str, approved_by: Option<&str>) -> PlanSummary {
    let approved_by = approved_by.map(str::to_owned);
    PlanSummary { digest: digest.to_owned(), created: 2, pruned: 1, approved_by, ..PlanSummary::default() }
}

/// Goes through statuses one after the other; a dashed line stands where the agent was started anew.
fn told(statuses: &[Option<AppStatus>]) -> String {
    let app: Arc<str> = "shop".into();
    let mut newsroom = Newsroom::default();
    let mut before: Option<&AppStatus> = None;
    let mut lines = Vec::new();
    for status in statuses {
        let Some(status) = status else {
            newsroom = Newsroom::default();
            lines.push("---".to_owned());
            continue;
        };
        let news = newsroom.published(&app, before, status);
        lines.extend(
            news.iter().map(|it| format!("{} {:?}: {}", it.reason.word(), it.revision.name, it.text)),
        );
        before = Some(status);
    }
    lines.join("\n")
}

#[test]
fn a_release_is_told_once_and_a_restart_tells_nothing_again() {
    let synced = |name: &str, history: Vec<HistoryEntry>| AppStatus {
        history,
        ..status(name, "Healthy", "Synced", "8 objects as in Git")
    };
    let first = synced("one", vec![entry(1, "one", "success")]);
    let second = synced("two", vec![entry(2, "two", "success"), entry(1, "one", "success")]);
    let unmoved = AppStatus { revision: Some(revision("three")), ..second.clone() };
    let lines = told(&[Some(first), Some(second.clone()), None, Some(second), Some(unmoved)]);
    insta::assert_snapshot!(lines, @r#"
    Created "main@sha1:one": the agent looks after the app from now on
    Synced "main@sha1:one": synced to main@sha1:one "commit one": 1 configured
    Synced "main@sha1:two": synced to main@sha1:two "commit two": 1 configured
    ---
    "#);
}

#[test]
fn an_approval_is_asked_for_and_told_with_its_author() {
    let wait = "waiting for approval of plan 0123";
    let waiting =
        AppStatus { plan: Some(plan("0123", None)), ..status("two", "Healthy", "WaitingForApproval", wait) };
    let approved =
        AppStatus { plan: Some(plan("0123", Some("ada"))), ..status("two", "Healthy", "Syncing", "") };
    let by_ada = HistoryEntry { approved_by: Some("ada".to_owned()), ..entry(1, "two", "success") };
    let synced = AppStatus { history: vec![by_ada], ..status("two", "Healthy", "Synced", "") };
    let slowly = told(&[Some(waiting.clone()), Some(approved), Some(synced.clone())]);
    insta::assert_snapshot!(slowly, @r#"
    Created "main@sha1:two": the agent looks after the app from now on
    WaitingForApproval "main@sha1:two": plan 0123 waits for approval: 2 created, 1 pruned
    Approved "main@sha1:two": plan 0123 was approved by ada
    Synced "main@sha1:two": synced to main@sha1:two "commit two": 1 configured, approved by ada
    "#);
    let fast = told(&[Some(waiting.clone()), None, Some(waiting), Some(synced)]);
    insta::assert_snapshot!(fast, @r#"
    Created "main@sha1:two": the agent looks after the app from now on
    WaitingForApproval "main@sha1:two": plan 0123 waits for approval: 2 created, 1 pruned
    ---
    Approved "main@sha1:two": plan 0123 was approved by ada
    Synced "main@sha1:two": synced to main@sha1:two "commit two": 1 configured, approved by ada
    "#);
}

#[test]
fn trouble_is_told_when_it_appears_and_when_it_is_another() {
    let healthy = status("one", "Healthy", "Synced", "");
    let degraded = AppStatus {
        message: "Deployment/shop/web: crash loop".to_owned(),
        ..status("one", "Degraded", "Degraded", "7 of 8 objects healthy")
    };
    let progressing = status("one", "Progressing", "Progressing", "7 of 8 objects healthy");
    let lines = told(&[
        Some(healthy.clone()),
        Some(degraded.clone()),
        Some(degraded),
        Some(progressing),
        Some(healthy.clone()),
        Some(healthy),
    ]);
    insta::assert_snapshot!(lines, @r#"
    Created "main@sha1:one": the agent looks after the app from now on
    Degraded "main@sha1:one": Deployment/shop/web: crash loop
    Recovered "main@sha1:one": the app is healthy again
    "#);

    let held = |what: &str| status("one", "Healthy", "Held", what);
    let contested = |what: &str| {
        let mut status = status("one", "Healthy", "Synced", "");
        status.conditions.push(condition("Contested", "True", "Contested", what));
        status
    };
    let lines = told(&[
        Some(held("Namespace/shop: it is no longer in Git")),
        Some(held("Namespace/shop: it is no longer in Git")),
        Some(contested("a contested by \"hpa\"")),
        Some(contested("a contested by \"hpa\"")),
        Some(contested("a contested by \"hpa\"; b contested by \"hpa\"")),
    ]);
    insta::assert_snapshot!(lines, @r#"
    Created "main@sha1:one": the agent looks after the app from now on
    Held "main@sha1:one": Namespace/shop: it is no longer in Git
    Contested "main@sha1:one": Contested: a contested by "hpa"
    Contested "main@sha1:one": Contested: a contested by "hpa"; b contested by "hpa"
    "#);
}

#[test]
fn troubles_last_until_the_status_shows_them_no_more() {
    let rendered = condition("Rendered", "False", "InvalidYaml", "a.yaml:3: a tab");
    let failed = AppStatus {
        history: vec![entry(1, "one", "failed")],
        ..status("one", "Degraded", "Degraded", "1 of 2")
    };
    let worse =
        AppStatus { conditions: [failed.conditions.clone(), vec![rendered]].concat(), ..failed.clone() };
    let well = status("two", "Healthy", "Synced", "");
    let reasons = |standing: &Standing| standing.troubles.keys().copied().collect::<Vec<_>>();
    let first = Standing::of(None, &failed);
    assert_eq!((reasons(&first), first.ended), (vec![Reason::SyncFailed, Reason::Degraded], vec![]));
    let second = Standing::of(Some(&failed), &worse);
    assert_eq!(reasons(&second), [Reason::SyncFailed, Reason::RenderFailed, Reason::Degraded]);
    assert_eq!(
        (second.ended.len(), second.troubles[&Reason::RenderFailed].as_str()),
        (0, "InvalidYaml: a.yaml:3: a tab")
    );
    let third = Standing::of(Some(&worse), &well);
    assert_eq!((third.troubles.len(), third.ended), (0, reasons(&second)));
    assert!(reasons(&second).into_iter().all(Reason::lasts));
    assert_eq!(second.over().ended.len(), 3);
}

#[test]
fn failures_name_their_reason_and_a_rollback_is_one() {
    let refused = "nothing was written, 1 objects are refused: ConfigMap/shop/a: too long";
    let failed = AppStatus {
        history: vec![entry(2, "two", "failure"), entry(1, "one", "success")],
        ..status("two", "Healthy", "PreflightFailed", refused)
    };
    let mut unrendered = failed.clone();
    unrendered.revision = Some(revision("three"));
    unrendered.conditions.push(condition("Rendered", "False", "InvalidYaml", "a.yaml:3: a tab"));
    let mut back = status("three", "Healthy", "Pinned", "pinned to one");
    let pinned = HistoryEntry { pinned: true, ..entry(3, "one", "success") };
    back.history = vec![pinned, entry(2, "two", "failure")];
    let lines = told(&[Some(failed), Some(unrendered), Some(back)]);
    insta::assert_snapshot!(lines, @r#"
    Created "main@sha1:two": the agent looks after the app from now on
    Synced "main@sha1:one": synced to main@sha1:one "commit one": 1 configured
    SyncFailed "main@sha1:two": sync to main@sha1:two failed: PreflightFailed: nothing was written, 1 objects are refused: ConfigMap/shop/a: too long
    RenderFailed "main@sha1:three": InvalidYaml: a.yaml:3: a tab
    RolledBack "main@sha1:one": rolled back to main@sha1:one "commit one": 1 configured
    "#);
}

#[test]
fn a_sync_that_has_begun_is_told_when_its_writes_are_done_and_a_commit_for_others_is_not() {
    let app: Arc<str> = "shop".into();
    let mut newsroom = Newsroom::default();
    let wanted = |name: &str| desired::Revision {
        reference: "main".to_owned(),
        commit: format!("sha1:{name}"),
        ..desired::Revision::default()
    };
    let applied = |name: &str| AppStatus {
        applied: Some(revision(name)),
        ..status(name, "Progressing", "Progressing", "")
    };
    let started = Notice::SyncStarted { revision: Box::new(wanted("one")), writes: 1, prunes: 0, held: 0 };
    let begun = newsroom.noticed(&app, &started, at(0)).map(|news| news.text);
    assert_eq!(begun.as_deref(), Some("sync to main@sha1:one started: 1 to write, 0 to prune, 0 held"));
    let nothing = AppStatus::default();
    let reasons = |news: Vec<News>| news.iter().map(|it| it.reason).collect::<Vec<_>>();
    let first = newsroom.published(&app, Some(&nothing), &applied("one"));
    assert_eq!(reasons(first), [Reason::SyncApplied]);
    let others = newsroom.published(&app, Some(&applied("one")), &applied("two"));
    assert_eq!(reasons(others), []);
}

#[test]
fn heals_are_gathered() {
    let (app, mut newsroom): (Arc<str>, _) = ("shop".into(), Newsroom::default());
    let heal = |seconds: i64| {
        let actor = Actor {
            manager: "kubectl".to_owned(),
            operation: "Update".to_owned(),
            subresource: String::new(),
            time: 0,
        };
        let drift = Drift {
            id: Interner::default().object("apps", "Deployment", Some("shop"), "web"),
            kind: DriftKind::Changed,
            paths: vec![Path::from_pointer("/spec/replicas").unwrap()],
            actor: Some(actor),
        };
        Notice::Healed { drift, seen_at: at(seconds), healed_at: at(seconds) }
    };
    for second in 0..8 {
        assert_eq!(newsroom.noticed(&app, &heal(second), at(second)), None);
    }
    assert_eq!(newsroom.due(), Some(at(10)));
    assert_eq!(newsroom.gathered(at(9)), []);
    let told: Vec<String> = newsroom.gathered(at(10)).into_iter().map(|(_, news)| news.text).collect();
    let text = r#"drift was healed 8 times: Deployment/shop/web: "kubectl" (Update) changed .spec.replicas; and more"#;
    assert_eq!(told, [text]);
    assert_eq!(newsroom.due(), None);
    newsroom.noticed(&app, &heal(20), at(20));
    let apart = SignedDuration::from_mins(5);
    assert_eq!(newsroom.due(), Some(at(10) + apart), "who fights the agent does not fill the list");
}

#[test]
fn a_good_sync_is_an_event_where_it_ends_a_story() {
    let (app, mut newsroom): (Arc<str>, _) = ("shop".into(), Newsroom::default());
    let news = |reason| News { reason, revision: Revision::default(), text: String::new() };
    let first = status("one", "Healthy", "Synced", "");
    newsroom.published(&app, None, &first);
    let mut recorded = |reason| newsroom.may_record(&app, &news(reason), at(0));
    assert!(recorded(Reason::Synced), "the app's first");
    assert!(!recorded(Reason::Synced), "a commit like any other");
    assert!(recorded(Reason::Healed) && !recorded(Reason::Synced));
    assert!(recorded(Reason::RenderFailed) && recorded(Reason::Synced), "it has come right");
    assert!(!recorded(Reason::SyncStarted) && !recorded(Reason::Synced));
}

#[test]
fn one_app_cannot_fill_the_list_of_events() {
    let (app, mut newsroom): (Arc<str>, _) = ("shop".into(), Newsroom::default());
    let news = |reason| News { reason, revision: Revision::default(), text: String::new() };
    let mut recorded = |reason| newsroom.may_record(&app, &news(reason), at(0));
    assert!(!recorded(Reason::SyncStarted) && !recorded(Reason::Created), "the status shows them");
    let count = (0..100).filter(|_| recorded(Reason::SyncFailed)).count();
    assert_eq!(count, 25);
    assert!(newsroom.may_record(&app, &news(Reason::SyncFailed), at(300)));
    assert!(newsroom.may_record(&"other".into(), &news(Reason::SyncFailed), at(0)));
}
