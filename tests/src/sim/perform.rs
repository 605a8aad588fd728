//! What becomes of an effect on its way to the server and back.

use std::collections::BTreeSet;
use std::sync::Arc;

use skiff_shared::desired::{Desired, ObjectOptions};
use skiff_shared::inventory::Found;
use skiff_shared::object::ObjectId;
use skiff_shared::sync::effect::{Effect, Release};
use skiff_shared::sync::event::{Answer, Event, Failure, Loaded, Refusal, Token};

use super::Sim;
use crate::rules::{self, Kept};
use crate::world::{Live, Store, World, cause};

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Fine,
    /// It never arrives, and nobody knows.
    LostOnTheWay,
    /// It is carried out, and its answer is lost.
    LostOnReturn,
    /// The server is too busy.
    Throttled,
    /// The server fails.
    Unavailable,
    /// The agent does not send it.
    NotSent,
}

/// Returns the token by which an effect is answered.
pub fn token(effect: &Effect) -> Option<Token> {
    match effect {
        Effect::Get(token, _)
        | Effect::DryRun(token, ..)
        | Effect::Apply(token, ..)
        | Effect::Create(token, ..)
        | Effect::Adopt(token, _)
        | Effect::Release(token, ..)
        | Effect::Delete(token, ..)
        | Effect::Save(token, ..)
        | Effect::Keep(token, ..)
        | Effect::Pin(token, _)
        | Effect::Dissolve(token) => Some(*token),
        _ => None,
    }
}

impl Sim {
    /// Lets the server have one of a process's effects.
    ///
    /// # Errors
    /// Names the rule that the cluster breaks afterwards.
    pub fn perform(&mut self, at: usize, index: usize, fate: Fate) -> Kept {
        let effect = self.replicas[at].sent.remove(index);
        let token = token(&effect);
        // The state is read again and again until it is there.
        let fate = if matches!(effect, Effect::Load) { Fate::Fine } else { fate };
        // A write that waited for its turn does not leave without the Lease.
        let held = self.replicas[at].until.is_some();
        let fate = if rules::is_write(&effect) && !held { Fate::NotSent } else { fate };
        if matches!(fate, Fate::Fine | Fate::LostOnReturn) {
            rules::of_arrival(&self.world, &self.replicas[at], &effect)?;
        }
        if fate != Fate::Fine {
            self.note(|| format!("    {:?} {fate:?}", token));
        }
        let made = match &effect {
            Effect::Create(_, target, _) | Effect::Apply(_, target, ..)
                if !self.world.objects.contains_key(&target.id) =>
            {
                Some(target.id.clone())
            }
            _ => None,
        };
        let result = match fate {
            Fate::Fine => self.carry_out(at, effect),
            Fate::LostOnReturn => {
                self.carry_out(at, effect);
                Some(Err(Failure::Unknown("the stream broke".to_owned())))
            }
            Fate::LostOnTheWay => Some(Err(Failure::Unknown("no answer in time".to_owned()))),
            Fate::Throttled => Some(Err(Failure::Throttled(Some(jiff::SignedDuration::from_secs(1))))),
            Fate::Unavailable => {
                let cause = cause(Refusal::ServerError, 500);
                Some(Err(Failure::Unavailable(cause)))
            }
            Fate::NotSent => Some(Err(Failure::NotSent)),
        };
        if let (Some(token), Some(result)) = (token, result) {
            let version = self.world.version();
            self.replicas[at].note_refusal(token, &result, version);
            self.replicas[at].answer(token, result);
        }
        if let Some(id) = made.filter(|id| self.world.objects.contains_key(id)) {
            rules::ran_once(&mut self.world, &self.replicas[at], &id)?;
        }
        self.flow();
        if self.world.objects.len() < 60 { rules::of_world(&self.world) } else { Ok(()) }
    }

