//! The pure core of Skiff: values in, values out.
//!
//! The modules in the order in which a change passes them. Nothing here awaits, reads a clock or the
//! environment, or knows a client; the `agent` crate does all of that.

pub mod api;
pub mod chart;
pub mod desired;
pub mod environment;
pub mod gate;
pub mod glob;
pub mod health;
pub mod hook;
pub mod inventory;
pub mod limits;
pub mod managed_fields;
pub mod news;
pub mod object;
pub mod ownership;
pub mod plan;
pub mod policy;
pub mod report;
pub mod retention;
pub mod rights;
pub mod sync;
pub mod trace;
pub mod version;
pub mod yaml;
