//! Pruning and what stops it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::Repository;

const OBJECTS: usize = 24;

fn file(number: usize) -> String {
    format!("apps/map-{number}.yaml")
}

fn write_maps(shop: &mut Repository) {
    shop.write("apps/namespace.yaml", namespace("shop"));
    for number in 0..OBJECTS {
        shop.write(&file(number), in_namespace("shop", &config_map(&format!("map-{number}"), "one")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_stop_what_looks_like_a_mistake() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    write_maps(&mut shop);
    let first = shop.commit("a namespace and two dozen objects")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;
    let everything = site.labelled("ConfigMap").await?;
    assert_eq!(everything.len(), OBJECTS);
    let mark = site.mark()?;

    shop.remove("apps").write("apps/README.md", "nothing to see\n");
    shop.commit("an empty folder")?;
    site.app("staging", "nothing is pruned for an empty render", |app| {
        says(app, "Ready", "Held", "nothing was rendered, and an empty render never prunes")
    })
    .await?;
    assert_eq!(site.labelled("ConfigMap").await?, everything);

    write_maps(&mut shop);
    (0..20).for_each(|number| _ = shop.remove(&file(number)));
    shop.commit("most of them go")?;
    site.app("staging", "more than half are not pruned", |app| {
        says(app, "Ready", "Held", "refusing to prune 20 of 25 owned objects: the limit is 50%")
    })
    .await?;
    assert_eq!(site.labelled("ConfigMap").await?, everything);

    write_maps(&mut shop);
    let back = shop.commit("all are back")?;
    site.synced("staging", &back).await?;
    let deletes = site
        .writes(mark)?
        .iter()
        .filter(|entry| entry.verb == "delete" && entry.resource != "secrets")
        .count();
    assert_eq!(deletes, 0);

    site.kubectl(User::Dev, &["create", "configmap", "of-somebody", "--namespace=shop"]).await?;
    shop.remove("apps/namespace.yaml").remove(&file(0));
    shop.commit("the namespace goes, and one object")?;
    site.app("staging", "the namespace waits for confirmation", |app| {
        says(
            app,
            "Ready",
            "Held",
            "Namespace/shop: it is no longer in Git, and is deleted only by a person's word",
        )
    })
    .await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "shop");
    site.until("the one object is pruned", async || Ok(maps.get_opt("map-0").await?.is_none())).await?;
    assert!(Api::<Namespace>::all(site.admin()?).get("shop").await?.metadata.deletion_timestamp.is_none());
    maps.get("of-somebody").await?;
    assert_eq!(site.labelled("ConfigMap").await?.len(), OBJECTS - 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn object_that_somebody_else_took_is_not_deleted() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    let names = ["keeper", "relabelled", "adopted", "plain"];
    for name in names {
        shop.write(&format!("apps/{name}.yaml"), in_namespace("default", &config_map(name, "one")));
    }
    let first = shop.commit("four objects")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "apps")]))?;
    site.synced("staging", &first).await?;

    // An owner is no field of ours; the label is, so it is taken while the agent is not looking.
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let uid = maps.get("keeper").await?.metadata.uid.unwrap_or_default();
    let owner = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "keeper", "uid": uid},
    ]}});
    let patch = format!("--patch={owner}");
    site.kubectl(User::Ops, &["patch", "configmap/adopted", "--type=merge", &patch]).await?;
    site.end_agent().await?;
    let label = ["label", "configmap/relabelled", "--overwrite", "skiff.dev/instance=another"];
    site.kubectl(User::Ops, &label).await?;
    for name in ["relabelled", "adopted", "plain"] {
        shop.remove(&format!("apps/{name}.yaml"));
    }
    let second = shop.commit("three of them go")?;
    site.restart_agent()?;
    site.synced("staging", &second).await?;
    assert!(maps.get_opt("plain").await?.is_none());
    assert!(maps.get_opt("relabelled").await?.is_some(), "an object of another instance was deleted");
    assert!(maps.get_opt("adopted").await?.is_some(), "an object with an owner was deleted");
    site.until("only what is in Git is owned", async || {
        Ok(site.inventory("staging").await.is_ok_and(|ids| ids.iter().eq(["ConfigMap/default/keeper"])))
    })
    .await
}

