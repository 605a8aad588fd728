//! The lab: what the cluster tests, the benchmark and the demo run against, all of it on loopback.

mod background;
pub mod git_server;
