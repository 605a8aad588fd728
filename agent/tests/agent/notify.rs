//! Notifications as their receivers get them: the wire format that each vendor documents.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff::config::{Config, Receiver, Secret};
use skiff::notify::{About, Dispatch, Key, Message, Postman, Standing, Teller, Timing};
use skiff_harness::inbox::{Answer, Inbox, Received};
use skiff_shared::api::v1alpha1::Revision;
use skiff_shared::news::{News, Reason};
use tempfile::TempDir;
use tokio::sync::mpsc;

const COMMIT: &str = "4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b4f2c9a7d3b";

const TIMING: Timing = Timing { pause: Duration::from_millis(1), again: Duration::from_secs(60) };

/// A receiver of the configuration, with the server that it sends to.
struct Post {
    inbox: Inbox,
    folder: TempDir,
    queue: mpsc::Sender<Dispatch>,
}

impl Post {
    /// Starts a postman; `INBOX` in the destination is the server, `FOLDER` has the files.
    fn start(files: &[(&str, &str)], destination: &str) -> Self {
        let (inbox, folder) = (Inbox::start().unwrap(), tempfile::tempdir().unwrap());
        let (queue, waiting) = mpsc::channel(64);
        let post = Self { inbox, folder, queue };
        for (name, content) in files {
            post.write(name, content);
        }
        tokio::spawn(Postman::new(post.receiver(destination)).timed(TIMING).run(waiting));
        post
    }

    fn receiver(&self, destination: &str) -> Receiver {
        let (folder, inbox) = (self.folder.path().display().to_string(), self.inbox.url());
        let destination = destination.replace("FOLDER", &folder).replace("INBOX", &inbox);
        let file = format!(
            "cluster: {{name: eu-1}}\nnotifications: [{{name: team, {destination}}}]\nenvironments: \
             [{{name: a, source: {{url: 'https://git.example/a', ref: {{branch: main}}}}}}]\n"
        );
        Config::parse(file.as_bytes(), "config.yaml", []).unwrap().notifications.remove(0)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content.replace("INBOX", &self.inbox.url())).unwrap();
        path
    }

    async fn tell(&self, message: &Message) {
        self.queue.send(Dispatch::Told(Box::new(message.clone()))).await.unwrap();
    }

    async fn first(&self) -> Received {
        self.inbox.wait_for(1).await.unwrap().remove(0)
    }
}

fn message(reason: Reason, url: &str, text: &str) -> Message {
    let revision = Revision {
        name: format!("main@sha1:{COMMIT}"),
        url: url.to_owned(),
        reference: "main".to_owned(),
        commit: format!("sha1:{COMMIT}"),
        subject: "two <replicas> more".to_owned(),
        ..Revision::default()
    };
    let about = About {
        name: "web".to_owned(),
        environment: "production".to_owned(),
        sync: "Synced".to_owned(),
        health: "Degraded".to_owned(),
    };
    let [cluster, instance, namespace] = ["eu-1", "eu-1", "skiff"].map(str::to_owned);
    let news = News { reason, revision, text: text.to_owned() };
    let time: Timestamp = "2026-11-24T08:00:00Z".parse().unwrap();
    Message::new(news, about, Teller { cluster, instance, namespace }, time)
}

fn degraded() -> Message {
    message(Reason::Degraded, "https://git.example/shop", "1 of 3 <pods> & more")
}

#[tokio::test]
async fn slack_gets_text_in_which_three_characters_are_escaped() {
    let post = Post::start(
        &[("url", "INBOX/services/T0/B0/secret\n")],
        "slack: {urlFile: FOLDER/url}, template: '<https://x|{{ app.name }}>: {{ text }} at {{ revision.subject }}'",
    );
    post.tell(&degraded()).await;
    let received = post.first().await;
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/services/T0/B0/secret"));
    assert_eq!(received.header("content-type"), "application/json");
    let text = "<https://x|web>: 1 of 3 &lt;pods&gt; &amp; more at two &lt;replicas&gt; more";
    assert_eq!(received.json(), json!({"text": text}));
}

