//! The lab: what the cluster tests, the benchmark and the demo run against, all of it on loopback.
//!
//! Real control planes, Git servers, faults and telemetry receivers. Nothing of the agent is in here: the lab starts it
//! like anybody else.

pub mod audit;
mod background;
pub mod certs;
pub mod chart;
pub mod chart_repository;
pub mod cluster;
pub mod fault_proxy;
pub mod git_server;
pub mod github;
pub mod http_proxy;
pub mod identity;
pub mod inbox;
pub mod kubelet;
pub mod otlp;
pub mod process;
pub mod registry;
pub mod signing;
pub mod ssh_server;
mod tls;
pub mod toolchain;
pub mod wait;
