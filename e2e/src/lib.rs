//! Helpers of the cluster tests, the benchmark and the demo.

pub mod drift;
