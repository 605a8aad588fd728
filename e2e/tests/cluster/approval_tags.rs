//! Approval by a signed tag in Git: whose tag lets which plan go, without anybody's access to the cluster.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};
use skiff_harness::signing::Signer;
use skiff_shared::api::v1alpha1::App;

/// Returns production, where tags of those in the Secret `approvers` approve.
fn by_tag(url: &str) -> Value {
    let mut environment = Site::environment("production", url, "apps");
    environment["sync"]["approval"] = json!({"tags": {"secretRef": "approvers"}});
    json!([environment])
}

fn price(value: &str) -> String {
    in_namespace("default", &config_map("price", value))
}

async fn paid(site: &Site) -> anyhow::Result<Option<String>> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    Ok(maps.get_opt("price").await?.and_then(|map| map.data?.remove("value")))
}

/// Waits until another plan than `before` waits and returns the tag that `skiff plan` says would approve it.
async fn wanted(site: &Site, before: &str) -> anyhow::Result<String> {
    let waits = |app: &App| {
        let plan = app.status.as_ref().and_then(|status| status.plan.as_ref());
        says(app, "Ready", "WaitingForApproval", "waiting for approval of plan")
            && plan.is_some_and(|plan| !before.contains(&plan.digest))
    };
    site.app("production", "a plan waits for its tag", waits).await?;
    let (said, code) = site.skiff(User::Dev, &["plan", "production"]).await?;
    let tag = said.split_whitespace().find(|word| word.starts_with("skiff/approve/"));
    let tag = tag.unwrap_or_default().to_owned();
    assert!(code == 3 && said.contains(&format!("git push origin {tag}\n")), "{said}");
    Ok(tag)
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_go_by_the_signed_tags_of_those_who_may_approve() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let (ada, eve) = (Signer::ssh("ed25519")?, Signer::ssh("ed25519")?);
    let bob = Signer::gpg("Bob <bob@example>", "ed25519", "20200101T000000")?;
    let approvers = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "approvers", "namespace": NAMESPACE},
        "stringData": {"allowed_signers": format!("ada@example {}", ada.public()?), "bob.asc": bob.public()?},
    });
    site.kubectl_apply(User::Ops, &approvers.to_string()).await?;
    let mut shop = site.repository("shop")?;
    let first = shop.write("apps/price.yaml", price("one")).commit("the first price")?;
    site.start_agent(by_tag(shop.url()))?;
    let tag = wanted(&site, "").await?;

    shop.tag_signed(&tag, "approve", &eve)?;
    site.app("production", "a stranger's tag is told", |app| {
        says(app, "ApprovalTag", "SignerUnknown", "is signed with SSH key")
    })
    .await?;
    assert_eq!(paid(&site).await?, None);
    shop.tag_signed(&tag, "approve", &ada)?;
    let app = site.synced("production", &first).await?;
    assert!(condition(&app, "ApprovalTag").is_none());
    let by = app.status.unwrap_or_default().history.remove(0).approved_by.unwrap_or_default();
    assert_eq!(by, format!("ada@example by tag {tag}"));
    assert_eq!(paid(&site).await?.as_deref(), Some("one"));

    // The word on the first plan under the name of the second one.
    shop.write("apps/price.yaml", price("two")).commit("a better price")?;
    let second = wanted(&site, &tag).await?;
    let old = shop.git(&["rev-parse", &format!("refs/tags/{tag}")])?;
    shop.git(&["update-ref", &format!("refs/tags/{second}"), &old])?;
    site.app("production", "a copied tag is told", |app| {
        says(app, "ApprovalTag", "SignatureInvalid", "it was made for a tag called")
    })
    .await?;
    assert_eq!(paid(&site).await?.as_deref(), Some("one"));

    // What is pushed while nobody looks is found afterwards.
    site.end_agent().await?;
    shop.tag_signed(&second, "approve", &bob)?;
    site.restart_agent()?;
    let head = shop.head()?;
    let app = site.synced("production", &head).await?;
    let by = app.status.unwrap_or_default().history.remove(0).approved_by.unwrap_or_default();
    assert_eq!(by, format!("Bob <bob@example> by tag {second}"));
    assert_eq!(paid(&site).await?.as_deref(), Some("two"));
    Ok(())
}
