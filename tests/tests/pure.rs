//! Tests over the pure core that need recorded facts or more than one module. No cluster, no process, no clock.

#[path = "pure/drift.rs"]
mod drift;
