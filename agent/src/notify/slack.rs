//! Slack: an incoming webhook, or a bot that writes into a channel.
//!
//! Wire format: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks> (`text`; 200 and `ok`),
//! <https://docs.slack.dev/reference/methods/chat.postMessage> (`channel`, `text`; 200 also for refusals, which `ok` and
//! `error` tell), and for the three characters that are escaped
//! <https://docs.slack.dev/messaging/formatting-message-text>.

use std::path::Path;

use http::StatusCode;
use serde_json::{Value, json};

use super::deliver::{DeliveryError, Letter, Verdict, by_status, read_address};
use super::message::Message;
use super::template::Template;

pub(super) fn to_webhook(
    url_file: &Path,
    message: &Message,
    template: Option<&Template>,
) -> Result<Letter, DeliveryError> {
    let address = read_address(url_file)?;
    let body = json!({"text": text(message, template)?});
    let mut letter = Letter::json(address.expose(), &body)
        .map_err(|_| DeliveryError::Unusable { path: url_file.to_owned(), problem: "it is not a URL" })?;
    letter.secrets.push(address);
    Ok(letter)
}

pub(super) fn to_channel(
    token_file: &Path,
    channel: &str,
    api_url: &str,
    message: &Message,
    template: Option<&Template>,
) -> Result<Letter, DeliveryError> {
    let url = format!("{}/chat.postMessage", api_url.trim_end_matches('/'));
    let body = json!({"channel": channel, "text": text(message, template)?, "unfurl_links": false});
    let mut letter = Letter::json(&url, &body)?;
    letter.header(http::header::CONTENT_TYPE, "application/json; charset=utf-8");
    letter.bearer(token_file)?;
    letter.judge = is_ok;
    Ok(letter)
}

fn is_ok(status: StatusCode, body: &[u8]) -> Verdict {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match status.is_success() && answer["ok"] != true {
        true => Verdict::Refused(answer["error"].as_str().unwrap_or("no answer of Slack").to_owned()),
        false => by_status(status, body),
    }
}

fn text(message: &Message, template: Option<&Template>) -> Result<String, DeliveryError> {
    match template {
        Some(template) => {
            template.render(escaped(message.model())).map_err(|source| DeliveryError::Template { source })
        }
        None => {
            let sign = if message.severity == "warning" { ":warning: " } else { "" };
            let (app, cluster) = (escape(&message.app.name), escape(&message.agent.cluster));
            Ok(format!("{sign}*{app}* on {cluster}: {}", escape(&message.text)))
        }
    }
}

/// Makes every text of the model one that Slack shows as it is. The template's own marks are left.
fn escaped(model: Value) -> Value {
    match model {
        Value::String(text) => Value::String(escape(&text)),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, escaped(value))).collect(),
        other => other,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
