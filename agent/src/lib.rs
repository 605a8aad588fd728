//! The agent: adapters, the daemon and the command line.

pub mod cluster;
pub mod config;
pub mod http;
pub mod render;
pub mod sandbox;
pub mod store;
pub mod telemetry;
