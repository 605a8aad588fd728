//! What a webhook says: whether something was pushed, and to which repository.
//!
//! Formats: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>,
//! <https://docs.gitlab.com/user/project/integrations/webhook_events/#push-events>,
//! <https://docs.gitea.com/usage/repository/webhooks>, <https://forgejo.org/docs/latest/user/webhooks/>.

use axum::http::HeaderMap;
use serde_json::Value;

use super::Sender;

/// Says whether references may have moved.
pub(super) fn is_push(sender: Sender, headers: &HeaderMap, event: &Value) -> bool {
    const MOVES: [&str; 4] = ["push", "create", "delete", "release"];
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match sender {
        Sender::Github => MOVES.contains(&header("x-github-event")),
        Sender::Gitea => {
            MOVES.contains(&header("x-forgejo-event")) || MOVES.contains(&header("x-gitea-event"))
        }
        // A system hook says it in the body alone.
        Sender::Gitlab => {
            let kind = event["object_kind"].as_str().or(event["event_name"].as_str()).unwrap_or_default();
            matches!(kind, "push" | "tag_push" | "repository_update" | "release")
        }
        Sender::Generic => true,
    }
}

/// Returns all addresses of the repository that the webhook names.
pub(super) fn repositories(sender: Sender, event: &Value) -> Vec<String> {
    let (places, keys): (&[&str], &[&str]) = match sender {
        Sender::Github | Sender::Gitea => {
            (&["/repository"], &["clone_url", "ssh_url", "html_url", "git_url", "svn_url"])
        }
        Sender::Gitlab => (
            &["/project", "/repository"],
            &["git_http_url", "git_ssh_url", "http_url", "ssh_url", "web_url", "homepage", "url"],
        ),
        Sender::Generic => (&[""], &["repository", "url"]),
    };
    let mut found: Vec<String> = Vec::new();
    for place in places.iter().filter_map(|place| event.pointer(place)) {
        let texts = keys.iter().filter_map(|key| place[*key].as_str());
        found.extend(texts.filter(|text| !text.is_empty()).map(str::to_owned));
    }
    let listed = event["repositories"].as_array().filter(|_| sender == Sender::Generic);
    found.extend(listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    found.sort_unstable();
    found.dedup();
    found
}
