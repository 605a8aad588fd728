//! The simulator: machines of `skiff-shared` in a world that is seeded, pure and unfriendly.
//!
//! `world` is the API server, `replica` one machine with its watches and requests, `sim` moves both in
//! an order that chance or a test decides and checks `rules` at every step. `notation` is how tests write
//! objects, `story` makes a whole life out of a seed, `scenario` reads the folders under `scenarios/`.
#![expect(clippy::panic, reason = "helpers of tests: a broken notation ends the test")]

pub mod notation;
pub mod random;
pub mod replica;
pub mod rules;
pub mod scenario;
pub mod sim;
pub mod story;
pub mod world;