    /// Lets the server do what an effect says; returns the answer where there is one.
    fn carry_out(&mut self, at: usize, effect: Effect) -> Option<Result<Answer, Failure>> {
        let world = &mut self.world;
        let app = self.replicas[at].app.clone();
        match effect {
            Effect::Get(_, target) => Some(world.get(&target)),
            Effect::DryRun(_, target, content, place, fields) => {
                Some(world.dry_run(&target, &content, place, fields))
            }
            Effect::Apply(_, target, content, _, fields) => Some(world.apply(&target, &content, fields)),
            Effect::Create(_, target, body) => Some(world.create_only(&target, body)),
            Effect::Release(_, target, _, yields) => Some(world.release(&target, &yields)),
            Effect::Adopt(_, target) => Some(world.adopt(&target)),
            Effect::Delete(_, target, uid, _) => Some(world.delete(&target, &uid)),
            Effect::Save(_, slot, _) if world.weather.state_full && !world.has_shard(&app, slot) => {
                Some(full())
            }
            Effect::Save(_, slot, shard) => {
                let replica = &mut self.replicas[at];
                let known = replica.revisions.get(&slot).copied();
                let store = world.stores.entry(app).or_default();
                match store.save(slot, known, *shard) {
                    Some(revision) => {
                        replica.revisions.insert(slot, revision);
                        Some(Ok(Answer::Saved))
                    }
                    None => Some(Err(Failure::Fenced)),
                }
            }
            Effect::Keep(..) if world.weather.state_full => Some(full()),
            Effect::Keep(_, _, bodies) => {
                Some(Ok(Answer::Kept(world.stores.entry(app).or_default().keep(&bodies))))
            }
            Effect::Pin(_, release) => {
                Some(release.map_or(Ok(Answer::Pinned(None)), |release| recall(world, &app, &release)))
            }
            Effect::Dissolve(_) => {
                // What is still on record is let go of on purpose.
                for row in world.stores.remove(&app).iter().flat_map(Store::rows) {
                    if let Some(live) = world.objects.get_mut(&row.id) {
                        live.written = false;
                    }
                }
                world.apps.remove(&app);
                self.replicas[at].revisions.clear();
                Some(Ok(Answer::Dissolved))
            }
            Effect::Load => {
                let (recorded, ask) = world.apps.get(&app).cloned().unwrap_or_default();
                let marked = marked(world, &app);
                let store = world.stores.entry(app).or_default();
                let (mut inventory, revisions) = (store.load(), store.revisions());
                if recorded.applied.is_some() && inventory.is_incomplete() {
                    inventory.rebuild(marked);
                }
                let replica = &mut self.replicas[at];
                replica.revisions = revisions;
                let loaded = Loaded { inventory, recorded, ask };
                replica.answers.push(Event::Loaded(Box::new(loaded)));
                None
            }
            Effect::Forget(names) => {
                store(world, &app).forget(&names);
                None
            }
            Effect::ForgetShards { below } => {
                store(world, &app).forget_shards(below);
                None
            }
            Effect::StopWork => {
                let lost = self.replicas[at].lose_lease();
                let lease = self.replicas[at].lease(world.now);
                self.replicas[at].words.push_front(vec![lease]);
                self.replicas[at].words.push_front(vec![lost]);
                None
            }
            _ => None,
        }
    }
}

/// Reads a release back from what is stored, as the agent does: what comes out must be the release to the last body.
/// Where it is not, the release is rendered again from Git.
fn recall(world: &World, app: &Arc<str>, release: &Release) -> Result<Answer, Failure> {
    let bodies = world.stores.get(app).and_then(|store| store.recall(release));
    let set = world.sets.get(&release.render);
    let set = set.ok_or_else(|| Failure::NotFound(cause(Refusal::Unclassified, 404)))?;
    if world.git_away && bodies != Some(set.rows.iter().map(|row| row.body).collect::<BTreeSet<_>>()) {
        return Err(Failure::Unavailable(cause(Refusal::Unclassified, 0)));
    }
    let mut set = Desired::clone(set);
    set.revision = release.revision.clone();
    set.assignment = release.assignment.clone();
    Ok(Answer::Pinned(Some(Arc::new(set))))
}

/// Returns the objects that carry an app's marks, as the agent finds them where an inventory is lost.
fn marked(world: &World, app: &Arc<str>) -> Vec<Found> {
    let is_its =
        |live: &Live| live.labelled && live.written && !live.has_owner && live.app.as_ref() == Some(app);
    let objects = world.objects.iter().filter(|(_, live)| is_its(live) && !live.deleting);
    let found = |id: &ObjectId| Found {
        id: id.clone(),
        version: "v1".into(),
        wave: 0,
        options: ObjectOptions::default(),
    };
    objects.map(|(id, _)| found(id)).collect()
}

fn store<'a>(world: &'a mut crate::world::World, app: &std::sync::Arc<str>) -> &'a mut Store {
    world.stores.entry(app.clone()).or_default()
}

/// The answer of a namespace whose quota is used up.
fn full() -> Result<Answer, Failure> {
    Err(Failure::Rejected(cause(Refusal::QuotaExceeded, 403)))
}
