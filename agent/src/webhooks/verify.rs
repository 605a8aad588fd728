//! Who has sent a webhook: signatures over the bytes as they came, compared in a time that does not depend on where they
//! differ.
//!
//! Formats: GitHub's `X-Hub-Signature-256`
//! (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>), Gitea's `X-Gitea-Signature` and
//! Forgejo's `X-Forgejo-Signature` (hex of HMAC-SHA256), GitLab's `X-Gitlab-Token` and, as everybody else's, the
//! signatures of Standard Webhooks (<https://docs.gitlab.com/user/project/integrations/webhooks/>).

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::Sender;
use crate::config::{self, Secret, SecretError};
use crate::notify::{ID, Key, SIGNATURE, TIMESTAMP};

/// How far the time in a signature may be from the agent's: what the libraries of Standard Webhooks allow.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What one sender proves itself by.
pub(super) enum Secrets {
    /// HMAC over the body.
    Hmac(Secret),
    /// HMAC over id, time and body.
    Standard(Secret),
    /// GitLab's, which is sent as it is.
    Token(Secret),
}

/// Why a webhook is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it has no signature, or one of another kind than is configured")]
    Unsigned,
    #[error("its signature is not that of its content: compare the secret at both ends")]
    Wrong,
    #[error("its time is more than five minutes from the agent's: compare the clocks")]
    Stale,
}

impl Refusal {
    /// Returns what the sender is told.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unsigned => "not signed",
            Self::Wrong => "the signature is wrong",
            Self::Stale => "the timestamp is too old or too new",
        }
    }
}

impl Secrets {
    /// Reads what is configured for a sender; `None` where nothing is.
    pub(super) fn read(config: &config::Webhooks, sender: Sender) -> Result<Option<Self>, SecretError> {
        let hmac = |path: &Option<_>| path.as_deref().map(Secret::read).transpose();
        let standard = |path: &Path| Secret::read(path).map(Self::Standard);
        match sender {
            Sender::Github => Ok(hmac(&config.github)?.map(Self::Hmac)),
            Sender::Gitea => Ok(hmac(&config.gitea)?.map(Self::Hmac)),
            Sender::Generic => config.generic.as_deref().map(standard).transpose(),
            Sender::Gitlab => match &config.gitlab {
                Some(config::GitlabHook::Signed { secret_file }) => standard(secret_file).map(Some),
                Some(config::GitlabHook::Token { token_file }) => {
                    Secret::read(token_file).map(|token| Some(Self::Token(token)))
                }
                None => Ok(None),
            },
        }
    }
}

/// Checks a webhook; returns what it is known again by.
pub(super) fn verify(
    sender: Sender,
    secrets: &Secrets,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<String, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match secrets {
        Secrets::Hmac(secret) => {
            let signature = match sender {
                Sender::Github => header("x-hub-signature-256").and_then(|it| it.strip_prefix("sha256=")),
                _ => header("x-forgejo-signature").or_else(|| header("x-gitea-signature")),
            };
            let signature = signature.and_then(|it| hex::decode(it).ok()).ok_or(Refusal::Unsigned)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
            hmac::verify(&key, body, &signature).map_err(|_| Refusal::Wrong)?;
            Ok(hex::encode(signature))
        }
        Secrets::Standard(secret) => {
            let parts = (header(ID.as_str()), header(TIMESTAMP.as_str()), header(SIGNATURE.as_str()));
            let (Some(id), Some(timestamp), Some(signatures)) = parts else { return Err(Refusal::Unsigned) };
            if !Key::new(secret).verify(signatures, id, timestamp, body) {
                return Err(Refusal::Wrong);
            }
            let signed_at = timestamp.parse().ok().and_then(|it| Timestamp::from_second(it).ok());
            let is_fresh = signed_at.is_some_and(|at| now.duration_since(at).abs() <= TOLERANCE);
            if is_fresh { Ok(format!("id {id}")) } else { Err(Refusal::Stale) }
        }
        Secrets::Token(token) => {
            let sent = header("x-gitlab-token").ok_or(Refusal::Unsigned)?;
            // Digests have one length, so not even that of the token is told.
            let of = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
            verify_slices_are_equal(of(sent).as_ref(), of(token.expose()).as_ref())
                .map_err(|_| Refusal::Wrong)?;
            let id = header("x-gitlab-event-uuid").or_else(|| header("idempotency-key")).unwrap_or_default();
            Ok(format!("event {id} {}", hex::encode(digest::digest(&digest::SHA256, body))))
        }
    }
}
