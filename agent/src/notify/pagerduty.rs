//! PagerDuty, Events API v2: a trouble is an alert from its beginning to its end, everything else a change.
//!
//! Wire format: <https://developer.pagerduty.com/docs/send-alert-event> (`routing_key`, `event_action`, `dedup_key` of at
//! most 255 characters, `payload` with `summary` of at most 1,024 characters, `source` and `severity`; 202) and
//! <https://developer.pagerduty.com/docs/send-change-event> (`routing_key`, `payload` with `summary`; 202).

use std::path::Path;

use serde_json::{Value, json};
use skiff_shared::report::shortened;

use super::Dispatch;
use super::deliver::{DeliveryError, Letter, read};
use super::message::Message;
use super::template::{Template, text};

/// Characters that PagerDuty takes.
const MAX_SUMMARY: usize = 1_024;
const MAX_KEY: usize = 255;

pub(super) fn letters(
    routing_key_file: &Path,
    url: &str,
    dispatch: &Dispatch,
    template: Option<&Template>,
) -> Result<Vec<Letter>, DeliveryError> {
    match dispatch {
        Dispatch::Told(message) if message.reason.lasts() => {
            let event = json!({
                "event_action": "trigger",
                "dedup_key": key(message),
                "client": "Skiff",
                "payload": payload(message, template, Some(severity(message)))?,
            });
            letter(routing_key_file, url, "enqueue", event).map(|letter| vec![letter])
        }
        Dispatch::Told(message) => {
            let event = json!({"payload": payload(message, template, None)?});
            letter(routing_key_file, url, "change/enqueue", event).map(|letter| vec![letter])
        }
        Dispatch::Standing(standing) => {
            let resolve = |message: &Message| json!({"event_action": "resolve", "dedup_key": key(message)});
            let ended = standing.ended.iter().map(resolve);
            ended.map(|event| letter(routing_key_file, url, "enqueue", event)).collect()
        }
    }
}

fn letter(routing_key_file: &Path, url: &str, path: &str, mut event: Value) -> Result<Letter, DeliveryError> {
    let routing_key = read(routing_key_file)?;
    event["routing_key"] = json!(routing_key.expose());
    let mut letter = Letter::json(&format!("{}/v2/{path}", url.trim_end_matches('/')), &event)?;
    letter.secrets.push(routing_key);
    Ok(letter)
}

fn payload(
    message: &Message,
    template: Option<&Template>,
    severity: Option<&str>,
) -> Result<Value, DeliveryError> {
    let summary = text(template, message).map_err(|source| DeliveryError::Template { source })?;
    let mut payload = json!({
        "summary": shortened(&summary, MAX_SUMMARY),
        "source": message.agent.cluster,
        "timestamp": message.time.to_string(),
        "custom_details": message.model(),
    });
    if let Some(severity) = severity {
        payload["severity"] = json!(severity);
        payload["component"] = json!(message.app.name);
        payload["group"] = json!(message.app.environment);
        payload["class"] = json!(message.reason.word());
    }
    Ok(payload)
}

fn severity(message: &Message) -> &'static str {
    if message.severity == "warning" { "error" } else { "info" }
}

fn key(message: &Message) -> String {
    shortened(&message.trouble(), MAX_KEY)
}
