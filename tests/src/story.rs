//! Whole lives out of a seed: commits, faults, crashes and meddlers in chaos, then a fair end in which
//! everything must come right.

mod chaos;
mod verdict;

use std::sync::Arc;

use skiff_shared::desired::Desired;
use skiff_shared::gate::approval::{self, ApprovalTag, Word};
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::object::Digest;
use skiff_shared::policy::{Adopt, Binds, Mode, OnInvalid, Policy, PruneWhen};
use skiff_shared::sync::event::{Approval, Ask, Event};

use crate::notation;
use crate::random::Random;
use crate::rules::{Broken, Kept};
use crate::sim::{End, Sim};

/// The objects that lives are made of.
const OBJECTS: [&str; 21] = [
    "ConfigMap/shop/a",
    "ConfigMap/shop/b",
    "ConfigMap/other/c",
    "Secret/shop/s",
    "Deployment/shop/web",
    "Deployment/shop/api",
    "Job/shop/migrate",
    "ClusterRole/reader",
    "Namespace/fresh",
    "ConfigMap/fresh/d",
    "Deployment/fresh/e",
    "CustomResourceDefinition/widgets",
    "Widget/shop/w1",
    "Widget/shop/w2",
    "StatefulSet/shop/db",
    "ValidatingWebhookConfiguration/guard",
    "APIService/v1.metrics",
    "Job/shop/hook-a",
    "Job/shop/hook-b",
    "ConfigMap/shop/hook-c",
    "Job/fresh/hook-d",
];

/// The phases that hooks of lives name.
const PHASES: [&str; 7] =
    ["PreSync", "PreSync", "Sync", "PostSync", "SyncFail", "PreSync,PostSync", "PostSync,SyncFail"];

/// Their delete policies; the first is the default.
const POLICIES: [&str; 5] = ["before", "before,succeeded", "succeeded,failed", "before,failed", "succeeded"];

/// What a life may suffer, in percent of its steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub requests: usize,
    pub crashes: usize,
    pub leases: usize,
    pub watches: usize,
    pub meddling: usize,
    pub weather: usize,
    pub words: usize,
}

/// One life, ready to be lived.
pub struct Story {
    random: Random,
    faults: Faults,
    /// Sets that Git holds one after the other.
    commits: Vec<Vec<String>>,
    next_commit: usize,
    /// The newest set told.
    head: Option<Arc<Desired>>,
    ask: Ask,
    /// Tags in Git that approve.
    tags: Vec<ApprovalTag>,
    pub sim: Sim,
}

/// A life that kept all rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Things that happened in it.
    pub steps: u64,
}

/// Lives one life; on failure says which rule was broken and, if asked, how it came to that.
///
/// # Errors
/// Names the rule and tells the life.
pub fn live(seed: u64, tell: bool) -> Result<Ended, String> {
    let mut story = Story::new(seed);
    story.sim.trace = tell.then(Vec::new);
    match story.whole() {
        Ok(()) => Ok(Ended { steps: story.sim.steps }),
        Err(broken) => {
            let trace: String =
                story.sim.trace.take().unwrap_or_default().iter().map(|line| format!("{line}\n")).collect();
            Err(format!("{trace}SKIFF_SIM_SEED={seed}: {broken}"))
        }
    }
}

