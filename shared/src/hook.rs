//! Hooks: objects that a release runs once instead of keeping them as they are.
//!
//! Between render and machine: annotations become a [`Hook`], the inventory remembers its newest [`HookRun`], and
//! [`Hook::left`] says which phases of a release it still has to run in. The words are Argo CD's, and so is the mapping
//! of Helm's; where Argo CD runs hooks of an installation at every sync, [`Release::installs`] decides.

use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::inventory::Uid;
use crate::object::{Digest, Hashing};

/// The part of a sync that an object is written in, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default, Serialize, Deserialize)]
pub enum SyncPhase {
    /// Before the objects of an app that is deleted go.
    PreDelete,
    PreSync,
    /// That of every object that is no hook.
    #[default]
    Sync,
    /// After everything of the sync is healthy.
    PostSync,
    /// When they are gone.
    PostDelete,
    /// Only after a failure.
    SyncFail,
}

impl SyncPhase {
    pub const ALL: [Self; 6] =
        [Self::PreDelete, Self::PreSync, Self::Sync, Self::PostSync, Self::PostDelete, Self::SyncFail];

    pub fn word(self) -> &'static str {
        match self {
            Self::PreDelete => "PreDelete",
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::PostDelete => "PostDelete",
            Self::SyncFail => "SyncFail",
        }
    }

    /// Whether it belongs to the deletion of an app.
    pub fn is_of_deletion(self) -> bool {
        matches!(self, Self::PreDelete | Self::PostDelete)
    }

    /// Reads an Argo CD hook type that is a phase.
    pub fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.word() == word)
    }
}

impl std::fmt::Display for SyncPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// A set of phases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<SyncPhase>", into = "Vec<SyncPhase>")]
pub struct Phases(u8);

impl Phases {
    #[must_use]
    pub fn with(self, phase: SyncPhase) -> Self {
        Self(self.0 | 1 << phase as u8)
    }

    pub fn contains(self, phase: SyncPhase) -> bool {
        self.0 & 1 << phase as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the phases in their order.
    pub fn iter(self) -> impl Iterator<Item = SyncPhase> {
        SyncPhase::ALL.into_iter().filter(move |phase| self.contains(*phase))
    }
}

impl FromIterator<SyncPhase> for Phases {
    fn from_iter<I: IntoIterator<Item = SyncPhase>>(phases: I) -> Self {
        phases.into_iter().fold(Self::default(), Self::with)
    }
}

impl From<Vec<SyncPhase>> for Phases {
    fn from(phases: Vec<SyncPhase>) -> Self {
        phases.into_iter().collect()
    }
}

impl From<Phases> for Vec<SyncPhase> {
    fn from(phases: Phases) -> Self {
        phases.iter().collect()
    }
}

/// When a hook's object is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeletePolicy {
    /// Right before it is created anew: without this it is applied over what is there.
    pub before_creation: bool,
    pub succeeded: bool,
    pub failed: bool,
}

impl Default for DeletePolicy {
    fn default() -> Self {
        Self { before_creation: true, succeeded: false, failed: false }
    }
}

/// What makes an object a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hook {
    /// The phases it runs in when the app is synced here for the first time.
    pub install: Phases,
    /// The phases it runs in ever after.
    pub upgrade: Phases,
    /// The phases it runs in when the app is deleted.
    pub deletion: Phases,
    pub delete: DeletePolicy,
}

/// One release of an app: what its hooks run once for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Release {
    pub id: Digest,
    /// The app has never been synced here before.
    pub installs: bool,
}

impl Release {
    /// Returns the identity of what a rendered set and a person's word to sync ask for. The same set is released again
    /// only by another word, or after another set.
    pub fn id_of(desired: &Desired, word: Option<&str>) -> Digest {
        Hashing::default().part(&desired.render.0).part(word.unwrap_or_default().as_bytes()).finish()
    }
}

/// How far a hook has come in the newest release, as the inventory has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HookRun {
    pub release: Digest,
    /// Whether that release is the app's first one here.
    pub installs: bool,
    /// The phase that it has last begun to run in; `None` before the first.
    pub phase: Option<SyncPhase>,
    /// The phases in which it has ended.
    pub done: Phases,
    /// The object that stands in its place, until that has been deleted or is applied over.
    pub before: Option<Uid>,
    /// How it ended in `phase`; `None` while it runs, or is about to.
    pub ended: Option<Ended>,
}

/// A hook of the app's deletion, as the inventory remembers it: an app that is no longer in Git still has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parting {
    pub body: Digest,
    pub phases: Phases,
    pub delete: DeletePolicy,
}

impl Parting {
    /// Returns what is to be remembered of an object as Git has it.
    pub fn of(body: Digest, hook: Option<&Hook>) -> Option<Self> {
        let hook = hook?.at_deletion()?;
        Some(Self { body, phases: hook.deletion, delete: hook.delete })
    }

