//! Performs effects: one request each, its answer sent back as `Event::Done`.
//!
//! It decides nothing and remembers nothing; what an answer means is the machine's business.

use std::sync::Arc;

use jiff::Timestamp;
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{BodyDigest, Desired, Propagation};
use skiff_shared::inventory::Uid;
use skiff_shared::object::Target;
use skiff_shared::report::Report;
use skiff_shared::sync::effect::{Content, DryRunIn, Effect, Release, Urgency, WithFields};
use skiff_shared::sync::event::{Answer, Event, Failure, Token};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::access::ClusterAccess;
use super::apps::WantedSets;
use super::herald::Herald;
use super::mailbox::Mailbox;
use super::past::Past;
use super::registry::Registry;
use crate::cluster::requests::{DryRunPlace, Sending};
use crate::lanes::Permit;
use crate::telemetry::AppTelemetry;

/// What one app's effects are performed with.
#[derive(Clone)]
pub struct Performer {
    pub app: Arc<str>,
    pub cluster: Arc<ClusterAccess>,
    pub mailbox: Arc<Mailbox>,
    pub telemetry: AppTelemetry,
    /// The newest report; the publisher sends it on.
    pub report: watch::Sender<Option<Box<Report>>>,
    pub tasks: TaskTracker,
    pub registry: Arc<Registry>,
    pub wanted: Arc<WantedSets>,
    pub past: Arc<Past>,
    pub herald: Herald,
}

