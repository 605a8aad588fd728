//! Tests of the agent's adapters over real loopback connections: one binary, one module per adapter.

#[path = "agent/chart.rs"]
mod chart;
#[cfg(test)]
#[path = "agent/charts.rs"]
mod charts;
#[path = "agent/cli.rs"]
mod cli;
// The attribute tells clippy that helpers in it are tests as well.
#[cfg(test)]
#[path = "agent/cluster.rs"]
mod cluster;
#[path = "agent/compare.rs"]
mod compare;
#[path = "agent/definition.rs"]
mod definition;
#[cfg(test)]
#[path = "agent/git.rs"]
mod git;
#[path = "agent/http.rs"]
mod http;
// The attribute tells clippy that helpers in it are tests as well.
#[cfg(test)]
#[path = "agent/notify.rs"]
mod notify;
#[path = "agent/render.rs"]
mod render;
#[path = "agent/sandbox.rs"]
mod sandbox;
#[path = "agent/schema.rs"]
mod schema;
#[path = "agent/telemetry.rs"]
mod telemetry;
#[path = "agent/validate.rs"]
mod validate;
// The attribute tells clippy that helpers in it are tests as well.
#[cfg(test)]
#[path = "agent/webhooks.rs"]
mod webhooks;
