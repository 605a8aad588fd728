//! The order of writes: wave, then kind, then name, as Argo CD has it.
//!
//! A Namespace or CustomResourceDefinition is lifted before the first object that needs it, so that
//! a wave written on the objects alone is enough.

use std::collections::BTreeMap;

use crate::desired::{Desired, DesiredRow};
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
    pub wave: i32,
    pub rank: u8,
}

/// Returns the rank of a kind in the order of writes.
pub fn rank(kind: &GroupKind) -> u8 {
    let position = KINDS.iter().position(|known| *known == &*kind.kind).unwrap_or(KINDS.len());
    u8::try_from(position).expect("the list of kinds is short")
}

/// The places of all wanted objects, lifting included.
pub struct Places<'a> {
    first_in_namespace: BTreeMap<&'a str, i32>,
    first_of_kind: BTreeMap<&'a GroupKind, i32>,
}

/// Looks at all wanted objects and returns what decides their places.
pub fn places(desired: &Desired) -> Places<'_> {
    let mut places = Places { first_in_namespace: BTreeMap::new(), first_of_kind: BTreeMap::new() };
    for row in &desired.rows {
        if let Some(namespace) = row.id.namespace() {
            lower(&mut places.first_in_namespace, namespace, row.wave);
        }
        lower(&mut places.first_of_kind, &**row.id.kind(), row.wave);
    }
    places
}

fn lower<K: Ord>(waves: &mut BTreeMap<K, i32>, key: K, wave: i32) {
    waves.entry(key).and_modify(|lowest| *lowest = wave.min(*lowest)).or_insert(wave);
}

impl Places<'_> {
    /// Returns the place of one object.
    pub fn of(&self, row: &DesiredRow) -> Place {
        let needed_in = if row.id.is("", "Namespace") {
            self.first_in_namespace.get(row.id.name())
        } else {
            row.provides.as_deref().and_then(|kind| self.first_of_kind.get(kind))
        };
        let wave = needed_in.map_or(row.wave, |needed| row.wave.min(*needed));
        Place { wave, rank: rank(row.id.kind()) }
    }
}
