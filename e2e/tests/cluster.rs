//! Tests on real control planes. Each starts its own, and leaves nothing behind.

#[path = "cluster/cli.rs"]
mod cli;
#[path = "cluster/drift.rs"]
mod drift;
#[path = "cluster/surgery.rs"]
mod surgery;
#[path = "cluster/sync.rs"]
mod sync;
