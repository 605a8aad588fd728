//! The agent: adapters, the daemon and the command line.

pub mod args;
pub mod blocking;
pub mod charts;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod expr;
pub mod git;
pub mod http;
pub mod lanes;
pub mod lease;
pub mod notify;
pub mod render;
pub mod sandbox;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod webhooks;
