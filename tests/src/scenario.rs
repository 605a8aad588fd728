//! Scenario folders.
