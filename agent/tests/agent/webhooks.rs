//! Webhooks as their senders send them: headers, signatures and bodies as each vendor documents them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff::config::{Config, Secret};
use skiff::notify::Key;
use skiff::webhooks::{Webhooks, listen, serve};
use tempfile::TempDir;

const SECRET: &str = "It's a Secret to Everybody";
const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A listener that notes which repositories were named.
struct Door {
    address: SocketAddr,
    woken: Arc<Mutex<Vec<Vec<String>>>>,
    folder: TempDir,
}

impl Door {
    async fn open(gitlab: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        std::fs::write(folder.path().join("signing"), SIGNING).unwrap();
        let file = format!(
            "cluster: {{name: eu-1}}\nwebhooks: {{listen: '127.0.0.1:0', github: {{secretFile: F/secret}}, \
             gitlab: {gitlab}, gitea: {{secretFile: F/secret}}, generic: {{secretFile: F/signing}}}}\n\
             environments: [{{name: a, source: {{url: 'https://git.example/a', ref: {{branch: main}}}}}}]\n"
        );
        let file = file.replace("F/", &format!("{}/", folder.path().display()));
        let config = Config::parse(file.as_bytes(), "config.yaml", []).unwrap().webhooks.unwrap();
        let listener = listen(config.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let woken: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let notes = woken.clone();
        let wake = Arc::new(move |repositories: &[String]| {
            notes.lock().unwrap().push(repositories.to_vec());
            repositories.len()
        });
        tokio::spawn(serve(listener, Webhooks::new(config, wake), std::future::pending()));
        Self { address, woken, folder }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.post(format!("http://{}/{path}", self.address)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    fn woken(&self) -> Vec<Vec<String>> {
        self.woken.lock().unwrap().clone()
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, body))
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// A push as GitHub tells it.
fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b", "created": false, "deleted": false, "forced": false,
        "repository": {
            "id": 186_853_002, "full_name": "Team/shop", "private": true, "html_url": "https://github.com/Team/shop",
            "url": "https://github.com/Team/shop", "git_url": "git://github.com/Team/shop.git",
            "ssh_url": "git@github.com:Team/shop.git", "clone_url": "https://github.com/Team/shop.git",
            "svn_url": "https://github.com/Team/shop", "default_branch": "main",
        },
        "pusher": {"name": "ada", "email": "ada@example"}, "commits": [], "head_commit": null,
    })
}

#[tokio::test]
async fn github_wakes_by_its_signature_and_is_heard_once() {
    let door = Door::open("{secretFile: F/signing}").await;
    let body = bytes(&github_push());
    let signed = format!("sha256={}", signature(SECRET, &body));
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("x-hub-signature-256", &signed),
        ("content-type", "application/json"),
    ];
    assert_eq!(door.post("github", &headers, &body).await, 200);
    let named = door.woken().remove(0);
    assert!(named.contains(&"git@github.com:Team/shop.git".to_owned()), "{named:?}");
    assert!(named.contains(&"https://github.com/Team/shop.git".to_owned()), "{named:?}");
    // Whoever has listened cannot send it again, under another id neither.
    let mut again = headers;
    again[1].1 = "another";
    assert_eq!(door.post("github", &again, &body).await, 200);
    assert_eq!(door.woken().len(), 1);

    let mut changed = body.clone();
    changed[10] ^= 1;
    assert_eq!(door.post("github", &headers, &changed).await, 401);
    let wrong = format!("sha256={}", signature("another secret", &body));
    assert_eq!(
        door.post("github", &[("x-github-event", "push"), ("x-hub-signature-256", &wrong)], &body).await,
        401
    );
    assert_eq!(door.post("github", &[("x-github-event", "push")], &body).await, 401);
    let ping = bytes(&json!({"zen": "Design for failure.", "hook_id": 1}));
    let signed = format!("sha256={}", signature(SECRET, &ping));
    assert_eq!(
        door.post("github", &[("x-github-event", "ping"), ("x-hub-signature-256", &signed)], &ping).await,
        200
    );
    assert_eq!(door.woken().len(), 1, "nothing but a push wakes");
    // A rotated secret counts at once.
    std::fs::write(door.folder.path().join("secret"), "the next one").unwrap();
    let signed = format!("sha256={}", signature("the next one", &body));
    let headers = [("x-github-event", "push"), ("x-hub-signature-256", signed.as_str())];
    assert_eq!(door.post("github", &headers, &body).await, 200);
    assert_eq!(door.woken().len(), 2);
}

/// A push as GitLab tells it.
fn gitlab_push() -> Value {
    json!({
        "object_kind": "push", "event_name": "push", "ref": "refs/heads/main", "checkout_sha": "da1560886d4f094c",
        "user_username": "ada", "project_id": 15,
        "project": {
            "id": 15, "name": "shop", "web_url": "https://gitlab.example/team/shop",
            "git_ssh_url": "git@gitlab.example:team/shop.git", "git_http_url": "https://gitlab.example/team/shop.git",
            "path_with_namespace": "team/shop", "default_branch": "main",
        },
        "repository": {"name": "shop", "url": "git@gitlab.example:team/shop.git", "homepage": "https://gitlab.example/team/shop"},
        "commits": [], "total_commits_count": 0,
    })
}

