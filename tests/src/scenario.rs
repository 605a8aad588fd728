//! Scenario folders: what is given in `given.txt`, the plan made of it in `plan.txt`, and what then
//! happens in `sync.txt`.
//!
//! `given.txt` has sections of indented lines in the notation of [`crate::notation`]:
//! - `policy:` words such as `prune=off maxShare=20 sensitive adopt=never invalid=skip selfHeal=off`;
//! - `before:` the set that was synced before, `claimed:` objects of it whose answers were lost;
//! - `live:` what others did: `ConfigMap/shop/a Delete`, `ConfigMap/shop/x planted argo`;
//! - `apis:` `incomplete <group>`; `claims:` `conflict|handed <object> <app>`;
//! - `desired:` what Git holds now.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use skiff_shared::desired::{Desired, ObjectOptions};
use skiff_shared::hook::{Release, SyncPhase};
use skiff_shared::inventory::{InventoryRow, Record, Shard};
use skiff_shared::managed_fields::ForeignOwner;
use skiff_shared::plan::{Candidate, Claims, Inputs, Plan, Preflight, Write, check, plan};
use skiff_shared::policy::{Adopt, OnInvalid, Policy, PruneWhen};
use skiff_shared::sync::effect::{Effect, Notice, ShardSlot};
use skiff_shared::sync::event::Event;

use crate::notation::{self, object};
use crate::sim::{End, Sim};
use crate::world::Meddling;

/// What a scenario gives, section by section.
type Given = BTreeMap<String, Vec<String>>;

/// What a scenario shows.
pub struct Shown {
    pub plan: String,
    pub sync: String,
}

/// Plays the scenario in a folder.
///
/// # Errors
/// Says what is broken.
pub fn play(folder: &Path) -> Result<Shown, String> {
    let text = std::fs::read_to_string(folder.join("given.txt")).map_err(|error| error.to_string())?;
    let given = read(&text)?;
    let mut sim = Sim::with_policy(policy(&given));
    before(&mut sim, &given)?;
    let claims = claims(&given);
    let lines = given.get("desired").map(Vec::as_slice).unwrap_or_default();
    let desired = notation::desired(&mut sim.world, "shop", "c1", lines.iter().map(String::as_str));
    let plan = planned(&sim, &desired, &claims)?;
    let sync = synced(&mut sim, desired, claims)?;
    Ok(Shown { plan, sync })
}

fn read(text: &str) -> Result<Given, String> {
    let mut given = Given::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            given.entry(section.clone()).or_default().push(line.trim().to_owned());
        } else {
            let (name, rest) = line.split_once(':').ok_or(format!("{line:?} is no section"))?;
            name.clone_into(&mut section);
            let known = ["policy", "before", "claimed", "live", "apis", "claims", "desired"];
            if !known.contains(&name) {
                return Err(format!("section {name:?} is not one of {known:?}"));
            }
            given.entry(section.clone()).or_default().extend(words(rest));
        }
    }
    Ok(given)
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split_whitespace().map(str::to_owned)
}

fn policy(given: &Given) -> Policy {
    let mut policy = Policy::default();
    for word in given.get("policy").into_iter().flatten() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("prune", "off") => policy.prune.enabled = false,
            ("prune", "applied") => policy.prune.when = PruneWhen::Applied,
            ("maxShare", share) => policy.prune.max_share = share.parse().expect("a share is a number"),
            ("sensitive", _) => policy.prune.sensitive_kinds = true,
            ("adopt", "never") => policy.adopt = Adopt::Never,
            ("adopt", "always") => policy.adopt = Adopt::Always,
            ("invalid", "skip") => policy.on_invalid = OnInvalid::Skip,
            ("selfHeal", "off") => policy.self_heal = false,
            (word, _) => panic!("unknown policy {word:?}"),
        }
    }
    policy
}

/// Syncs what was there before, and lets others do what they did.
fn before(sim: &mut Sim, given: &Given) -> Result<(), String> {
    let lines = given.get("before").map(Vec::as_slice).unwrap_or_default();
    if !lines.is_empty() {
        sim.commit("c0", lines.iter().map(String::as_str));
        sim.settle().map_err(|broken| broken.to_string())?;
    }
    for line in given.get("live").into_iter().flatten() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = object(words[0]);
        let argo = ForeignOwner::ArgoCd { application: "legacy".into() };
        match words[1] {
            "planted" => sim.world.plant(&id, words.contains(&"argo").then_some(argo)),
            what => {
                let named = Meddling::ALL.iter().find(|known| format!("{known:?}") == what);
                sim.world.meddle(&id, *named.ok_or(format!("nobody does {what:?}"))?);
            }
        }
    }
    let claimed: Vec<_> = given.get("claimed").into_iter().flatten().map(|line| object(line)).collect();
    if let Some(store) = sim.world.stores.get_mut("shop") {
        let rows = store.shards.values_mut().flat_map(|(_, shard)| &mut shard.rows);
        for row in rows.filter(|row| claimed.contains(&row.id)) {
            row.record = Record::Claimed;
        }
    }
    // An object in conflict is on the other app's record.
    for (id, app) in claims(given).conflicts {
        let row = InventoryRow {
            id,
            version: "v1".into(),
            wave: 0,
            options: ObjectOptions::default(),
            record: Record::Claimed,
            hook_run: None,
            recreation: None,
            parting: None,
        };
        let shard = Shard { rows: vec![row], ..Shard::default() };
        sim.world.stores.entry(app).or_default().save(ShardSlot { index: 0, count: 1 }, None, shard);
    }
    for group in given.get("apis").into_iter().flatten() {
        sim.world.apis.incomplete.extend(group.strip_prefix("incomplete ").map(Into::into));
    }
    sim.world.changes.clear();
    sim.replicas[0].desired = None;
    sim.restart(0);
    Ok(())
}

