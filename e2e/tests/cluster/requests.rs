//! How little is asked of the apiserver: counted by its audit log.

use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace, namespace};
use skiff_e2e::requests::lines;
use skiff_e2e::site::Site;
use skiff_harness::audit::AuditEntry;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

const OBJECTS: usize = 1_000;

fn write_map(shop: &mut Repository, number: usize, value: &str) {
    let text = in_namespace("development", &config_map(&format!("map-{number}"), value));
    shop.write(&format!("apps/map-{number}.yaml"), text);
}

/// Returns the lines without what the names of state objects owe to content and hashes.
fn anonymous(entries: &[AuditEntry]) -> String {
    let shorten = |line: &str| {
        let stems = ["skiff-render-development-", "skiff-inventory-development-"];
        let cut = stems.iter().find_map(|stem| Some(line.find(stem)? + stem.len()));
        cut.map_or_else(|| line.to_owned(), |cut| format!("{}…", &line[..cut]))
    };
    lines(entries).lines().map(shorten).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_object_of_a_thousand_costs_five_requests_and_no_change_none() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/namespace.yaml", namespace("development"));
    (0..OBJECTS).for_each(|number| write_map(&mut shop, number, "one"));
    let first = shop.commit("a thousand objects")?;
    let start = site.mark()?;
    site.start_agent(json!([Site::environment("development", shop.url(), "apps")]))?;
    site.synced("development", &first).await?;
    // Once, some seconds after its start, an agent looks for what one before it has left behind.
    let looked = async || Ok(lines(&site.requests(start)?).contains("list secrets"));
    site.until("it has looked for what was left behind", looked).await?;
    site.polls(2).await?;

    let mark = site.mark()?;
    write_map(&mut shop, 417, "two");
    let second = shop.commit("one of them changes")?;
    site.synced("development", &second).await?;
    site.polls(2).await?;
    insta::assert_snapshot!(anonymous(&site.requests(mark)?), @r"
    create secrets skiff-system/skiff-render-development-…
    patch (dry run) configmaps development/map-417
    patch apps.skiff.dev/status skiff-system/development
    patch configmaps development/map-417
    update configmaps skiff-system/skiff-inventory-development-…
    ");

    let mark = site.mark()?;
    shop.write("README.md", "nothing that the app reads\n");
    let third = shop.commit("words")?;
    site.synced("development", &third).await?;
    site.polls(2).await?;
    insta::assert_snapshot!(lines(&site.requests(mark)?), @"patch apps.skiff.dev/status skiff-system/development");

    let mark = site.mark()?;
    site.polls(5).await?;
    assert_eq!(lines(&site.requests(mark)?), "");
    Ok(())
}