impl Story {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let policy = policy(&mut random);
        let mut sim = Sim::new();
        sim.limits.in_flight = *random.pick(&[2, 4, 32]);
        sim.start("shop", policy.clone());
        if random.chance(20) {
            sim.start("shop", policy);
            sim.replicas[1].words.clear();
            sim.replicas[1].until = None;
        }
        let mut some = |percent: usize, most: usize| {
            if random.chance(percent) { 1 + random.below(most) } else { 0 }
        };
        let faults = Faults {
            requests: some(60, 30),
            crashes: some(50, 6),
            leases: some(40, 4),
            watches: some(60, 10),
            meddling: some(60, 10),
            weather: some(30, 4),
            words: some(30, 3),
        };
        let commits = commits(&mut random);
        for object in OBJECTS {
            if random.chance(8) {
                let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
                sim.world.plant(&notation::object(object), random.chance(50).then_some(argo));
            }
        }
        sim.world.changes.clear();
        let (ask, tags) = (Ask::default(), Vec::new());
        Self { random, faults, commits, next_commit: 0, head: None, ask, tags, sim }
    }

    fn whole(&mut self) -> Kept {
        self.commit();
        for _ in 0..20 + self.random.below(220) {
            self.chaos()?;
        }
        self.make_fair();
        let mut end = self.sim.run(Some(&mut self.random))?;
        for _ in 0..6 {
            if !self.approve() {
                break;
            }
            end = self.sim.run(Some(&mut self.random))?;
        }
        self.judge(end)?;
        self.afterlife(end)
    }

    /// Tells all processes of the next set, if there is one.
    fn commit(&mut self) -> bool {
        let Some(lines) = self.commits.get(self.next_commit) else { return false };
        self.next_commit += 1;
        let commit = format!("c{}", self.next_commit);
        let lines = lines.iter().map(String::as_str);
        let desired = notation::desired(&mut self.sim.world, "shop", &commit, lines);
        for at in 0..self.sim.replicas.len() {
            self.sim.say(at, Event::Desired(desired.clone()));
        }
        self.head = Some(desired);
        true
    }

    fn say(&mut self, event: &Event) {
        for at in 0..self.sim.replicas.len() {
            self.sim.say(at, event.clone());
        }
    }

    /// Approves the plan that waits for it; returns whether there was one.
    fn approve(&mut self) -> bool {
        let lead = self.lead();
        let replica = &self.sim.replicas[lead];
        let Some(plan) = replica.machine.report().plan else { return false };
        if replica.policy.mode != Mode::Manual || plan.approved_by.is_some() {
            return false;
        }
        if replica.policy.approval.by_tag && self.random.chance(60) {
            self.tag(plan.digest);
            return true;
        }
        self.ask.approval = Some(Approval { digest: plan.digest, by: "ops".into() });
        self.say(&Event::Asked(self.ask.clone()));
        true
    }

    /// Approves a plan by a tag in Git.
    fn tag(&mut self, plan: Digest) {
        let name = format!("{}-{}", approval::tag_name("lab", "shop", plan), self.sim.steps);
        let word = Word::Good { by: "ada".into(), made_at: self.sim.world.now };
        self.tags.push(ApprovalTag { name, app: "shop".into(), plan, object: "1".into(), word });
        self.say(&Event::ApprovalTags(self.tags.clone()));
    }

    /// The process that holds the Lease.
    fn lead(&self) -> usize {
        self.sim.replicas.iter().position(|replica| replica.until.is_some()).unwrap_or(0)
    }

    /// Ends all faults: what follows must come right.
    fn make_fair(&mut self) {
        self.sim.note(|| "--- from here on the world is fair".to_owned());
        while self.commit() {}
        self.sim.world.weather = crate::world::Weather::default();
        let (paused, pinned) = (self.ask.paused.take(), self.ask.pin.take());
        if paused.is_some() || pinned.is_some() {
            self.sim.world.runs.clear();
            self.say(&Event::Asked(self.ask.clone()));
        }
        if self.sim.replicas.iter().all(|replica| replica.until.is_none()) {
            let now = self.sim.world.now;
            let lease = self.sim.replicas[0].lease(now);
            self.sim.say(0, lease);
        }
        self.sim.tell_apis();
        self.sim.flow();
    }

    /// After the end: nothing more happens, nothing is written anew, and a restart writes nothing.
    fn afterlife(&mut self, end: End) -> Kept {
        if end != End::Idle {
            return Ok(());
        }
        self.sim.stays_idle()?;
        let lead = self.lead();
        let synced = self.sim.replicas[lead].machine.report().sync.word() == "Synced";
        if !synced {
            return Ok(());
        }
        self.sim.reset();
        self.ask.sync = Some("again".to_owned());
        self.say(&Event::Asked(self.ask.clone()));
        self.sim.run(Some(&mut self.random))?;
        // A word to sync is a release: hooks run for it.
        if self.head.as_ref().is_none_or(|head| head.rows.iter().all(|row| row.hook.is_none())) {
            self.nothing_written("planning-again-yields-nothing")?;
        }
        if self.approve() {
            self.sim.run(Some(&mut self.random))?;
        }
        if !self.sim.replicas[lead].machine.report().conditions[0].status {
            return Ok(());
        }
        self.sim.reset();
        self.sim.restart(lead);
        self.sim.run(Some(&mut self.random))?;
        self.nothing_written("a-restart-writes-nothing")
    }

    fn nothing_written(&self, rule: &'static str) -> Kept {
        let counts: Vec<_> = self.sim.replicas.iter().map(|replica| replica.counts).collect();
        let none = counts.iter().all(|counts| counts.writes() == 0);
        if none { Ok(()) } else { Err(Broken { rule, what: format!("{counts:?}") }) }
    }
}

