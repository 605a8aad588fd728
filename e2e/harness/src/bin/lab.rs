//! Builds the programs of the lab, if they are missing or out of date.

fn main() -> anyhow::Result<()> {
    skiff_harness::toolchain::ensure().map(drop)
}
