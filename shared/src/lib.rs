//! The pure core of Skiff.
