//! What a source is trusted with: a revision without its signature and a rewritten branch change nothing in the cluster,
//! until a person says otherwise.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_e2e::words::{condition, says};
use skiff_harness::cluster::{Options, User};
use skiff_harness::signing::Signer;

async fn value(site: &Site) -> anyhow::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    Ok(maps.get("a").await?.data.unwrap_or_default()["value"].clone())
}

fn map(value: &str) -> String {
    in_namespace("default", &config_map("a", value))
}

#[tokio::test(flavor = "multi_thread")]
async fn revision_without_its_signature_is_not_applied() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let (ada, bob) =
        (Signer::ssh("ed25519")?, Signer::gpg("Bob <bob@example>", "ed25519", "20200101T000000")?);
    let signers = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "shop-signers", "namespace": NAMESPACE},
        "stringData": {"allowed_signers": format!("ada@example {}", ada.public()?), "bob.asc": bob.public()?},
    });
    site.kubectl_apply(User::Ops, &signers.to_string()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/a.yaml", map("one"));
    let first = shop.commit_signed("by Ada", &ada)?;
    let mut environment = Site::environment("development", shop.url(), "apps");
    environment["source"]["verify"] = json!({"secretRef": "shop-signers"});
    site.start_agent(json!([environment]))?;
    site.synced("development", &first).await?;

    shop.write("apps/a.yaml", map("two"));
    let unsigned = shop.commit("by nobody")?;
    let words = format!("commit sha1:{unsigned} is not signed");
    site.app("development", "the commit is refused", |app| says(app, "SourceReady", "Unsigned", &words))
        .await?;
    site.error_record("Unsigned", &words).await?;
    let edit = ["patch", "configmap", "a", "--patch", "{\"data\": {\"value\": \"edited\"}}"];
    site.kubectl(User::Dev, &edit).await?;
    site.until("what was applied before is healed", async || Ok(value(&site).await? == "one")).await?;

    shop.write("apps/a.yaml", map("three"));
    let third = shop.commit_signed("by Bob", &bob)?;
    let app = site.synced("development", &third).await?;
    assert!(condition(&app, "SourceReady").is_none());
    assert!(site.log().contains("is signed by Bob <bob@example>"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rewritten_branch_is_refused_also_after_a_restart() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/a.yaml", map("zero")).commit("the beginning")?;
    shop.write("apps/a.yaml", map("one"));
    let first = shop.commit("the first release")?;
    let with = |url: &str, accepted: Option<&str>| -> Value {
        let mut environment = Site::environment("development", url, "apps");
        environment["source"]["refuseRewrites"] = json!(true);
        if let Some(accepted) = accepted {
            environment["source"]["acceptedRewrite"] = json!(accepted);
        }
        json!([environment])
    };
    site.start_agent(with(shop.url(), None))?;
    site.synced("development", &first).await?;
    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;

    let rewritten = shop.write("apps/a.yaml", map("two")).rewrite("the first release, once more")?;
    site.restart_agent()?;
    site.app("development", "the branch is refused", |app| {
        says(app, "SourceReady", "BranchRewritten", &rewritten)
    })
    .await?;
    assert_eq!(value(&site).await?, "one");

    site.configure(with(shop.url(), Some(&rewritten)))?;
    site.synced("development", &rewritten).await?;
    assert_eq!(value(&site).await?, "two");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn own_repository_of_an_app_is_trusted_with_no_more_than_the_agents_file_says() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let ada = Signer::ssh("ed25519")?;
    let signers = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "team-signers", "namespace": NAMESPACE},
        "stringData": {"allowed_signers": format!("ada@example {}", ada.public()?)},
    });
    site.kubectl_apply(User::Ops, &signers.to_string()).await?;
    let (mut team, mut blog) = (site.repository("team/web")?, site.repository("blog")?);
    team.write("a.yaml", map("one"));
    let unsigned = team.commit("by nobody")?;
    blog.write("b.yaml", in_namespace("default", &config_map("b", "zero"))).commit("the beginning")?;
    blog.write("b.yaml", in_namespace("default", &config_map("b", "one")));
    let first = blog.commit("the first release")?;
    let (team_url, blog_url) = (team.url().to_owned(), blog.url().to_owned());
    let list = |accepted: &str| {
        format!(
            "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:
- {{name: web, source: {{url: {team_url}, ref: {{branch: main}}, verify: {{mode: either}}}}}}
- {{name: blog, source: {{url: {blog_url}, ref: {{branch: main}}, refuseRewrites: true{accepted}}}}}
"
        )
    };
    let mut fleet = site.repository("fleet")?;
    fleet.write("lab/skiff.yaml", list("")).commit("Apps from elsewhere")?;
    let mut environment = Site::environment("development", fleet.url(), "lab");
    environment["repositories"] =
        json!([{"url": site.git.url("team"), "verify": {"mode": "commit", "secretRef": "team-signers"}}]);
    site.start_agent(json!([environment]))?;
    site.synced("blog", &first).await?;
    let words = format!("commit sha1:{unsigned} is not signed");
    site.app("web", "the commit is refused", |app| says(app, "SourceReady", "Unsigned", &words)).await?;
    let signed = team.commit_signed("by Ada", &ada)?;
    site.synced("web", &signed).await?;

    site.end_agent().await?;
    std::fs::remove_dir_all(site.state_directory())?;
    let rewritten =
        blog.write("b.yaml", in_namespace("default", &config_map("b", "two"))).rewrite("once more")?;
    site.restart_agent()?;
    site.app("blog", "the branch is refused", |app| says(app, "SourceReady", "BranchRewritten", &rewritten))
        .await?;
    let accepted = format!(", acceptedRewrite: {rewritten}");
    fleet.write("lab/skiff.yaml", list(&accepted)).commit("The rewrite is meant")?;
    site.synced("blog", &rewritten).await?;
    Ok(())
}
