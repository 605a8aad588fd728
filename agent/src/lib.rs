//! The agent: adapters, the daemon and the command line.

pub mod telemetry;
