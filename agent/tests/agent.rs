//! Tests of the agent's adapters over real loopback connections: one binary, one module per adapter.

#[path = "agent/chart.rs"]
mod chart;
#[path = "agent/render.rs"]
mod render;
#[path = "agent/telemetry.rs"]
mod telemetry;
