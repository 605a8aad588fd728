//! Few rights: the agent works where it may, and says what it lacks and what would grant it.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, deployment, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_rights_in_chosen_namespaces_needs_none_elsewhere() -> anyhow::Result<()> {
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
    let rbac = json!({"mode": "namespaces", "rules": rules});
    let values = json!({"rbac": rbac, "agent": {"namespaces": ["shop", "pay"]}});
    let mut site = Site::start_with(Options::default(), values).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/price.yaml", in_namespace("shop", &config_map("price", "one")))
        .write("apps/rate.yaml", in_namespace("pay", &config_map("rate", "two")));
    let first = shop.commit("two namespaces")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;

    let rates: Api<ConfigMap> = Api::namespaced(site.admin()?, "pay");
    let patch = r#"--patch={"data":{"value":"three"}}"#;
    site.kubectl(User::Dev, &["patch", "configmap/rate", "--namespace=pay", "--type=merge", patch]).await?;
    site.until("the drift is healed", async || {
        Ok(rates.get("rate").await?.data.unwrap_or_default()["value"] == "two")
    })
    .await?;
    let asked = site.cluster.audit().since(mark, &site.identity.username())?;
    let elsewhere: Vec<_> = asked
        .iter()
        .filter(|entry| {
            entry.resource == "configmaps" && !["shop", "pay", NAMESPACE].contains(&&*entry.namespace)
        })
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");

    shop.write("apps/other.yaml", in_namespace("default", &config_map("other", "one")));
    shop.commit("a third namespace")?;
    let word = r#"namespace "default" is outside of agent.namespaces in the agent's file"#;
    site.app("development", "the namespace is refused by name", |app| {
        says(app, "Rendered", "OutsideLimits", word)
    })
    .await?;

    shop.remove("apps/other.yaml");
    shop.write("apps/web.yaml", in_namespace("shop", &deployment("web", 1, "registry.example/web:1")));
    let last = shop.commit("a kind without rights")?;
    let said = site
        .app("development", "the missing right is named", |app| {
            says(app, "Authorized", "RightsMissing", "may not patch deployments.apps in shop: - {")
        })
        .await?;
    assert!(says(&said, "Ready", "PreflightFailed", "cannot patch resource"), "{:?}", said.status);
    grant_until_synced(&site, &last).await
}

/// Adds the rules that the app names to the agent's Role, again and again until nothing is missing.
async fn grant_until_synced(site: &Site, commit: &str) -> anyhow::Result<()> {
    let synced = site.synced("development", commit);
    let granting = async {
        let mut granted: Vec<String> = Vec::new();
        loop {
            let app = site.apps()?.get("development").await?;
            let said = condition(&app, "Authorized").map(|found| found.message.clone()).unwrap_or_default();
            for rule in said.lines().filter_map(|line| line.split_once(": - ")).map(|(_, rule)| rule) {
                if !granted.iter().any(|known| known == rule) {
                    granted.push(rule.to_owned());
                    grant(site, rule).await?;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        synced = synced => synced.map(drop),
        failed = granting => failed,
    }
}

async fn grant(site: &Site, rule: &str) -> anyhow::Result<()> {
    let rule: Value = skiff_shared::yaml::load(rule)?.value;
    let patch = format!("--patch={}", json!([{"op": "add", "path": "/rules/-", "value": rule}]));
    let role = format!("role/skiff-{NAMESPACE}");
    site.kubectl(User::Admin, &["patch", &role, "--namespace=shop", "--type=json", &patch]).await.map(drop)
}
