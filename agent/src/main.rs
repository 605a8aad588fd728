//! The program `skiff`.

fn main() {}
