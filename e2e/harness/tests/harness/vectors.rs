//! The fixtures that programs of others have written are what they write today.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn golden_versions_are_those_of_the_library_that_helm_and_flux_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let written = Command::new("go")
        .args(["run", "-buildvcs=false", "-mod=readonly", "."])
        .current_dir(root.join("e2e/vectors/versions"))
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .output()
        .unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let kept = fs::read_to_string(root.join("shared/src/version/tests/golden.json")).unwrap();
    assert!(
        String::from_utf8_lossy(&written.stdout) == kept,
        "write it anew: cd e2e/vectors/versions && go run . > ../../../shared/src/version/tests/golden.json"
    );
}
