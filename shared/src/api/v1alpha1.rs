//! `App` in version `v1alpha1`.
//!
//! `spec` is what people ask for, and the agent never writes it; `status` is what is, and only the
//! agent writes it. [`AppSpec::ask`] reads the former, [`AppStatus::of`] makes the latter from a
//! [`crate::report::Report`]. The field names are part of the admission policy for approvals.

mod convert;
mod policy;
mod spec;
mod status;
mod unattended;

pub use policy::{ApprovalRules, PrunePolicy, SyncPolicy};
pub use spec::{App, AppSpec, ApprovalRequest, DeleteRequest, Pause, PinRequest, PruneRequest};
pub use status::{
    AppStatus, Assignment, ChartRelease, Condition, Counts, HistoryEntry, ObjectRow, Pinned, PlanSummary,
    PlannedChange, Revision, StoredSet, WindowState,
};

/// Finished syncs that a status remembers.
pub const MAX_HISTORY: usize = 20;

/// Characters that one message may have; longer ones are cut.
const MAX_MESSAGE: usize = 1_024;

/// Characters that the message of one object row may have: a hundred of them stay small.
const MAX_ROW_MESSAGE: usize = 256;

#[cfg(test)]
mod tests;