#[tokio::test]
async fn gitlab_wakes_by_its_token() {
    let door = Door::open("{tokenFile: F/secret}").await;
    let body = bytes(&gitlab_push());
    let event = ("x-gitlab-event", "Push Hook");
    let uuid = ("x-gitlab-event-uuid", "13792a34-cac6-4fda-95a8-c58e00a3954e");
    assert_eq!(door.post("gitlab", &[event, uuid, ("x-gitlab-token", SECRET)], &body).await, 200);
    assert!(door.woken()[0].contains(&"https://gitlab.example/team/shop.git".to_owned()));
    assert_eq!(door.post("gitlab", &[event, ("x-gitlab-token", "It's a Secret")], &body).await, 401);
    assert_eq!(door.post("gitlab", &[event], &body).await, 401);
    assert_eq!(door.post("gitlab", &[event, uuid, ("x-gitlab-token", SECRET)], &body).await, 200);
    assert_eq!(door.woken().len(), 1, "the same event again");
}

#[tokio::test]
async fn signed_webhooks_of_gitlab_and_of_anybody_are_fresh_and_heard_once() {
    let door = Door::open("{secretFile: F/signing}").await;
    let key = Key::new(&Secret::new(SIGNING.to_owned()));
    let now = Timestamp::now().as_second();
    let generic = json!({"repository": "https://git.example/team/shop", "repositories": ["oci://registry.example/charts"]});
    for (path, body) in [("gitlab", bytes(&gitlab_push())), ("generic", bytes(&generic))] {
        let woken = door.woken().len();
        let post = async |id: &str, seconds: i64, signed_body: &[u8]| {
            let seconds = seconds.to_string();
            let signed = format!("v1,AAAA {}", key.sign(id, &seconds, signed_body));
            let headers =
                [("webhook-id", id), ("webhook-timestamp", &seconds), ("webhook-signature", signed.as_str())];
            door.post(path, &headers, &body).await
        };
        let id = format!("msg_{path}");
        assert_eq!(post(&id, now, &body).await, 200);
        assert_eq!(post(&id, now, &body).await, 200);
        assert_eq!(door.woken().len(), woken + 1, "the same id again");
        assert_eq!(post("msg_other", now, b"other").await, 401);
        assert_eq!(post("msg_old", now - 400, &body).await, 401);
        assert_eq!(post("msg_new", now + 400, &body).await, 401);
        // A token is not enough where a signature is configured.
        assert_eq!(door.post(path, &[("x-gitlab-token", SIGNING)], &body).await, 401);
        assert_eq!(door.woken().len(), woken + 1);
    }
    assert_eq!(door.woken()[1], ["https://git.example/team/shop", "oci://registry.example/charts"]);
}

#[tokio::test]
async fn gitea_and_forgejo_wake_by_their_signatures() {
    let door = Door::open("{secretFile: F/signing}").await;
    let push = |name: &str| {
        bytes(&json!({
            "ref": "refs/heads/develop", "before": "28e1879d029cb852", "after": "bffeb74224043ba2",
            "compare_url": "https://forge.example/team/shop/compare/a...b", "commits": [],
            "repository": {
                "id": 140, "name": name, "full_name": format!("team/{name}"),
                "html_url": format!("https://forge.example/team/{name}"),
                "ssh_url": format!("ssh://git@forge.example:2222/team/{name}.git"),
                "clone_url": format!("https://forge.example/team/{name}.git"),
            },
            "pusher": {"login": "ada"}, "sender": {"login": "ada"},
        }))
    };
    for (name, event, header) in
        [("one", "x-gitea-event", "x-gitea-signature"), ("two", "x-forgejo-event", "x-forgejo-signature")]
    {
        let body = push(name);
        let signed = signature(SECRET, &body);
        assert_eq!(door.post("gitea", &[(event, "push"), (header, &signed)], &body).await, 200);
        assert_eq!(door.post("gitea", &[(event, "push"), (header, "zz")], &body).await, 401);
        let named = door.woken().pop().unwrap();
        assert!(named.contains(&format!("https://forge.example/team/{name}.git")), "{named:?}");
    }
    assert_eq!(door.woken().len(), 2);
}

#[tokio::test]
async fn what_is_too_large_unknown_or_a_form_is_refused() {
    let door = Door::open("{secretFile: F/signing}").await;
    let large = vec![b' '; (2 << 20) + 1];
    let signed = format!("sha256={}", signature(SECRET, &large));
    assert_eq!(door.post("github", &[("x-hub-signature-256", &signed)], &large).await, 413);
    assert_eq!(door.post("bitbucket", &[], b"{}").await, 404);
    let form = b"payload=%7B%7D";
    let signed = format!("sha256={}", signature(SECRET, form));
    let headers =
        [("x-hub-signature-256", signed.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(door.post("github", &headers, form).await, 415);
    assert_eq!(
        door.post("github", &[("x-hub-signature-256", &format!("sha256={}", signature(SECRET, b"[")))], b"[")
            .await,
        400
    );
    assert_eq!(door.woken().len(), 0);
}
