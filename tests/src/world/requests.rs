//! How the server answers the agent's requests on objects.

use skiff_shared::desired::BodyDigest;
use skiff_shared::desired::yields::{Field, Yields};
use skiff_shared::health::Health;
use skiff_shared::inventory::{Applied, Uid};
use skiff_shared::managed_fields::Fields;
use skiff_shared::object::{ObjectId, Target};
use skiff_shared::sync::effect::{Content, DryRunIn, WithFields};
use skiff_shared::sync::event::{Answer, AppliedAnswer, Cause, Failure, Observation, Point, Refusal};

use super::{Body, Live, OWNED_REPLICAS, Scaler, World, has_health, is_as, sent_fixed, sent_replicas};
use crate::random::mix;

type Response = Result<Answer, Failure>;

pub fn cause(reason: Refusal, code: u16) -> Cause {
    Cause { reason, code, message: format!("the server says {}", reason.word()) }
}

impl World {
    pub fn dry_run(
        &self,
        target: &Target,
        content: &Content,
        place: DryRunIn,
        fields: WithFields,
    ) -> Response {
        let Content { body: digest, yields, uid: _, releases: _ } = content;
        let yields = yields.as_deref();
        self.admit(target, *digest, yields, place)?;
        let live = self.objects.get(&target.id).filter(|_| place != DryRunIn::Aside);
        let body = &self.bodies[digest];
        let mut entries = live.map(|live| live.fields).unwrap_or_default();
        if !live.is_some_and(|live| is_as(live, body, yields)) {
            entries.ours = self.owned_by(body, yields);
        }
        Ok(Answer::DryRun { exists: live.is_some(), fields: entries, owned: self.owned_set(fields) })
    }

    pub fn apply(&mut self, target: &Target, content: &Content, fields: WithFields) -> Response {
        let Content { body: digest, yields, uid, releases: _ } = content;
        self.admit(target, *digest, yields.as_deref(), DryRunIn::Place)?;
        let body = self.bodies[digest].clone();
        let found = self.objects.get(&target.id).map(|live| &live.uid);
        if uid.is_some() && uid.as_ref() != found {
            return Err(Failure::Replaced(cause(Refusal::Conflict, 409)));
        }
        if let Some(refusal) = body.refused_on_write {
            return Err(Failure::Rejected(cause(refusal, 403)));
        }
        if self.weather.quota_full {
            return Err(Failure::Rejected(cause(Refusal::QuotaExceeded, 403)));
        }
        match self.objects.get(&target.id) {
            None => self.apply_new(&target.id, &body, yields.as_deref()),
            Some(live) if is_as(live, &body, yields.as_deref()) => {}
            Some(_) => self.apply_over(&target.id, &body, yields.as_deref()),
        }
        let live = &self.objects[&target.id];
        let applied = Applied {
            body: *digest,
            yields: yields.clone(),
            uid: live.uid.clone(),
            rv: live.rv,
            generation: live.generation,
            fields: live.fields,
        };
        let seen = self.seen(live, 0);
        self.own.insert(target.id.clone(), applied.rv);
        Ok(Answer::Applied(Box::new(AppliedAnswer { applied, seen, owned: self.owned_set(fields) })))
    }

    /// Answers an apply that may only create.
    pub fn create_only(&mut self, target: &Target, digest: BodyDigest) -> Response {
        self.admit(target, digest, None, DryRunIn::Place)?;
        if self.objects.contains_key(&target.id) {
            return Err(Failure::Replaced(cause(Refusal::Conflict, 409)));
        }
        self.apply(target, &Content::whole(digest), WithFields::No)
    }

    fn owned_set(&self, fields: WithFields) -> Option<skiff_shared::managed_fields::FieldSet> {
        (fields == WithFields::Yes).then(|| self.forgery.whole.clone())
    }

    /// What every write, real or dry, must pass.
    fn admit(
        &self,
        target: &Target,
        digest: BodyDigest,
        yields: Option<&Yields>,
        place: DryRunIn,
    ) -> Result<(), Failure> {
        let id = &target.id;
        if !self.apis.served(id.kind(), &target.version) {
            return Err(Failure::NotFound(cause(Refusal::KindMissing, 404)));
        }
        if let (Some(namespace), DryRunIn::Place | DryRunIn::Aside) = (id.namespace(), place) {
            let home = ObjectId::new(self.namespace.clone(), None, namespace);
            match self.objects.get(&home) {
                None => return Err(Failure::NotFound(cause(Refusal::NamespaceMissing, 404))),
                Some(home) if home.deleting && !self.objects.contains_key(id) => {
                    return Err(Failure::Unavailable(cause(Refusal::NamespaceTerminating, 403)));
                }
                Some(_) => {}
            }
        }
        let body = self.bodies.get(&digest).expect("the machine names only bodies that were rendered");
        if let Some(refusal) = body.refused {
            return Err(Failure::Rejected(cause(refusal, 422)));
        }
        let is_new = place == DryRunIn::Aside || !self.objects.contains_key(id);
        if self.weather.creates_denied && is_new {
            return Err(Failure::Rejected(cause(Refusal::AdmissionDenied, 403)));
        }
        let cannot_change =
            |live: &Live| live.written && sent_fixed(body, yields).is_some_and(|fixed| live.fixed != fixed);
        if place != DryRunIn::Aside && self.objects.get(id).is_some_and(cannot_change) {
            return Err(Failure::Rejected(cause(Refusal::Invalid, 422)));
        }
        if self.weather.webhook_down {
            return Err(Failure::Unavailable(cause(Refusal::WebhookUnavailable, 500)));
        }
        Ok(())
    }

