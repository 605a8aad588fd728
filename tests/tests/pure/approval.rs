//! Whose word lets a plan go: by the App, or by a signed tag in Git; for one plan, and for that alone.

use jiff::{SignedDuration, Timestamp};
use skiff_shared::gate::approval::{ApprovalTag, Word, Worthless, tag_name};
use skiff_shared::object::Digest;
use skiff_shared::policy::{ApprovalPolicy, Binds, Mode, Policy};
use skiff_shared::report::SyncStatus;
use skiff_shared::sync::effect::Notice;
use skiff_shared::sync::event::{Approval, Ask, Event};
use skiff_tests::sim::{End, Sim};
use skiff_tests::world::Meddling;

const MAP: &str = "ConfigMap/shop/a";

fn manual(approval: ApprovalPolicy) -> Sim {
    Sim::with_policy(Policy { mode: Mode::Manual, self_heal: false, approval, ..Policy::default() })
}

/// An app whose plans tags may approve.
fn by_tag() -> Sim {
    manual(ApprovalPolicy { by_tag: true, ..ApprovalPolicy::default() })
}

/// Returns the plan that waits.
fn waiting(sim: &mut Sim) -> Digest {
    sim.settle().expect("sound");
    let report = sim.report();
    assert_eq!(report.phase, "Waiting", "{report:?}");
    report.plan.expect("a plan waits").digest
}

fn good(made_at: Timestamp) -> Word {
    Word::Good { by: "ada@example".into(), made_at }
}

fn tag(plan: Digest, word: Word) -> ApprovalTag {
    let name = tag_name("lab", "shop", plan);
    ApprovalTag { name, app: "shop".into(), plan, object: "1".into(), word }
}

/// Tells what tags there are.
fn tell(sim: &mut Sim, tags: &[ApprovalTag]) {
    sim.say(0, Event::ApprovalTags(tags.to_vec()));
    sim.settle().expect("sound");
}

/// Returns reason and message of a condition; empty where there is none.
fn condition(sim: &Sim, kind: &str) -> (String, String) {
    let found = sim.report().conditions.into_iter().find(|condition| condition.kind == kind);
    found.map(|found| (found.reason, found.message)).unwrap_or_default()
}

fn told(sim: &Sim, word: &str) -> usize {
    let is_it = |notice: &&Notice| matches!(notice, Notice::Waiting { reason, .. } if *reason == word);
    sim.replicas[0].notices.iter().filter(is_it).count()
}

#[test]
fn a_signed_tag_lets_its_plan_go_and_is_on_record() {
    let mut sim = by_tag();
    sim.commit("c1", [MAP]);
    let plan = waiting(&mut sim);
    assert_eq!(sim.replicas[0].machine.sought(), [plan].into());
    let now = sim.world.now;
    tell(&mut sim, &[tag(plan, good(now))]);
    let report = sim.report();
    assert_eq!(report.sync, SyncStatus::Synced);
    let by = format!("ada@example by tag skiff/approve/lab/shop/{plan}");
    assert_eq!(report.history[0].approved_by.as_deref(), Some(&*by));
}

#[test]
fn tags_count_only_where_the_agents_file_says_so() {
    let mut sim = manual(ApprovalPolicy::default());
    sim.commit("c1", [MAP]);
    let plan = waiting(&mut sim);
    assert!(sim.replicas[0].machine.sought().is_empty());
    let now = sim.world.now;
    tell(&mut sim, &[tag(plan, good(now))]);
    assert_eq!(waiting(&mut sim), plan);
}

#[test]
fn a_worthless_tag_changes_nothing_and_says_why() {
    let mut sim = by_tag();
    sim.commit("c1", [MAP]);
    let plan = waiting(&mut sim);
    let bad = Worthless { reason: "SignerUnknown", message: "signed with another key".into() };
    tell(&mut sim, &[tag(plan, Word::Bad(bad))]);
    assert_eq!(waiting(&mut sim), plan);
    assert_eq!(condition(&sim, "ApprovalTag"), ("SignerUnknown".into(), "signed with another key".into()));
    assert_eq!(condition(&sim, "Ready").0, "WaitingForApproval");
    // It is moved to a good one.
    let now = sim.world.now;
    tell(&mut sim, &[ApprovalTag { object: "2".into(), ..tag(plan, good(now)) }]);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
    assert_eq!((told(&sim, "TagMoved"), condition(&sim, "ApprovalTag").0.as_str()), (1, ""));
}

