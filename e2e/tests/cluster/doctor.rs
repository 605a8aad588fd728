//! `skiff doctor`: good where everything is there, and the way out for each thing that is not.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use skiff_e2e::agent;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

/// Returns what the doctor prints with an identity, and its exit code.
fn doctor(
    config: &Path,
    kubeconfig: &Path,
    variables: &[(&str, &str)],
) -> anyhow::Result<(String, Option<i32>)> {
    let mut command = Command::new(agent::program()?);
    command.args(["doctor", "--config"]).arg(config).arg("--kubeconfig").arg(kubeconfig);
    command.envs(variables.iter().copied());
    let output = command.output()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((text, output.status.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_missing_and_the_way_out() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let commit = shop.write("apps/a.yaml", in_namespace("default", &config_map("a", "1"))).commit("one")?;
    let config = site.configure(json!([Site::environment("staging", shop.url(), "apps")]))?;

    let (said, code) = doctor(&config, site.identity.kubeconfig(), &[])?;
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(lines.iter().all(|line| line.starts_with("warning  sandbox")), "{said}");
    assert_eq!(code, Some(0), "{said}");
    for what in [
        "cluster: v1.37",
        "clock: 0 s apart",
        "rights: enough for its own objects",
        "rights: everything may be synced",
        &format!("stands at sha1:{commit}"),
        "helm: helm 4.3.1",
        "kustomize: kustomize 5.8.1",
        "traces: http://",
        "logs: http://",
    ] {
        assert!(said.contains(what), "no {what:?} in\n{said}");
    }

    let broken = [
        ("SKIFF__RENDER__HELM", "/nowhere/helm"),
        ("SKIFF__TELEMETRY__OTLP__ENDPOINT", "http://127.79.0.1:1"),
        ("SKIFF__ENVIRONMENTS__0__SOURCE__REF__BRANCH", "gone"),
    ];
    let (said, code) = doctor(&config, &site.cluster.kubeconfig(User::Scheduler), &broken)?;
    assert_eq!(code, Some(1), "{said}");
    for what in [
        "failed   helm: no charts can be rendered, as /nowhere/helm does not run",
        "failed   source of staging: ReferenceNotFound",
        "failed   traces: http://127.79.0.1:1/v1/traces does not take them",
        "failed   rights: grant in namespace",
        "resources: [apps/status], verbs: [get, patch]",
    ] {
        assert!(said.contains(what), "no {what:?} in\n{said}");
    }
    Ok(())
}
