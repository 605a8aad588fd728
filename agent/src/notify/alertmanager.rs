//! Alertmanager: the troubles of apps are alerts for as long as they last.
//!
//! Wire format: `POST /api/v2/alerts` with a list of alerts, each with `labels`, `annotations`, `startsAt` and `endsAt`
//! (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>). An alert that is not told again ends at
//! its `endsAt`, so troubles are told again (<https://prometheus.io/docs/alerting/latest/alerts_api/>).

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::deliver::{DeliveryError, Letter};
use super::message::Message;
use super::template::{Template, text};

/// How often troubles are told again, and how long an alert lasts without that: as Prometheus has it, four times that.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
const LASTS: SignedDuration = SignedDuration::from_secs(240);

/// Writes all alerts at once: those that last, and those that have ended.
pub(super) fn letter(
    url: &str,
    token_file: Option<&Path>,
    (troubles, ended): (&[Message], &[Message]),
    template: Option<&Template>,
    now: Timestamp,
) -> Result<Letter, DeliveryError> {
    let until = now.checked_add(LASTS).unwrap_or(Timestamp::MAX);
    let lasting = troubles.iter().map(|message| alert(message, template, until));
    let over = ended.iter().map(|message| alert(message, template, now));
    let alerts: Vec<Value> = lasting.chain(over).collect::<Result<_, _>>()?;
    let mut letter = Letter::json(&format!("{}/api/v2/alerts", url.trim_end_matches('/')), &json!(alerts))?;
    if let Some(path) = token_file {
        letter.bearer(path)?;
    }
    Ok(letter)
}

fn alert(message: &Message, template: Option<&Template>, ends_at: Timestamp) -> Result<Value, DeliveryError> {
    let summary = text(template, message).map_err(|source| DeliveryError::Template { source })?;
    let Message { app, agent, revision, .. } = message;
    Ok(json!({
        "labels": {
            "alertname": format!("Skiff{}", message.reason.word()),
            "severity": message.severity,
            "app": app.name,
            "environment": app.environment,
            "cluster": agent.cluster,
            "namespace": agent.namespace,
            "instance": agent.instance,
        },
        "annotations": {"summary": summary, "description": message.text, "revision": revision.name},
        "startsAt": message.time.min(ends_at).to_string(),
        "endsAt": ends_at.to_string(),
    }))
}
