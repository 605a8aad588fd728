//! Tests over the pure core that need recorded facts or more than one module. No cluster, no process, no clock.

#[path = "pure/drift.rs"]
mod drift;
//! The one test binary of this crate: everything that needs no cluster.

mod pure {
    mod lives;
    mod machine;
}