const TWO_APPS: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n\
     - {name: giver, namespace: default}\n\
     - {name: taker, namespace: default}\n";

#[tokio::test(flavor = "multi_thread")]
async fn object_that_moves_to_an_app_that_cannot_be_rendered_stays() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", TWO_APPS)
        .write("giver/stays.yaml", config_map("stays", "one"))
        .write("giver/moves.yaml", config_map("moves", "one"))
        .write("taker/own.yaml", config_map("own", "one"));
    let first = shop.commit("two apps")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "")]))?;
    site.synced("giver", &first).await?;
    site.synced("taker", &first).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let uid = maps.get("moves").await?.metadata.uid;

    shop.remove("giver/moves.yaml")
        .write("taker/moves.yaml", config_map("moves", "one"))
        .write("taker/typo.yaml", "apiVersion: v1\nkind: [\n");
    shop.commit("an object moves, and there is a typing error")?;
    let held = "app \"taker\" cannot be rendered and may want it";
    site.app("giver", "the object is held", |app| says(app, "Ready", "Held", held)).await?;

    shop.remove("taker/typo.yaml");
    let mended = shop.commit("mended")?;
    site.synced("taker", &mended).await?;
    site.synced("giver", &mended).await?;
    site.until("the object has changed hands", async || {
        // A record that is only claimed is not there yet.
        let has = |ids: &BTreeSet<String>| ids.contains("ConfigMap/default/moves");
        let taken = site.inventory("taker").await.is_ok_and(|ids| has(&ids));
        let given = site.inventory("giver").await.is_ok_and(|ids| ids.iter().eq(["ConfigMap/default/stays"]));
        Ok(taken && given)
    })
    .await?;
    assert_eq!(maps.get("moves").await?.metadata.uid, uid, "it was deleted in between");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_path_in_the_configuration_prunes_only_at_a_persons_word() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("eu/both.yaml", in_namespace("default", &config_map("both", "one")))
        .write("eu/eu.yaml", in_namespace("default", &config_map("eu", "one")))
        .write("us/both.yaml", in_namespace("default", &config_map("both", "two")));
    let first = shop.commit("two regions")?;
    site.start_agent(json!([Site::environment("staging", shop.url(), "eu")]))?;
    site.synced("staging", &first).await?;
    let mark = site.mark()?;

    site.configure(json!([Site::environment("staging", shop.url(), "us")]))?;
    let held = "it comes from path eu of";
    site.app("staging", "what only the old path has is held", |app| says(app, "Ready", "Held", held)).await?;
    // The next agent has not seen the change: it is on record.
    site.end_agent().await?;
    shop.write("us/us.yaml", in_namespace("default", &config_map("us", "one")));
    let second = shop.commit("the new path goes on")?;
    site.restart_agent()?;
    site.app("staging", "the new path is applied", |app| {
        let applied = app.status.as_ref().and_then(|status| status.applied.as_ref());
        applied.is_some_and(|applied| applied.commit.ends_with(&second))
    })
    .await?;
    site.app("staging", "it is still held", |app| says(app, "Ready", "Held", held)).await?;
    let deletes = site.writes(mark)?.into_iter().filter(|entry| entry.verb == "delete");
    assert_eq!(deletes.filter(|entry| entry.resource == "configmaps").count(), 0);

    let word = r#"--patch={"spec":{"sync":"now"}}"#;
    site.kubectl(User::Admin, &["patch", "app/staging", "--namespace=skiff-system", "--type=merge", word])
        .await?;
    site.synced("staging", &second).await?;
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    assert!(maps.get_opt("eu").await?.is_none() && maps.get_opt("us").await?.is_some());
    Ok(())
}