impl Performer {
    /// Starts all effects of a step; none of them is waited for.
    pub fn start(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.start_one(effect);
        }
    }

    /// Waits until everything started has ended.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn start_one(&self, effect: Effect) {
        match effect {
            Effect::Watch(kind) => self.cluster.watches.ensure(&kind),
            Effect::Publish(report) => {
                self.cluster.state.revive(&self.app);
                self.telemetry.report(&report);
                self.report.send_replace(Some(report));
            }
            Effect::Finished(run) => self.telemetry.finished(&run),
            Effect::Notice(notice) => {
                self.telemetry.notice(&notice);
                self.herald.noticed(&self.app, notice);
            }
            Effect::StopWork => self.cluster.stop_work(),
            request => {
                if let Effect::Dissolve(_) = request {
                    // Known before a status that is on its way finds no App: it must not make one.
                    self.cluster.state.end(&self.app);
                }
                let performer = self.clone();
                self.tasks.spawn(async move { performer.perform(request).await });
            }
        }
    }

    async fn perform(&self, effect: Effect) {
        match effect {
            Effect::Load => self.load().await,
            Effect::Get(token, target) => {
                let result = self.cluster.requests.get(&target).await;
                self.done(token, result);
            }
            Effect::DryRun(token, target, content, place, fields) => {
                let result = self.dry_run(target, content, place, fields).await;
                self.done(token, result);
            }
            Effect::Apply(token, target, content, urgency, fields) => {
                let result = self.apply(target, content, urgency, fields).await;
                self.done(token, result);
            }
            Effect::Create(token, target, body) => {
                let result = self.create(target, body).await;
                self.done(token, result);
            }
            Effect::Adopt(token, target) => {
                let result = self.adopt(&target).await;
                self.done(token, result);
            }
            Effect::Delete(token, target, uid, propagation) => {
                let result = self.delete(&target, &uid, propagation).await;
                self.done(token, result);
            }
            Effect::Release(token, target, body, yields) => {
                let result = self.release(&target, body, &yields).await;
                self.done(token, result);
            }
            Effect::Save(token, slot, shard) => {
                let result = self.cluster.state.save(&self.app, slot, &shard).await;
                self.done(token, result.map(|()| Answer::Saved));
            }
            Effect::Keep(token, _, bodies) => {
                let result = self.cluster.state.keep(&self.app, bodies, self.cluster.store.clone()).await;
                self.done(token, result.map(Answer::Kept));
            }
            Effect::Pin(token, release) => {
                let result = self.pin(release).await;
                self.done(token, result);
            }
            Effect::Dissolve(token) => {
                let result = self.dissolve().await;
                self.done(token, result);
            }
            Effect::Forget(names) => self.cluster.state.forget_renders(&self.app, &names).await,
            Effect::ForgetShards { below } => self.cluster.state.forget_shards(&self.app, below).await,
            Effect::Watch(_)
            | Effect::Publish(_)
            | Effect::Finished(_)
            | Effect::Notice(_)
            | Effect::StopWork => {}
        }
    }

    fn done(&self, token: Token, result: Result<Answer, Failure>) {
        self.mailbox.send(Event::Done { token, result });
    }

    /// Reads the recorded state until it is there: without it nothing may be decided.
    async fn load(&self) {
        // Bodies that are restored for it are nobody's until the driver has counted them.
        let _hold = self.cluster.store.hold();
        let loaded = self.cluster.load(&self.app).await;
        self.mailbox.send(Event::Loaded(Box::new(loaded)));
    }

    /// Follows a release, or Git again. Everybody is told first who has which object then.
    async fn pin(&self, release: Option<Box<Release>>) -> Result<Answer, Failure> {
        // Bodies that are restored for it are nobody's until the set is known as wanted.
        let _hold = self.cluster.store.hold();
        let set = match release {
            Some(release) => Some(Arc::new(self.recall(&release).await?)),
            None => None,
        };
        self.wanted.pin(&self.app, set.clone(), &self.registry);
        self.wanted.tell_claims(&self.registry);
        Ok(Answer::Pinned(set))
    }

    /// Returns the set of a release: as it is stored, or rendered again where it is not, or not wholly.
    async fn recall(&self, release: &Release) -> Result<Desired, Failure> {
        let (state, store) = (&self.cluster.state, &self.cluster.store);
        match state.recall(release, store, &self.cluster.interner).await {
            Err(Failure::Rejected(cause)) => {
                tracing::info!(app = %self.app, why = cause.message, "a release is rendered again from Git");
                let environment = self.registry.environment_of(&self.app).ok_or(Failure::NotSent)?;
                self.past.render(&environment, &self.app, release).await
            }
            recalled => recalled,
        }
    }

    async fn dry_run(
        &self,
        target: Target,
        content: Content,
        place: DryRunIn,
        fields: WithFields,
    ) -> Result<Answer, Failure> {
        let sending = self.sending(target, content, fields).await?;
        let place = match place {
            DryRunIn::Place => DryRunPlace::Own,
            DryRunIn::Aside => DryRunPlace::Aside,
            DryRunIn::Substitute => DryRunPlace::Substitute(&self.cluster.namespace),
        };
        let _permit = self.cluster.lanes.enter(Urgency::DryRun, &self.app).await;
        self.cluster.requests.dry_run(&sending, place).await
    }

    async fn apply(
        &self,
        target: Target,
        content: Content,
        urgency: Urgency,
        fields: WithFields,
    ) -> Result<Answer, Failure> {
        let sending = self.sending(target, content, fields).await?;
        let _permit = self.may_write(urgency).await?;
        self.cluster.requests.apply(&sending).await
    }

    async fn create(&self, target: Target, digest: BodyDigest) -> Result<Answer, Failure> {
        let sending = self.sending(target, Content::whole(digest), WithFields::No).await?;
        let _permit = self.may_write(Urgency::Apply).await?;
        self.cluster.requests.create(&sending).await
    }

    async fn adopt(&self, target: &Target) -> Result<Answer, Failure> {
        let _permit = self.may_write(Urgency::Apply).await?;
        self.cluster.requests.adopt(target).await
    }

    async fn delete(&self, target: &Target, uid: &Uid, propagation: Propagation) -> Result<Answer, Failure> {
        let _permit = self.may_write(Urgency::Apply).await?;
        self.cluster.requests.delete(target, uid, propagation).await
    }

    async fn dissolve(&self) -> Result<Answer, Failure> {
        let _permit = self.may_write(Urgency::Apply).await?;
        self.cluster.state.dissolve(&self.app).await?;
        self.telemetry.gone();
        self.herald.gone(&self.app);
        tracing::info!(app = %self.app, "the app is no more: nothing of it is recorded, and what asks to be kept stays");
        Ok(Answer::Dissolved)
    }

    /// Waits for a lane. What was decided under the Lease may have waited longer than that lasts.
    async fn may_write(&self, urgency: Urgency) -> Result<Permit, Failure> {
        let permit = self.cluster.lanes.enter(urgency, &self.app).await;
        if self.cluster.right.lasts(Timestamp::now()) { Ok(permit) } else { Err(Failure::NotSent) }
    }

    async fn sending(
        &self,
        target: Target,
        content: Content,
        with_fields: WithFields,
    ) -> Result<Sending, Failure> {
        let Content { body: digest, yields, uid, releases } = content;
        let body = self.cluster.body(digest).await?;
        Ok(Sending { target, digest, body, yields, uid, releases, with_fields })
    }

    async fn release(&self, target: &Target, body: BodyDigest, yields: &Yields) -> Result<Answer, Failure> {
        let body = self.cluster.body(body).await?;
        let _permit = self.may_write(Urgency::Apply).await?;
        self.cluster.requests.release(target, &body, yields).await
    }
}
