//! What the agent tells of itself: spans, metrics and logs.
//!
//! Last in the pipeline. Turns recorded facts into telemetry and decides nothing; nothing here may slow
//! or stop a sync, whatever the collector does.

mod chain;

pub use chain::chain;
