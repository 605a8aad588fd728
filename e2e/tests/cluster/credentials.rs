//! A private repository whose password is in a Secret: found, rotated and missed while the agent runs.

use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Access;

/// Writes the password where the agent finds it, as a person does.
async fn keep(site: &Site, password: &str) -> anyhow::Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "shop-git", "namespace": NAMESPACE},
        "stringData": {"username": "ada", "password": password},
    });
    site.kubectl_apply(User::Ops, &secret.to_string()).await
}

fn demand(site: &Site, password: &str) {
    site.git.demand(Access::Basic { username: "ada".to_owned(), password: password.to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn password_in_a_secret_is_rotated_without_a_restart() -> anyhow::Result<()> {
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
    let few_rights = json!({"rbac": {"mode": "custom", "rules": rules}});
    let mut site = Site::start_with(Options::default(), few_rights).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/a.yaml", in_namespace("default", &config_map("a", "one")));
    let first = shop.commit("the first release")?;
    demand(&site, "s3cret-1");
    keep(&site, "s3cret-1").await?;
    let mut environment = Site::environment("development", shop.url(), "apps");
    environment["source"]["credentials"] = json!({"secretRef": "shop-git"});
    site.start_agent(json!([environment]))?;
    site.synced("development", &first).await?;

    demand(&site, "s3cret-2");
    shop.write("apps/a.yaml", in_namespace("default", &config_map("a", "two")));
    let second = shop.commit("another value")?;
    site.app("development", "the old password is refused", |app| {
        says(app, "SourceReady", "AccessDenied", "the server does not accept the credentials (401)")
    })
    .await?;
    keep(&site, "s3cret-2").await?;
    site.synced("development", &second).await?;

    site.kubectl(User::Ops, &["delete", "secret", "shop-git", "--namespace", NAMESPACE]).await?;
    site.app("development", "the Secret is missed", |app| {
        says(app, "SourceReady", "SecretUnreadable", &format!("Secret {NAMESPACE}/shop-git not found"))
    })
    .await?;
    keep(&site, "s3cret-2").await?;
    site.app("development", "it is back", |app| condition(app, "SourceReady").is_none()).await?;
    let log = site.log();
    assert!(!log.contains("s3cret"), "{log}");
    Ok(())
}