#[tokio::test]
async fn slacks_bot_is_refused_with_a_good_status_and_tokens_rotate() {
    let post = Post::start(
        &[("token", "xoxb-1")],
        "slack: {tokenFile: FOLDER/token, channel: C123, apiUrl: INBOX/api}",
    );
    post.inbox.answer(200, r#"{"ok": false, "error": "channel_not_found"}"#);
    post.tell(&degraded()).await;
    let received = post.first().await;
    assert_eq!(received.path, "/api/chat.postMessage");
    assert_eq!(received.header("authorization"), "Bearer xoxb-1");
    assert_eq!(received.header("content-type"), "application/json; charset=utf-8");
    let text = ":warning: *web* on eu-1: 1 of 3 &lt;pods&gt; &amp; more";
    assert_eq!(received.json(), json!({"channel": "C123", "text": text, "unfurl_links": false}));
    // What it refused is not sent again; the next one has the new token.
    post.write("token", "xoxb-2");
    post.inbox.answer(200, r#"{"ok": true}"#);
    post.tell(&degraded()).await;
    let all = post.inbox.wait_for(2).await.unwrap();
    assert_eq!(
        all.iter().map(|it| it.header("authorization")).collect::<Vec<_>>(),
        ["Bearer xoxb-1", "Bearer xoxb-2"]
    );
}

#[tokio::test]
async fn pagerduty_gets_an_alert_from_its_beginning_to_its_end_and_a_change_for_a_release() {
    let post = Post::start(
        &[("key", "0123456789abcdef0123456789abcdef")],
        "pagerDuty: {routingKeyFile: FOLDER/key, url: INBOX}",
    );
    post.inbox.answer(202, r#"{"status": "success"}"#);
    post.tell(&degraded()).await;
    let ended = Standing { app: "web".to_owned(), troubles: vec![], ended: vec![degraded()] };
    post.queue.send(Dispatch::Standing(ended)).await.unwrap();
    post.tell(&message(Reason::Synced, "https://git.example/shop", "synced")).await;
    let all = post.inbox.wait_for(3).await.unwrap();
    let paths: Vec<&str> = all.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["/v2/enqueue", "/v2/enqueue", "/v2/change/enqueue"]);
    let [trigger, resolve, change] = [0, 1, 2].map(|index: usize| all[index].json());
    for event in [&trigger, &resolve, &change] {
        assert_eq!(event["routing_key"], "0123456789abcdef0123456789abcdef");
    }
    assert_eq!(trigger["event_action"], "trigger");
    assert_eq!(trigger["payload"]["summary"], "web on eu-1: 1 of 3 <pods> & more");
    assert_eq!(trigger["payload"]["source"], "eu-1");
    assert_eq!(trigger["payload"]["severity"], "error");
    assert_eq!(trigger["payload"]["timestamp"], "2026-11-24T08:00:00Z");
    assert_eq!(resolve["event_action"], "resolve");
    assert_eq!(
        (&resolve["dedup_key"], &trigger["dedup_key"]),
        (&json!("skiff/eu-1/web/Degraded"), &json!("skiff/eu-1/web/Degraded"))
    );
    assert_eq!(change["payload"]["summary"], "web on eu-1: synced");
    assert_eq!((&change["payload"]["severity"], &change["event_action"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again_with_the_same_id() {
    let post = Post::start(
        &[("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        "webhook: {url: INBOX/hook, secretFile: FOLDER/secret}",
    );
    let busy = Answer { status: 503, ..Answer::default() };
    post.inbox.answer_once(busy.clone());
    post.inbox.answer_once(Answer { status: 429, headers: vec![("retry-after", "0".to_owned())], ..busy });
    post.tell(&degraded()).await;
    let all = post.inbox.wait_for(3).await.unwrap();
    let received = &all[2];
    let (id, timestamp) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    assert!(all.iter().all(|it| it.header("webhook-id") == id && it.body == received.body));
    let seconds: i64 = timestamp.parse().unwrap();
    assert!((Timestamp::now().as_second() - seconds).abs() < 600, "{timestamp}");
    let key = Key::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()));
    assert!(key.verify(received.header("webhook-signature"), id, timestamp, &received.body));
    let body = received.json();
    assert_eq!(body["trigger"], "on-health-degraded");
    assert_eq!((&body["app"]["name"], &body["agent"]["cluster"]), (&json!("web"), &json!("eu-1")));
    assert_eq!(
        (&body["revision"]["commit"], &body["reason"]),
        (&json!(format!("sha1:{COMMIT}")), &json!("Degraded"))
    );
}

#[tokio::test]
async fn a_webhooks_body_may_be_a_template_and_what_is_refused_is_not_sent_again() {
    let post = Post::start(&[], r#"webhook: {url: INBOX/hook}, template: '{"what": {{ text | tojson }}}'"#);
    post.inbox.answer_once(Answer { status: 400, ..Answer::default() });
    post.tell(&degraded()).await;
    post.tell(&message(Reason::Synced, "https://git.example/shop", "the next one")).await;
    let all = post.inbox.wait_for(2).await.unwrap();
    let bodies: Vec<Value> = all.iter().map(Received::json).collect();
    assert_eq!(bodies, [json!({"what": "1 of 3 <pods> & more"}), json!({"what": "the next one"})]);
    assert!(all.iter().all(|it| it.header("webhook-signature").is_empty()));
}

#[tokio::test]
async fn cloudevents_are_structured_and_have_the_required_attributes() {
    let post = Post::start(&[("token", "t0k")], "cloudEvents: {url: INBOX/events, tokenFile: FOLDER/token}");
    post.tell(&degraded()).await;
    let received = post.first().await;
    assert_eq!(received.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(received.header("authorization"), "Bearer t0k");
    let event = received.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(
        (&event["source"], &event["type"]),
        (&json!("/clusters/eu-1/apps/web"), &json!("dev.skiff.app.Degraded"))
    );
    assert!(event["id"].as_str().is_some_and(|id| id.starts_with("eu-1.web.Degraded.")));
    assert_eq!((&event["time"], &event["subject"]), (&json!("2026-11-24T08:00:00Z"), &json!("web")));
    assert_eq!(
        (&event["datacontenttype"], &event["data"]["text"]),
        (&json!("application/json"), &json!("1 of 3 <pods> & more"))
    );
}

#[tokio::test]
async fn alertmanager_is_told_of_troubles_and_of_their_end() {
    let post = Post::start(&[], "alertmanager: {url: INBOX/prefix/}");
    let standing = |troubles: Vec<Message>, ended: Vec<Message>| {
        Dispatch::Standing(Standing { app: "web".to_owned(), troubles, ended })
    };
    let later = Message { time: "2026-11-24T09:00:00Z".parse().unwrap(), ..degraded() };
    post.queue.send(standing(vec![degraded()], vec![])).await.unwrap();
    // The same trouble is no news; that it is over is.
    post.queue.send(standing(vec![later], vec![])).await.unwrap();
    post.queue.send(standing(vec![], vec![degraded()])).await.unwrap();
    let all = post.inbox.wait_for(2).await.unwrap();
    assert!(all.iter().all(|it| it.path == "/prefix/api/v2/alerts"));
    let [begun, ended] = [all[0].json(), all[1].json()];
    let alert = &begun[0];
    assert_eq!(
        alert["labels"],
        json!({
            "alertname": "SkiffDegraded", "severity": "warning", "app": "web", "environment": "production",
            "cluster": "eu-1", "namespace": "skiff", "instance": "eu-1",
        })
    );
    assert_eq!(alert["annotations"]["description"], "1 of 3 <pods> & more");
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(time(&alert["endsAt"]) > Timestamp::now(), "{alert}");
    assert_eq!(ended[0]["labels"], alert["labels"], "labels say which alert it is");
    assert!(time(&ended[0]["endsAt"]) <= Timestamp::now(), "{ended}");
    assert!(time(&ended[0]["startsAt"]) <= time(&ended[0]["endsAt"]), "{ended}");
}

#[tokio::test]
async fn a_trouble_that_lasts_is_told_again_however_much_happens_meanwhile() {
    let post = Post::start(&[], "alertmanager: {url: INBOX}");
    let (queue, waiting) = mpsc::channel(64);
    let timing = Timing { again: Duration::from_millis(30), ..TIMING };
    tokio::spawn(Postman::new(post.receiver("alertmanager: {url: INBOX}")).timed(timing).run(waiting));
    let standing = |app: &str| {
        Dispatch::Standing(Standing { app: app.to_owned(), troubles: vec![degraded()], ended: vec![] })
    };
    queue.send(standing("web")).await.unwrap();
    let busy = tokio::spawn(async move {
        while queue.send(Dispatch::Told(Box::new(degraded()))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let all = post.inbox.wait_for(3).await.unwrap();
    assert!(all.iter().all(|it| it.json()[0]["labels"]["alertname"] == "SkiffDegraded"), "{all:?}");
    busy.abort();
}

#[tokio::test]
async fn github_and_gitlab_get_the_status_of_the_commit_and_of_no_other_servers() {
    let post = Post::start(&[("token", "ghp_1")], "github: {tokenFile: FOLDER/token, apiUrl: INBOX/api/v3}");
    let host = post.inbox.url().replace("http://", "");
    let host = host.split(':').next().unwrap();
    post.inbox.answer(201, "{}");
    post.tell(&message(Reason::Synced, "https://elsewhere.example/team/shop", "")).await;
    post.tell(&message(Reason::Healed, &format!("ssh://git@{host}/team/shop.git"), "")).await;
    post.tell(&message(Reason::SyncFailed, &format!("ssh://git@{host}/team/shop.git"), &"é".repeat(200)))
        .await;
    let received = post.first().await;
    assert_eq!(received.path, format!("/api/v3/repos/team/shop/statuses/{COMMIT}"));
    assert_eq!(received.header("authorization"), "Bearer ghp_1");
    assert_eq!(received.header("accept"), "application/vnd.github+json");
    assert_eq!(received.header("x-github-api-version"), "2022-11-28");
    assert!(!received.header("user-agent").is_empty(), "GitHub refuses who does not say who they are");
    let body = received.json();
    assert_eq!((&body["state"], &body["context"]), (&json!("failure"), &json!("skiff/eu-1/web")));
    assert_eq!(body["description"].as_str().unwrap().chars().count(), 140);

    let post =
        Post::start(&[("token", "glpat-1")], "gitlab: {tokenFile: FOLDER/token, apiUrl: INBOX/api/v4}");
    let host = post.inbox.url().replace("http://", "");
    let shop = format!("https://{host}/group/team/shop.git");
    let again = r#"{"message": "Cannot transition status via :enqueue from :pending (Reason(s): …)"}"#;
    post.inbox.answer_once(Answer { status: 400, body: again.to_owned(), ..Answer::default() });
    post.inbox.answer(201, "{}");
    post.tell(&message(Reason::WaitingForApproval, &shop, "plan 01 waits")).await;
    post.tell(&message(Reason::RenderFailed, &shop, "a tab")).await;
    let all = post.inbox.wait_for(2).await.unwrap();
    assert_eq!(all[0].path, format!("/api/v4/projects/group%2Fteam%2Fshop/statuses/{COMMIT}"));
    assert_eq!(all[0].header("private-token"), "glpat-1");
    assert_eq!(
        all[0].json(),
        json!({"state": "pending", "name": "skiff/eu-1/web", "description": "plan 01 waits"})
    );
    assert_eq!(all[1].json()["state"], "failed");
}
