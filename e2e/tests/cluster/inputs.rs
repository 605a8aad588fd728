//! Real repositories of others: synced from empty, without help.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use skiff_e2e::site::{NAMESPACE, Site};
use skiff_harness::cluster::Options;
use skiff_harness::git_server::Repository;

/// Returns the folder of a real input, or says that there is none.
fn input(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SKIFF_INPUTS").map(|inputs| Path::new(&inputs).join(name));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        // Not `println!`: the test harness would keep it to itself.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {name} is not there, as SKIFF_INPUTS names no folder with it"
        );
    }
    found
}

/// Puts a folder of the disk into the next commit.
fn write_folder(repository: &mut Repository, folder: &Path, path: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            write_folder(repository, &entry.path(), &path)?;
        } else {
            repository.write(&path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_prometheus_is_synced_from_empty_as_a_plain_folder() -> anyhow::Result<()> {
    let Some(folder) = input("kube-prometheus") else { return Ok(()) };
    let mut site = Site::start(Options::default()).await?;
    let mut repository = site.repository("kube-prometheus")?;
    write_folder(&mut repository, &folder.join("manifests"), "manifests")?;
    repository.commit("131 objects")?;
    let mark = site.mark()?;
    site.start_agent(json!([Site::environment("development", repository.url(), "manifests")]))?;
    // Not `Healthy`: its aggregated API is served by a pod that does not exist here.
    let app = site
        .app("development", "all objects are in the cluster", |app| {
            app.status.as_ref().is_some_and(|status| status.sync == "Synced" && status.counts.total == 131)
        })
        .await?;
    let status = app.status.unwrap_or_default();
    assert_eq!((status.counts.failed, status.counts.held, status.counts.out_of_sync), (0, 0, 0));
    let refused: Vec<String> = site
        .writes(mark)?
        .iter()
        .filter(|entry| entry.code >= 300 && entry.namespace != NAMESPACE && !entry.dry_run)
        .map(skiff_e2e::requests::line)
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "CRDs come before their objects, so no write is refused");
    site.until("the inventory is settled", async || {
        Ok(site.inventory("development").await.is_ok_and(|ids| ids.len() == 131))
    })
    .await
}
