//! Where the agent runs: on older versions of Kubernetes, and where no packet gets out of the machine.

use std::process::Command;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, deployment};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};

/// The oldest version that this control plane can be asked to be.
const OLDEST: &str = "1.34";

/// Set in the process that runs where there is no way out.
const INSIDE: &str = "SKIFF_TEST_WITHOUT_A_WAY_OUT";

/// Brings the loopback interface of a fresh network namespace up, then becomes the command that follows.
const LOOPBACK: &str = "\
import fcntl, os, socket, struct, sys
request = struct.pack('16sh', b'lo', 1)
fcntl.ioctl(socket.socket(), 0x8914, request)
os.execv(sys.argv[1], sys.argv[1:])
";

const LIST: &str = "\
apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- {name: plain, namespace: shop, createNamespace: true}
- {name: kustomization, namespace: shop, dependsOn: [plain]}
- {name: chart, namespace: shop, dependsOn: [plain], sync: {mode: manual}}
";

/// Each renderer, a rollout, an approval under the admission policy, a drift that is healed, and a prune.
async fn whole_story(options: Options) -> anyhow::Result<()> {
    let mut site = Site::start(options).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", LIST)
        .write("plain/web.yaml", deployment("web", 2, "registry.example/web:1"))
        .write("kustomization/kustomization.yaml", "resources: [map.yaml]\nnamePrefix: my-\n")
        .write("kustomization/map.yaml", config_map("note", "one"))
        .write("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
        .write("chart/templates/map.yaml", config_map("{{ .Release.Name }}", "one"));
    let first = shop.commit("everything")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    for name in ["plain", "kustomization"] {
        site.synced(name, &first).await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(site.admin()?, "shop");
    assert_eq!(deployments.get("web").await?.status.unwrap_or_default().ready_replicas, Some(2));

    site.app("chart", "the plan waits", |app| says(app, "Ready", "WaitingForApproval", "")).await?;
    let (said, code) = site.skiff(User::Ops, &["approve", "chart", "--yes"]).await?;
    assert_eq!(code, 0, "{said}");
    site.synced("chart", &first).await?;

    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "shop");
    let patch = r#"--patch={"data":{"value":"two"}}"#;
    site.kubectl(User::Dev, &["patch", "configmap/my-note", "--namespace=shop", "--type=merge", patch])
        .await?;
    site.until("the drift is healed", async || {
        Ok(maps.get("my-note").await?.data.unwrap_or_default()["value"] == "one")
    })
    .await?;

    let second = shop
        .write("kustomization/kustomization.yaml", "resources: [map.yaml]\nnamePrefix: our-\n")
        .commit("another prefix")?;
    site.synced("kustomization", &second).await?;
    assert!(maps.get_opt("my-note").await?.is_none());
    assert!(maps.get_opt("our-note").await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_kubernetes_gets_the_same() -> anyhow::Result<()> {
    whole_story(Options { emulated_version: Some(OLDEST.to_owned()), ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_that_is_not_configured() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return whole_story(Options::default()).await;
    }
    // Everything of this test once more, in a network namespace that has a loopback interface and no route.
    let test = std::env::current_exe()?;
    let inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "python3", "-c", LOOPBACK])
        .arg(test)
        .args(["--exact", "places::nothing_is_called_that_is_not_configured", "--nocapture"])
        .env(INSIDE, "yes")
        .output();
    let inside = inside.context("failed to start unshare")?;
    let said = [inside.stdout, inside.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(inside.status.success() && said[0].contains("1 passed"), "{}", said.join("\n"));
    Ok(())
}
