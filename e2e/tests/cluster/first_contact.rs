//! Bad input from the first moment: there is no earlier state that an error could be shown on.

use serde_json::json;
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::Options;

#[tokio::test(flavor = "multi_thread")]
async fn environment_that_could_never_be_read_shows_why() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("README.md", "nothing else\n");
    shop.commit("nothing to sync")?;
    let mut branchless = Site::environment("staging", shop.url(), "");
    branchless["source"]["ref"] = json!({"branch": "trunk"});
    site.start_agent(json!([
        Site::environment("development", shop.url(), "no/such"),
        branchless,
        Site::environment("production", &site.git.url("none"), ""),
    ]))?;
    site.app("development", "the missing path is told", |app| {
        says(app, "Rendered", "PathNotFound", "no/such")
    })
    .await?;
    site.app("staging", "the missing branch is told", |app| {
        says(app, "SourceReady", "ReferenceNotFound", "reference \"trunk\" not found")
    })
    .await?;
    site.app("production", "the missing repository is told", |app| {
        says(app, "SourceReady", "RepositoryNotFound", "repository not found")
    })
    .await?;
    Ok(())
}
