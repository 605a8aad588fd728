use jiff::Timestamp;
use skiff_shared::desired::Problem;
use skiff_shared::managed_fields::{Actor, Path};
use skiff_shared::object::{Interner, ObjectId};
use skiff_shared::plan::{Action, HeldReason};
use skiff_shared::sync::effect::{Drift, DriftKind};
use skiff_shared::sync::event::{Cause, Refusal};

use super::*;

fn object(kind: &str) -> ObjectId {
    Interner::default().object("", kind, Some("shop"), "web")
}

fn drift(kind: DriftKind, pointers: &[&str], subresource: &str) -> Drift {
    let actor = Actor {
        manager: "kubectl-edit".to_owned(),
        operation: "Update".to_owned(),
        subresource: subresource.to_owned(),
        time: 0,
    };
    let paths = pointers.iter().map(|pointer| Path::from_pointer(pointer).unwrap()).collect();
    Drift { id: object("Deployment"), kind, paths, actor: Some(actor) }
}

fn failed(kind: &str, attempt: u32) -> Notice {
    let message = "Invalid value: \"aGVsbG8\": must be shorter".to_owned();
    Notice::WriteFailed {
        id: object(kind),
        cause: Cause { reason: Refusal::Invalid, code: 422, message },
        attempt,
    }
}

fn text(notices: &[Notice]) -> String {
    let lines: Vec<String> =
        notices.iter().map(line).map(|line| format!("{:?} {}", line.level, line.text)).collect();
    lines.join("\n")
}

fn unrendered(messages: &[&str]) -> Unrendered {
    let problem = |message: &&str| Problem { place: "a:1".to_owned(), message: (*message).to_owned() };
    Unrendered { reason: "InvalidYaml", problems: messages.iter().map(problem).collect() }
}

fn revision(commit: &str) -> Box<Revision> {
    let commit = format!("sha1:{commit}");
    Box::new(Revision { reference: "main".to_owned(), commit, ..Revision::default() })
}

#[test]
fn lines_say_what_happened_to_which_object() {
    let at = Timestamp::UNIX_EPOCH;
    let lines = text(&[
        Notice::SyncStarted { revision: revision("4f2c9a7d3be1"), writes: 3, prunes: 1, held: 0 },
        Notice::Written { id: object("Deployment"), action: Action::Configured },
        Notice::Held { id: object("Namespace"), reason: HeldReason::PruneOff },
        Notice::Contested {
            id: object("Deployment"),
            manager: "autoscaler".to_owned(),
            since: at,
            until: at,
        },
        Notice::Pruned { id: object("ConfigMap") },
        Notice::WaitingForApproval { digest: "0123abcd".to_owned() },
        Notice::Waiting { reason: "Paused", message: "paused: incident 7".to_owned() },
        Notice::SyncBlocked { problems: 2, first: "Deployment/shop/web: Invalid: too long".to_owned() },
        Notice::RenderFailed { revision: revision("4f2c"), why: unrendered(&["bad", "worse"]) },
        Notice::SourceFailed { reason: "Unreachable".to_owned(), message: "connection refused".to_owned() },
    ]);
    insta::assert_snapshot!(lines, @r#"
    Info sync to main@sha1:4f2c9a7d3be1 started: 3 to write, 1 to prune, 0 held
    Info configured Deployment/shop/web
    Warn held Namespace/shop/web: it is no longer in Git and sync.prune is off: delete it by hand or switch pruning on
    Warn Deployment/shop/web is contested by "autoscaler", which keeps changing it back: left alone until 1970-01-01T00:00:00Z
    Info pruned ConfigMap/shop/web
    Info plan 0123abcd waits for approval
    Info the plan is paused: incident 7
    Error sync blocked, nothing was written: 2 refused; the first: Deployment/shop/web: Invalid: too long
    Error failed to render main@sha1:4f2c: a:1: bad; a:1: worse
    Warn failed to read the source: Unreachable: connection refused
    "#);
}

#[test]
fn drift_says_who_changed_what() {
    let healed = Notice::Healed {
        drift: drift(DriftKind::Changed, &["/spec/replicas"], "scale"),
        seen_at: Timestamp::from_millisecond(1_000).unwrap(),
        healed_at: Timestamp::from_millisecond(1_012).unwrap(),
    };
    let many = ["/spec/a", "/spec/b", "/spec/c", "/spec/d", "/spec/e", "/spec/f", "/spec/g"];
    let lines = text(&[
        healed,
        Notice::Drifted(drift(DriftKind::Changed, &many, "")),
        Notice::Drifted(drift(DriftKind::Changed, &[], "")),
        Notice::Drifted(drift(DriftKind::Deleted, &[], "")),
        Notice::Drifted(Drift { actor: None, ..drift(DriftKind::Replaced, &[], "") }),
    ]);
    insta::assert_snapshot!(lines, @r#"
    Info healed Deployment/shop/web in 12 ms: "kubectl-edit" (Update on scale) changed .spec.replicas
    Warn drift of Deployment/shop/web: "kubectl-edit" (Update) changed .spec.a, .spec.b, .spec.c, .spec.d, .spec.e and 2 more
    Warn drift of Deployment/shop/web: "kubectl-edit" (Update) changed fields of it
    Warn drift of Deployment/shop/web: "kubectl-edit" (Update) deleted it
    Warn drift of Deployment/shop/web: somebody replaced it
    "#);
}

#[test]
fn words_about_a_secret_are_withheld() {
    let blocked = Notice::SyncBlocked { problems: 1, first: "Secret/shop/web: Invalid: aGVsbG8".to_owned() };
    let lines = text(&[failed("Deployment", 2), failed("Secret", 0), blocked]);
    insta::assert_snapshot!(lines, @r#"
    Warn failed to write Deployment/shop/web (attempt 2): Invalid: Invalid value: "aGVsbG8": must be shorter
    Warn failed to write Secret/shop/web: Invalid: (withheld: it may quote the Secret)
    Error sync blocked, nothing was written: 1 refused; the first: (withheld: it may quote the Secret)
    "#);
}
