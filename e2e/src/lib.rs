//! Skiff on real control planes: what the cluster tests, the benchmark and the demo have in common.

pub mod agent;
pub mod backends;
pub mod bench;
pub mod build;
pub mod demo;
pub mod drift;
pub mod inputs;
pub mod inventory;
pub mod manifests;
pub mod people;
pub mod requests;
pub mod site;
pub mod usage;
pub mod vectors;
pub mod witness;
pub mod words;
