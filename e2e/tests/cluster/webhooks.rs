//! Webhooks: a push is seen long before the next poll, and nothing else comes of one.

use anyhow::Context as _;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_harness::cluster::Options;
use skiff_harness::git_server::RequestKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Sends a push as GitLab tells it, and returns the status of the answer.
async fn push(site: &Site, token: &str, event: &str, repository: &str) -> anyhow::Result<u16> {
    let body = json!({
        "object_kind": "push", "ref": "refs/heads/main",
        "project": {"git_http_url": repository, "path_with_namespace": "team/shop"},
    });
    let body = body.to_string();
    let head = format!(
        "POST /gitlab HTTP/1.1\r\nHost: hooks\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {token}\r\nX-Gitlab-Event-UUID: {event}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(format!("{}:9095", site.http_address())).await?;
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("the answer has no status")?;
    Ok(status.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_seen_at_once_and_who_has_no_token_wakes_nobody() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "a token of GitLab")?;
    site.webhooks = json!({
        "listen": format!("{}:9095", site.http_address()), "gitlab": {"tokenFile": token_file},
    });
    let mut shop = site.repository("shop")?;
    let write = |shop: &mut skiff_harness::git_server::Repository, value: &str| {
        shop.write("apps/a.yaml", in_namespace("default", &config_map("a", value))).commit(value)
    };
    let first = write(&mut shop, "one")?;
    let mut environment: Value = Site::environment("development", shop.url(), "apps");
    environment["sync"]["interval"] = json!("6h");
    site.start_agent(json!([environment]))?;
    site.synced("development", &first).await?;

    let second = write(&mut shop, "two")?;
    let asked = || site.git.count(RequestKind::Listing).requests;
    let before = asked();
    assert_eq!(push(&site, "another token", "1", shop.url()).await?, 401);
    assert_eq!(push(&site, "a token of GitLab", "2", "https://git.example/another").await?, 200);
    assert_eq!(asked(), before, "nobody is asked for what was not proved, or is not followed");
    assert_eq!(push(&site, "a token of GitLab", "3", shop.url()).await?, 200);
    site.synced("development", &second).await?;
    Ok(())
}
