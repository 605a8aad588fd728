//! A webhook of anybody's: the message as JSON, or what a template makes of it, signed where there is a secret.

use std::path::Path;

use jiff::Timestamp;

use super::deliver::{DeliveryError, Letter, read};
use super::message::Message;
use super::standard::{ID, Key, SIGNATURE, TIMESTAMP};
use super::template::Template;

pub(super) fn letter(
    url: &str,
    secret_file: Option<&Path>,
    message: &Message,
    template: Option<&Template>,
    now: Timestamp,
) -> Result<Letter, DeliveryError> {
    let mut letter = Letter::json(url, &message.model())?;
    if let Some(template) = template {
        let body = template.render(message.model()).map_err(|source| DeliveryError::Template { source })?;
        letter.body = body.into_bytes();
    }
    let timestamp = now.as_second().to_string();
    letter.header(ID, &message.id);
    letter.header(TIMESTAMP, &timestamp);
    if let Some(path) = secret_file {
        let secret = read(path)?;
        let signature = Key::new(&secret).sign(&message.id, &timestamp, &letter.body);
        letter.header(SIGNATURE, &signature);
        letter.secrets.push(secret);
    }
    Ok(letter)
}