    /// Returns the hook that runs when the app is deleted.
    pub fn hook(&self) -> Hook {
        let Self { body: _, phases, delete } = *self;
        Hook { install: phases, upgrade: phases, deletion: phases, delete }
    }
}

/// How a hook ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    Succeeded,
    /// With the reason, for people.
    Failed(String),
}

impl Hook {
    /// Returns it as it runs when the app is deleted, if it does.
    pub fn at_deletion(&self) -> Option<Self> {
        let deletion = self.deletion;
        (!deletion.is_empty()).then_some(Self { install: deletion, upgrade: deletion, ..*self })
    }

    /// Returns the phases in which the hook runs in a release.
    pub fn phases(&self, installs: bool) -> Phases {
        if installs { self.install } else { self.upgrade }
    }

    /// Returns the phases of a release in which it has not ended yet.
    pub fn left(&self, run: Option<&HookRun>, release: &Release) -> Phases {
        let done = run.filter(|run| run.release == release.id).map_or(Phases::default(), |run| run.done);
        self.phases(release.installs).iter().filter(|phase| !done.contains(*phase)).collect()
    }
}

impl HookRun {
    /// Returns the run of a hook in a release that has just begun.
    pub fn of(release: Release) -> Self {
        let Release { id, installs } = release;
        Self { release: id, installs, phase: None, done: Phases::default(), before: None, ended: None }
    }

    /// Why this run fails its release, if it does.
    pub fn failure(&self) -> Option<&str> {
        match &self.ended {
            Some(Ended::Failed(message)) if self.phase != Some(SyncPhase::SyncFail) => Some(message),
            _ => None,
        }
    }
}

impl DeletePolicy {
    /// Whether the object of a run is to go, now that its release is over.
    pub fn clears(self, run: &HookRun) -> bool {
        match (run.phase, &run.ended) {
            // It is left of another release.
            (None, _) => self.succeeded || self.failed,
            (Some(_), Some(Ended::Succeeded)) => self.succeeded,
            (Some(_), Some(Ended::Failed(_))) => self.failed,
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: Release = Release { id: Digest([1; 16]), installs: false };

    fn run(phase: SyncPhase, ended: Option<Ended>) -> HookRun {
        let done = ended.iter().map(|_| phase).collect();
        HookRun { phase: Some(phase), done, ended, ..HookRun::of(RELEASE) }
    }

    fn left(hook: &Hook, run: Option<&HookRun>) -> Vec<&'static str> {
        hook.left(run, &RELEASE).iter().map(SyncPhase::word).collect()
    }

    #[test]
    fn a_hook_runs_once_in_each_of_its_phases() {
        let phases = [SyncPhase::PostSync, SyncPhase::PreSync].into_iter().collect();
        let hook = Hook { install: phases, upgrade: phases, ..Hook::default() };
        assert_eq!(left(&hook, None), ["PreSync", "PostSync"]);
        assert_eq!(left(&hook, Some(&HookRun::of(RELEASE))), ["PreSync", "PostSync"]);
        let running = run(SyncPhase::PreSync, None);
        assert_eq!(left(&hook, Some(&running)), ["PreSync", "PostSync"]);
        assert_eq!(left(&hook, Some(&run(SyncPhase::PreSync, Some(Ended::Succeeded)))), ["PostSync"]);
        let both = HookRun { done: phases, ..run(SyncPhase::PostSync, Some(Ended::Succeeded)) };
        assert_eq!(left(&hook, Some(&both)), [""; 0]);
        let before = HookRun { release: Digest([0; 16]), ..both };
        assert_eq!(left(&hook, Some(&before)), ["PreSync", "PostSync"]);
    }

    #[test]
    fn installations_and_upgrades_have_their_own_hooks() {
        let hook = Hook { install: Phases::default().with(SyncPhase::PreSync), ..Hook::default() };
        assert!(hook.left(None, &RELEASE).is_empty());
        let first = Release { installs: true, ..RELEASE };
        assert!(hook.left(None, &first).contains(SyncPhase::PreSync));
    }

    #[test]
    fn only_what_the_policy_names_is_cleared() {
        let default = DeletePolicy::default();
        let succeeded = DeletePolicy { before_creation: false, succeeded: true, failed: false };
        let failed = DeletePolicy { before_creation: false, succeeded: false, failed: true };
        let good = run(SyncPhase::PreSync, Some(Ended::Succeeded));
        let bad = run(SyncPhase::PreSync, Some(Ended::Failed("no".into())));
        assert!(succeeded.clears(&good) && !succeeded.clears(&bad));
        assert!(failed.clears(&bad) && !failed.clears(&good));
        assert!(!default.clears(&good) && !default.clears(&bad));
        // Nobody knows how what is left of another release has ended.
        let other = HookRun::of(RELEASE);
        assert!(succeeded.clears(&other) && failed.clears(&other) && !default.clears(&other));
    }
}
