//! The status of a commit at GitHub and GitLab: what became of it in this cluster.
//!
//! Wire format: <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status> (`state` is `pending`, `success`,
//! `failure` or `error`, `description` has at most 140 characters; 201) and
//! <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status> (`state` is `pending`, `running`, `success`, `failed`
//! or `canceled`, `name`, `description` of at most 255 characters; 201).

use std::path::Path;

use http::{HeaderName, StatusCode};
use reqwest::Url;
use serde_json::{Value, json};
use skiff_shared::news::Reason;
use skiff_shared::report::shortened;
use skiff_shared::trace::canonical_repository;

use super::deliver::{DeliveryError, Letter, Verdict, by_status};
use super::message::Message;
use super::template::{Template, text};

/// Writes the status; none where it is not about a commit of a repository there.
pub(super) fn github(
    token_file: &Path,
    api_url: &str,
    message: &Message,
    template: Option<&Template>,
) -> Result<Option<Letter>, DeliveryError> {
    let Some((state, repository, commit)) = status(message, api_url) else { return Ok(None) };
    let url = format!("{}/repos/{repository}/statuses/{commit}", api_url.trim_end_matches('/'));
    let body = json!({
        "state": state.at_github(),
        "context": context(message),
        "description": description(message, template, 140)?,
    });
    let mut letter = Letter::json(&url, &body)?;
    letter.header(http::header::ACCEPT, "application/vnd.github+json");
    letter.header(HeaderName::from_static("x-github-api-version"), "2022-11-28");
    letter.bearer(token_file)?;
    Ok(Some(letter))
}

/// Writes the status; none where it is not about a commit of a repository there.
pub(super) fn gitlab(
    token_file: &Path,
    api_url: &str,
    message: &Message,
    template: Option<&Template>,
) -> Result<Option<Letter>, DeliveryError> {
    let Some((state, project, commit)) = status(message, api_url) else { return Ok(None) };
    // A project is named by its path, whose slashes are written %2F.
    let project = project.replace('/', "%2F");
    let url = format!("{}/projects/{project}/statuses/{commit}", api_url.trim_end_matches('/'));
    let body = json!({
        "state": state.at_gitlab(),
        "name": context(message),
        "description": description(message, template, 255)?,
    });
    let mut letter = Letter::json(&url, &body)?;
    letter.show(HeaderName::from_static("private-token"), "", token_file)?;
    letter.judge = is_as_wanted;
    Ok(Some(letter))
}

#[derive(Clone, Copy)]
enum State {
    Pending,
    Success,
    Failure,
}

impl State {
    fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::SyncStarted | Reason::SyncApplied | Reason::WaitingForApproval => Some(Self::Pending),
            Reason::Synced | Reason::RolledBack | Reason::Recovered => Some(Self::Success),
            Reason::SyncFailed | Reason::RenderFailed | Reason::Degraded => Some(Self::Failure),
            _ => None,
        }
    }

    fn at_github(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    fn at_gitlab(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failed",
        }
    }
}

/// Returns what is said of which commit of which repository (`owner/name`), if it is one of the server's.
fn status(message: &Message, api_url: &str) -> Option<(State, String, String)> {
    let state = State::of(message.reason)?;
    let repository = canonical_repository(&message.revision.url);
    let (server, path) = repository.split_once('/')?;
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let commit = message.revision.commit.split_once(':').map(|(_, id)| id)?;
    (host == server_of(api_url)?).then(|| (state, path.to_owned(), commit.to_owned()))
}

/// Returns the host of the repositories that an interface is about.
fn server_of(api_url: &str) -> Option<String> {
    let url = Url::parse(api_url).ok()?;
    let host = url.host_str()?;
    // GitHub's own interface has a host of its own.
    Some(host.strip_prefix("api.").filter(|_| url.path() == "/").unwrap_or(host).to_owned())
}

fn context(message: &Message) -> String {
    format!("skiff/{}/{}", message.agent.cluster, message.app.name)
}

fn description(
    message: &Message,
    template: Option<&Template>,
    length: usize,
) -> Result<String, DeliveryError> {
    let text = match template {
        Some(_) => text(template, message).map_err(|source| DeliveryError::Template { source })?,
        None => message.text.clone(),
    };
    Ok(shortened(&text, length))
}

/// GitLab refuses to set the state that there is already.
fn is_as_wanted(status: StatusCode, body: &[u8]) -> Verdict {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let words = answer["message"].as_str().unwrap_or_default();
    match status == StatusCode::BAD_REQUEST && words.starts_with("Cannot transition status") {
        true => Verdict::Taken,
        false => by_status(status, body),
    }
}