    fn apply_new(&mut self, id: &ObjectId, body: &Body, yields: Option<&Yields>) {
        let (uid, rv) = (self.next_uid(), self.next_rv());
        let waits = has_health(id);
        let live = Live {
            uid,
            rv,
            generation: 1,
            content: body.content,
            fixed: body.fixed,
            replicas: sent_replicas(body, yields).unwrap_or_default(),
            scaled_by: sent_replicas(body, yields).map_or(Scaler::Nobody, |_| Scaler::Us),
            fields: Fields { ours: self.owned_by(body, yields), others: 0, status: 0 },
            health: if waits { Health::Progressing } else { Health::Healthy },
            ready_in: body.ready_after.filter(|_| waits),
            fails: body.fails,
            finalizer: body.finalizer,
            deleting: false,
            labelled: true,
            app: Some(body.app.clone()),
            has_owner: false,
            hold_until: None,
            tool: None,
            foreign: None,
            provides: body.provides.clone(),
            silent: false,
            meddler: None,
            written: true,
        };
        self.create(id, live);
        self.announce(body);
    }

    fn apply_over(&mut self, id: &ObjectId, body: &Body, yields: Option<&Yields>) {
        let owned = self.owned_by(body, yields);
        let fixed = sent_fixed(body, yields);
        let is_left = yields.is_some_and(|yields| yields.fields.contains(&Field::replicas()));
        let replicas = sent_replicas(body, yields);
        let before = self.objects.get(id).map(|live| (live.replicas, live.scaled_by));
        let body = body.clone();
        let waits = has_health(id);
        let taken = body.clone();
        self.touch(id, move |live, _| {
            if live.content != taken.content {
                live.generation += 1;
                live.health = if waits { Health::Progressing } else { Health::Healthy };
                live.ready_in = taken.ready_after.filter(|_| waits);
            }
            live.fails = taken.fails;
            if live.meddler.take().is_some() {
                // Force takes the fields out of the other manager's entry.
                live.fields.others = mix(live.fields.others);
            }
            live.content = taken.content;
            live.fixed = fixed.unwrap_or(live.fixed);
            if let Some(replicas) = replicas {
                (live.replicas, live.scaled_by) = (replicas, Scaler::Us);
            } else if live.scaled_by == Scaler::Us {
                // A field that only we had and that we leave out is reset.
                (live.replicas, live.scaled_by) = (0, Scaler::Nobody);
            }
            live.fields.ours = owned;
            live.labelled = true;
            live.app = Some(taken.app);
            live.foreign = None;
            live.silent = false;
            live.provides = taken.provides;
            live.written = true;
        });
        if is_left && before.is_some_and(|(_, scaler)| scaler == Scaler::Us) {
            self.resets.push(id.clone());
        }
        self.announce(&body);
    }

    /// Lets our entry go of what is left to others.
    pub fn release(&mut self, target: &Target, yields: &Yields) -> Response {
        if !self.apis.served(target.id.kind(), &target.version) {
            return Err(Failure::NotFound(cause(Refusal::KindMissing, 404)));
        }
        let Some(live) = self.objects.get(&target.id) else { return Ok(Answer::Released(None)) };
        let uid = live.uid.clone();
        if live.scaled_by == Scaler::Us && yields.fields.contains(&Field::replicas()) {
            self.touch(&target.id, |live, _| {
                live.scaled_by = Scaler::Nobody;
                if let Some(ours) = &mut live.fields.ours {
                    ours.digest &= !OWNED_REPLICAS;
                }
            });
            self.own.insert(target.id.clone(), self.rv);
        }
        Ok(Answer::Released(Some(uid)))
    }

    /// A CustomResourceDefinition was written: its kind is served a little later.
    fn announce(&mut self, body: &Body) {
        let Some(kind) = &body.provides else { return };
        if !self.apis.kinds.contains_key(&**kind) && !self.coming.iter().any(|(coming, _)| coming == kind) {
            self.coming.push((kind.clone(), body.ready_after.unwrap_or(1)));
        }
    }

    /// Answers a GET; its point has no watch generation.
    pub fn get(&self, target: &Target) -> Response {
        if !self.apis.served(target.id.kind(), &target.version) {
            return Err(Failure::NotFound(cause(Refusal::KindMissing, 404)));
        }
        let observation = match self.objects.get(&target.id) {
            Some(live) => Observation::Present(Box::new(self.seen(live, 0))),
            None => Observation::Absent(Point { watch: 0, rv: self.rv }),
        };
        Ok(Answer::Got(observation))
    }

    /// Makes what others own ours; where nothing is left to take, nothing is written.
    pub fn adopt(&mut self, target: &Target) -> Response {
        if !self.apis.served(target.id.kind(), &target.version) {
            return Err(Failure::NotFound(cause(Refusal::KindMissing, 404)));
        }
        let Some(live) = self.objects.get(&target.id) else { return Ok(Answer::Adopted) };
        let digest = u128::from(live.content);
        if live.fields.ours.is_none_or(|ours| ours.digest != digest) {
            self.touch(&target.id, |live, now| {
                live.fields.others = mix(live.fields.others ^ 5);
                live.fields.ours =
                    Some(skiff_shared::managed_fields::Owned { digest, time: now.as_second() });
            });
        }
        Ok(Answer::Adopted)
    }

    pub fn delete(&mut self, target: &Target, uid: &Uid) -> Response {
        let Some(live) = self.objects.get(&target.id) else {
            return Err(Failure::NotFound(cause(Refusal::Unclassified, 404)));
        };
        if live.uid != *uid {
            return Err(Failure::Replaced(cause(Refusal::Conflict, 409)));
        }
        self.doom(&target.id);
        Ok(Answer::Deleted { gone: !self.objects.contains_key(&target.id) })
    }
}
