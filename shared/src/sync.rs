//! The machine: one explicit state machine per app, level-based and pure.
//!
//! Between gate and report. [`Machine::step`] takes events and the time and returns effects; it never
//! waits, reads no clock and does no I/O, so a test can replay every order of events. The files, in
//! the order of a sync: `takeover` plans, `preflight` checks, `secure` keeps and claims, `apply`
//! writes wave by wave, `yielding` leaves fields to others, `recreate` deletes what cannot be changed, `hooks` runs
//! what runs once, `pruning` deletes, `removal` ends an app, `fail` handles what ends it badly, `run` holds what it has come to, `settle` records; `observe`, `finish` and
//! `heal` handle what comes in between, `words` what Git, people and the cluster say, `pin` which set is followed,
//! `waits` what is tried again later, `tags` what approves by Git, `shown` stores what a plan that waits would write.

mod apply;
pub mod backoff;
pub mod effect;
pub mod event;
mod fail;
mod finish;
mod heal;
mod hooks;
mod observe;
mod pin;
mod preflight;
mod pruning;
mod recreate;
mod removal;
mod row;
mod run;
mod secure;
mod settle;
mod shown;
mod state;
mod status;
mod tags;
mod takeover;
mod waits;
mod words;
mod yielding;

pub use row::{Hold, Row, RowIx, Task};
pub use state::{Limits, Machine};
pub use yielding::LetGo;
