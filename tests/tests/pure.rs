//! The one test binary of this crate: everything that needs no cluster, no process and no clock.

mod pure {
    mod dependencies;
    mod drift;
    mod lives;
    mod machine;
    mod scenarios;
}
