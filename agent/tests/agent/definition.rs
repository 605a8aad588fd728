//! The definition of `App` that the chart installs is generated from the type.

use std::path::Path;

use kube::core::CustomResourceExt as _;
use skiff_shared::api::v1alpha1::App;

#[test]
fn definition_of_the_chart_is_that_of_the_type() {
    let yaml = serde_saphyr::to_string(&App::crd()).expect("a definition is made of plain values");
    let generated = format!("# Generated from shared/src/api/v1alpha1.rs by the tests; do not edit.\n{yaml}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the agent lies in the workspace");
    let path = root.join("charts/skiff/files/apps.skiff.dev.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "apps.skiff.dev.yaml is out of date: run the test again with UPDATE=1 and commit the change"
    );
}