fn claims(given: &Given) -> Claims {
    let mut claims = Claims::default();
    for line in given.get("claims").into_iter().flatten() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let of = if words[0] == "conflict" { &mut claims.conflicts } else { &mut claims.handed_over };
        of.insert(object(words[1]), words[2].into());
    }
    claims
}

/// Plans, checks the plan and prints it.
fn planned(sim: &Sim, desired: &Desired, claims: &Claims) -> Result<String, String> {
    let given_before = sim.world.apps.get("shop").is_some_and(|(recorded, _)| recorded.applied.is_some());
    let rows: Vec<_> =
        sim.world.stores.get("shop").map(|store| store.rows().cloned().collect()).unwrap_or_default();
    let recorded = |id| rows.iter().find(|row: &&skiff_shared::inventory::InventoryRow| row.id == id);
    let wanted = desired.rows.iter().map(|row| Candidate {
        id: &row.id,
        version: &row.version,
        wanted: Some(row),
        record: recorded(row.id.clone()).map_or(&Record::None, |row| &row.record),
        options: row.options,
        wave: row.wave,
        yields: row.yields.as_ref(),
        rewrite: false,
        hook_run: recorded(row.id.clone()).and_then(|row| row.hook_run.as_deref()),
    });
    let is_wanted = |id| desired.rows.iter().any(|row| row.id == id);
    let orphans = rows.iter().filter(|row| !is_wanted(row.id.clone())).map(|row| Candidate {
        id: &row.id,
        version: &row.version,
        wanted: None,
        record: &row.record,
        options: ObjectOptions { ..row.options },
        wave: row.wave,
        yields: None,
        rewrite: false,
        hook_run: row.hook_run.as_deref(),
    });
    let candidates: Vec<_> = wanted.chain(orphans).collect();
    let policy = &sim.replicas[0].policy;
    let inputs = Inputs {
        desired,
        candidates: &candidates,
        apis: &sim.world.apis,
        policy,
        claims,
        assigned_before: None,
        release: Release { id: Release::id_of(desired, None), installs: !given_before },
        removal: None,
        confirmed: &HashSet::new(),
    };
    let plan = plan(&inputs);
    let broken = check::check(&inputs, &plan);
    if broken.is_empty() { Ok(print(&plan)) } else { Err(broken.join("\n")) }
}

fn print(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes everything");
    let phase = |write: &Write| match write.place.phase {
        SyncPhase::Sync if !write.is_hook => String::new(),
        phase => format!("{phase}{}, ", if write.is_hook { " hook" } else { "" }),
    };
    for write in plan.all_writes() {
        let how = match write.preflight {
            Preflight::DryRun => "",
            Preflight::Substitute => " (checked in another namespace)",
            Preflight::Skip => " (not checked)",
        };
        line(format!("{}wave {}: {} {}{how}", phase(write), write.place.wave, write.action, write.id));
    }
    for prune in &plan.prunes {
        let early = if prune.early { " (early)" } else { "" };
        line(format!("step {}: prune {}{early}", prune.step, prune.id));
    }
    for held in &plan.held {
        line(format!("held {}: {}", held.id, held.reason));
    }
    line(format!("unchanged: {}", plan.unchanged));
    text
}

/// Carries the set out and prints what was written, in order, and how it ended.
fn synced(sim: &mut Sim, desired: Arc<Desired>, claims: Claims) -> Result<String, String> {
    sim.say(0, Event::Apis(Arc::new(sim.world.apis.clone())));
    sim.replicas[0].words.push_back(vec![Event::Claims(claims), Event::Desired(desired)]);
    sim.writes = Some(Vec::new());
    let end = sim.settle().map_err(|broken| broken.to_string())?;
    let mut text = String::new();
    for effect in sim.writes.take().unwrap_or_default() {
        let words = match &effect {
            Effect::Apply(_, target, ..) | Effect::Create(_, target, _) => format!("apply {}", target.id),
            Effect::Adopt(_, target) => format!("adopt {}", target.id),
            Effect::Delete(_, target, ..) => format!("delete {}", target.id),
            Effect::Notice(Notice::SyncBlocked { problems, first }) => {
                format!("blocked: {problems}, {first}")
            }
            Effect::Notice(Notice::HookEnded { id, phase, ended }) => format!("{phase} hook {id}: {ended:?}"),
            Effect::Notice(Notice::SyncFailed { message }) => format!("failed: {message}"),
            _ => continue,
        };
        writeln!(text, "{words}").expect("a string takes everything");
    }
    let report = sim.report();
    let ready = &report.conditions[0];
    let words = [report.sync.word(), report.health.word(), &ready.reason, &ready.message];
    writeln!(text, "{}", words.join(", ")).expect("a string takes everything");
    for waits in &report.waiting_for {
        writeln!(text, "waits for {waits}").expect("a string takes everything");
    }
    if end == End::Idle {
        sim.stays_idle().map_err(|broken| broken.to_string())?;
    }
    Ok(text)
}
