//! The lab's own tests.

#![expect(
    clippy::unwrap_used,
    reason = "the exemption of tests does not reach helper functions of integration tests"
)]

#[path = "harness/fault_proxy.rs"]
mod fault_proxy;
#[path = "harness/git_server.rs"]
mod git_server;
#[path = "harness/otlp.rs"]
mod otlp;
#[path = "harness/vectors.rs"]
mod vectors;
