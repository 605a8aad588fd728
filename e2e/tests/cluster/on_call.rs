//! The word of somebody on call: an annotation on a live object keeps it as it is for a while, and visibly.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_held_by_hand_is_left_as_it_is_until_then() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    for name in ["held", "other"] {
        shop.write(&format!("apps/{name}.yaml"), in_namespace("default", &config_map(name, "ours")));
    }
    let commit = shop.commit("two objects")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &commit).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let value =
        async |name: &str| anyhow::Ok(maps.get(name).await?.data.unwrap_or_default()["value"].clone());

    let annotate = ["annotate", "--overwrite", "configmap/held"];
    site.kubectl(User::Ops, &[&annotate[..], &["skiff.dev/hold-until=2099-01-01T00:00:00Z"]].concat())
        .await?;
    let bookmark = site.bookmark();
    let patch = r#"--patch={"data":{"value":"theirs"}}"#;
    for object in ["configmap/held", "configmap/other"] {
        site.kubectl(User::Ops, &["patch", object, "--type=merge", patch]).await?;
    }
    site.logged(bookmark, &["healed ConfigMap/default/other"]).await?;
    let words = "ConfigMap/default/held changed by \"kubectl-patch\": .data.value, and is not healed until \
                 2099-01-01T00:00:00Z";
    let app = site.app("development", words, |app| says(app, "Ready", "Drifted", words)).await?;
    assert_eq!(app.status.unwrap_or_default().sync, "OutOfSync");
    assert_eq!(value("held").await?, "theirs");

    // The word outlives a restart of the agent.
    site.end_agent().await?;
    site.restart_agent()?;
    site.polls(2).await?;
    site.app("development", "it is still held", |app| says(app, "Ready", "Drifted", "2099-01-01")).await?;
    assert_eq!(value("held").await?, "theirs");

    let annotate = async |word: &str| site.kubectl(User::Ops, &[&annotate[..], &[word]].concat()).await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    annotate(&format!("skiff.dev/hold-until={soon:.0}")).await?;
    site.until("it is healed when the time is over", async || Ok(value("held").await? == "ours")).await?;

    // A time that nobody can read holds, too: whoever wrote it believes so.
    annotate("skiff.dev/hold-until=tomorrow").await?;
    site.kubectl(User::Ops, &["patch", "configmap/held", "--type=merge", patch]).await?;
    let words = "and is left so by an annotation";
    site.app("development", words, |app| says(app, "Ready", "Drifted", words)).await?;
    annotate("skiff.dev/hold-until-").await?;
    site.until("it is healed when the word is taken back", async || Ok(value("held").await? == "ours"))
        .await?;
    site.synced("development", &commit).await?;
    Ok(())
}
