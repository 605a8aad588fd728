//! The order of writes: phase, then wave, then kind, then name, as Argo CD has it.
//!
//! A Namespace or CustomResourceDefinition is lifted before the first object that needs it, a hook
//! included, so that a wave written on the objects alone is enough.

use std::collections::BTreeMap;

use crate::desired::{Desired, DesiredRow};
use crate::hook::{Phases, SyncPhase};
use crate::object::GroupKind;

/// Kinds in the order they are applied in, as gitops-engine's `pkg/sync/sync_tasks.go` lists them.
/// Kinds that are not listed come last.
const KINDS: [&str; 35] = [
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
];

/// Where in the order of a plan a write stands. Writes of one place run in parallel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Place {
    pub phase: SyncPhase,
    pub wave: i32,
    pub rank: u8,
}

impl Place {
    /// Returns the part of it that waits for the health of those before.
    pub fn turn(self) -> Turn {
        (self.phase, self.wave)
    }
}

/// A wave of a phase.
pub type Turn = (SyncPhase, i32);

/// Returns the rank of a kind in the order of writes.
pub fn rank(kind: &GroupKind) -> u8 {
    let position = KINDS.iter().position(|known| *known == &*kind.kind).unwrap_or(KINDS.len());
    u8::try_from(position).expect("the list of kinds is short")
}

/// The places of all wanted objects, lifting included.
pub struct Places<'a> {
    first_in_namespace: BTreeMap<&'a str, Turn>,
    first_of_kind: BTreeMap<&'a GroupKind, Turn>,
}

/// Looks at all wanted objects and returns what decides their places.
pub fn places(desired: &Desired) -> Places<'_> {
    let mut places = Places { first_in_namespace: BTreeMap::new(), first_of_kind: BTreeMap::new() };
    for row in &desired.rows {
        let Some(phase) = first_phase(row) else { continue };
        if let Some(namespace) = row.id.namespace() {
            lower(&mut places.first_in_namespace, namespace, (phase, row.wave));
        }
        lower(&mut places.first_of_kind, &**row.id.kind(), (phase, row.wave));
    }
    places
}

fn lower<K: Ord>(turns: &mut BTreeMap<K, Turn>, key: K, turn: Turn) {
    turns.entry(key).and_modify(|first| *first = turn.min(*first)).or_insert(turn);
}

/// Returns the phase in which an object is needed first, whichever release it is.
fn first_phase(row: &DesiredRow) -> Option<SyncPhase> {
    let Some(hook) = &row.hook else { return Some(SyncPhase::Sync) };
    let first = |phases: Phases| phases.iter().next();
    [first(hook.install), first(hook.upgrade)].into_iter().flatten().min()
}

impl Places<'_> {
    /// Returns the place of an object that is no hook.
    pub fn of(&self, row: &DesiredRow) -> Place {
        let needed_in = if row.id.is("", "Namespace") {
            self.first_in_namespace.get(row.id.name())
        } else {
            row.provides.as_deref().and_then(|kind| self.first_of_kind.get(kind))
        };
        let own = (SyncPhase::Sync, row.wave);
        let (phase, wave) = needed_in.map_or(own, |needed| own.min(*needed));
        Place { phase, wave, rank: rank(row.id.kind()) }
    }
}

/// Returns the place of a hook in one of its phases.
pub fn place_in(phase: SyncPhase, row: &DesiredRow) -> Place {
    Place { phase, wave: row.wave, rank: rank(row.id.kind()) }
}
