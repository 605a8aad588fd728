//! The machine: one explicit state machine per app, level-based and pure.
//!
//! Between gate and report. [`Machine::step`] takes events and the time and returns effects; it never
//! waits, reads no clock and does no I/O, so a test can replay every order of events.

pub mod effect;
pub mod event;
