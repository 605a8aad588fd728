//! The status of an app that no agent looks after any more.

use jiff::Timestamp;

use super::{AppStatus, Condition, Counts};
use crate::health::Health;
use crate::report::SyncStatus;

/// The reason of the condition `Ready` of an app whose environment is not configured any more.
const UNATTENDED: &str = "Unattended";

impl AppStatus {
    /// Returns the status of an app whose environment the configuration has no more: what it showed last may not hold
    /// any longer. `None` where it says so already.
    pub fn unattended(&self, now: Timestamp) -> Option<Self> {
        let before = self.conditions.iter().find(|condition| condition.kind == "Ready");
        if before.is_some_and(|ready| ready.reason == UNATTENDED) {
            return None;
        }
        let message = format!(
            "the agent's file has no environment {:?} any more: the objects stay as they are, and nobody heals them",
            self.environment
        );
        let since = before.filter(|ready| ready.status == "False").map(|ready| ready.last_transition_time);
        let ready = Condition {
            kind: "Ready".to_owned(),
            status: "False".to_owned(),
            reason: UNATTENDED.to_owned(),
            message: message.clone(),
            last_transition_time: since.unwrap_or(now),
        };
        Some(Self {
            sync: SyncStatus::Unknown.word().to_owned(),
            health: Health::Unknown.word().to_owned(),
            phase: "Idle".to_owned(),
            message,
            plan: None,
            waiting_for: Vec::new(),
            conditions: vec![ready],
            counts: Counts { total: self.counts.total, ..Counts::default() },
            objects: Vec::new(),
            ..self.clone()
        })
    }
}