fn policy(random: &mut Random) -> Policy {
    let mut policy = Policy::default();
    if random.chance(20) {
        policy.mode = Mode::Manual;
        policy.approval.by_tag = random.chance(50);
        policy.approval.binds = *random.pick(&[Binds::Plan, Binds::Plan, Binds::Live]);
    }
    policy.self_heal = random.chance(85);
    policy.adopt = *random.pick(&[Adopt::IfUnowned, Adopt::IfUnowned, Adopt::Always, Adopt::Never]);
    policy.on_invalid = *random.pick(&[OnInvalid::Block, OnInvalid::Skip]);
    policy.prune.enabled = random.chance(85);
    policy.prune.when = *random.pick(&[PruneWhen::Healthy, PruneWhen::Applied]);
    policy.prune.sensitive_kinds = random.chance(60);
    policy
}

/// Makes the sets that Git holds one after the other.
fn commits(random: &mut Random) -> Vec<Vec<String>> {
    let spirited = random.chance(40);
    let universe: Vec<&str> = OBJECTS.iter().copied().filter(|_| random.chance(45)).collect();
    let mut present: Vec<Option<String>> =
        universe.iter().map(|object| random.chance(75).then(|| line(random, object, spirited))).collect();
    let mut commits = Vec::new();
    for _ in 0..1 + random.below(4) {
        commits.push(present.iter().flatten().cloned().collect());
        for (object, line_of) in universe.iter().zip(&mut present) {
            if random.chance(40) {
                *line_of = random.chance(70).then(|| line(random, object, spirited));
            }
        }
    }
    commits
}

/// Writes one object's line; a spirited life has objects that are refused or never healthy.
fn line(random: &mut Random, object: &str, spirited: bool) -> String {
    use std::fmt::Write as _;
    let mut line = format!("{object} v{}", 1 + random.below(3));
    let mut word = |percent: usize, word: &str| {
        if random.chance(percent) {
            write!(line, " {word}").expect("a string takes everything");
        }
    };
    word(15, "wave=1");
    word(10, "wave=-1");
    word(5, "wave=2");
    word(30, "ready=3");
    if object.starts_with("Deployment") {
        word(60, "replicas");
        word(25, "yields");
    }
    if object.starts_with("Job") || object.starts_with("Secret") {
        word(30, "fixed=1");
        word(70, "force");
    }
    word(15, "finalizer=2");
    word(6, "keep");
    word(4, "confirm");
    word(5, "unjudged");
    word(5, "unchecked");
    if spirited {
        word(6, "ready=never");
        word(6, "forbidden");
        word(3, "finalizer=stuck");
        if object.starts_with("ConfigMap/shop") {
            word(10, "refused");
        }
    }
    if object.contains("/hook-") {
        word(20, "install=never");
        word(if spirited { 25 } else { 0 }, "fails");
        let (phases, policy) = (random.pick(&PHASES), random.pick(&POLICIES));
        write!(line, " hook={phases} delete={policy}").expect("a string takes everything");
    }
    if object.ends_with("widgets") {
        line.push_str(" provides=Widget");
    }
    line
}
