//! CloudEvents 1.0 over HTTP, in structured mode.
//!
//! Wire format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md> (`specversion`, `id`, `source` and
//! `type` are required, `source` and `id` together name no other event) and
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#32-structured-content-mode>.

use std::path::Path;

use http::header::CONTENT_TYPE;
use serde_json::json;

use super::deliver::{DeliveryError, Letter};
use super::message::Message;

pub(super) fn letter(
    url: &str,
    token_file: Option<&Path>,
    message: &Message,
) -> Result<Letter, DeliveryError> {
    let event = json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!("/clusters/{}/apps/{}", message.agent.cluster, message.app.name),
        "type": format!("dev.skiff.app.{}", message.reason.word()),
        "subject": message.app.name,
        "time": message.time.to_string(),
        "datacontenttype": "application/json",
        "data": message.model(),
    });
    let mut letter = Letter::json(url, &event)?;
    letter.header(CONTENT_TYPE, "application/cloudevents+json; charset=utf-8");
    if let Some(path) = token_file {
        letter.bearer(path)?;
    }
    Ok(letter)
}
