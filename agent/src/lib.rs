//! The agent: adapters, the daemon and the command line.

pub mod config;
pub mod telemetry;