#[test]
fn a_tag_for_an_older_plan_approves_nothing_and_says_so() {
    let mut sim = by_tag();
    sim.commit("c1", [MAP]);
    let first = waiting(&mut sim);
    tell(&mut sim, &[]);
    sim.commit("c2", ["ConfigMap/shop/a v2"]);
    let second = waiting(&mut sim);
    assert_ne!(first, second);
    tell(&mut sim, &[tag(first, Word::Unread)]);
    assert_eq!(waiting(&mut sim), second);
    assert_eq!(condition(&sim, "ApprovalTag").0, "TagOutdated");
    // A process that starts later does not know what is news.
    sim.restart(0);
    sim.settle().expect("sound");
    tell(&mut sim, &[tag(first, Word::Unread)]);
    assert_eq!(waiting(&mut sim), second);
    assert_eq!(condition(&sim, "ApprovalTag").0, "");
}

#[test]
fn a_tag_that_is_taken_away_before_the_plan_began_takes_the_word_back() {
    let mut sim = by_tag();
    sim.ask(Ask { paused: Some("lunch".into()), ..Ask::default() });
    sim.commit("c1", [MAP]);
    sim.settle().expect("sound");
    let plan = sim.report().plan.expect("a plan waits").digest;
    let now = sim.world.now;
    tell(&mut sim, &[tag(plan, good(now))]);
    assert!(sim.report().plan.is_some_and(|plan| plan.approved_by.is_some()));
    tell(&mut sim, &[]);
    sim.ask(Ask::default());
    assert_eq!(waiting(&mut sim), plan);
    assert_eq!((told(&sim, "TagDeleted"), condition(&sim, "ApprovalTag").0.as_str()), (1, "TagDeleted"));
    tell(&mut sim, &[tag(plan, good(now))]);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

#[test]
fn the_same_plan_once_more_needs_a_newer_tag() {
    let mut sim = by_tag();
    let mut tags = Vec::new();
    let lines = [["ConfigMap/shop/a v1"], ["ConfigMap/shop/a v2"], ["ConfigMap/shop/a v1"]];
    for (at, lines) in lines.into_iter().enumerate() {
        sim.commit(&format!("c{at}"), lines);
        let plan = waiting(&mut sim);
        let now = sim.world.now;
        tags.push(tag(plan, good(now)));
        tell(&mut sim, &tags);
        assert_eq!(sim.report().sync, SyncStatus::Synced);
        sim.wait(SignedDuration::from_mins(1)).expect("sound");
    }
    // What somebody commits again was approved once, and is not any more.
    sim.commit("c3", ["ConfigMap/shop/a v2"]);
    let again = waiting(&mut sim);
    assert_eq!(again, tags[1].plan, "it is the same plan");
    tell(&mut sim, &tags);
    assert_eq!(waiting(&mut sim), again);
    assert_eq!(condition(&sim, "ApprovalTag").0, "TagOutdated");
    let now = sim.world.now;
    let second = ApprovalTag { name: format!("{}-2", tags[1].name), ..tag(again, good(now)) };
    tags.push(second);
    tell(&mut sim, &tags);
    assert_eq!(sim.report().sync, SyncStatus::Synced);
}

fn say_yes(sim: &mut Sim, digest: Digest) {
    sim.ask(Ask { approval: Some(Approval { digest, by: "ops".into() }), ..Ask::default() });
}

/// Approves the first plan, and lets the second one wait behind a pause with an object drifted.
fn drifts_while_it_waits(binds: Binds) -> (Sim, Digest) {
    let mut sim = manual(ApprovalPolicy { binds, ..ApprovalPolicy::default() });
    sim.commit("c1", [MAP, "ConfigMap/shop/b"]);
    let first = waiting(&mut sim);
    say_yes(&mut sim, first);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    sim.commit("c2", [MAP, "ConfigMap/shop/b v2"]);
    let plan = waiting(&mut sim);
    sim.meddle(MAP, Meddling::TakeField);
    sim.settle().expect("sound");
    assert!(sim.report().rows.iter().any(|row| row.message.contains("changed")), "{:?}", sim.report().rows);
    (sim, plan)
}

#[test]
fn drift_that_is_found_later_does_not_void_an_approval() {
    let (mut sim, plan) = drifts_while_it_waits(Binds::Plan);
    assert_eq!(waiting(&mut sim), plan);
    say_yes(&mut sim, plan);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().history[0].approved_by.as_deref(), Some("ops"));
}

#[test]
fn an_approval_that_binds_to_what_is_live_is_void_when_it_drifts() {
    let (mut sim, plan) = drifts_while_it_waits(Binds::Live);
    let now = waiting(&mut sim);
    assert_ne!(now, plan);
    say_yes(&mut sim, plan);
    assert_eq!(waiting(&mut sim), now, "what was approved is not what is there");
    assert!(condition(&sim, "Ready").1.contains(&format!("the approval in force is for {plan}")));
    say_yes(&mut sim, now);
    assert_eq!(sim.settle().expect("sound"), End::Idle);
    assert_eq!(sim.report().history[0].approved_by.as_deref(), Some("ops"));
}
