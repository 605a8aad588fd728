//! Tokens of a GitHub App: the app signs who it is with its private key, and GitHub gives out a token of one
//! installation for an hour. A token is kept until shortly before its end, in memory alone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Url};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::budget::{Budget, Failure};
use super::credentials::{App, Found, Login};
use super::error::FetchError;
use super::http::{retry_after, trusting};
use super::source::Source;
use super::url::is_private;
use crate::config::Secret;

/// The user name that a token is the password of.
pub(super) const USER: &str = "x-access-token";
/// A token is not used in its last minutes: a transfer may take a while, and clocks differ.
const SPARE: SignedDuration = SignedDuration::from_mins(5);
/// GitHub takes no assertion of more than ten minutes; its clock may be behind ours.
const ASSERTED_BEFORE: SignedDuration = SignedDuration::from_secs(60);
const ASSERTED_FOR: SignedDuration = SignedDuration::from_mins(9);

/// GitHub's answer has some hundred bytes; with every repository's description in it, some thousand.
const LONGEST: usize = 64 << 10;

/// An app, and where it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GithubApp {
    pub app: String,
    pub installation: String,
    /// Without one the Secret of the source holds it.
    pub private_key: Option<PathBuf>,
    /// Where the interface of GitHub is, as in `https://api.github.com`.
    pub api: String,
}

/// The tokens of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<Grant, Token>>>);

/// A token that is in use.
pub(super) struct Lease {
    tokens: Tokens,
    grant: Grant,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Grant {
    api: String,
    app: String,
    installation: String,
    /// Its name without its owner's.
    repository: String,
}

#[derive(Clone, Debug)]
struct Token {
    text: Secret,
    expires_at: Timestamp,
}

/// What GitHub answers.
#[derive(Deserialize)]
struct Answer {
    token: String,
    expires_at: Timestamp,
}

impl Tokens {
    /// Returns a token that is good for a while, asking for one if there is none.
    pub(super) fn token(
        &self,
        app: &App,
        source: &Source,
        login: &Login,
        budget: &Budget,
    ) -> Result<(Secret, Lease), FetchError> {
        let now = Timestamp::now();
        let grant = Grant::of(app, source);
        let lease = Lease { tokens: self.clone(), grant: grant.clone() };
        if let Some(token) = self.held().get(&grant).filter(|token| token.is_good(now)) {
            budget.hide(token.text.clone());
            return Ok((token.text.clone(), lease));
        }
        let url = source.url.to_string();
        let token = Request { grant: &grant, key: &app.key, url, login, budget }.send(now)?;
        budget.hide(token.text.clone());
        let text = token.text.clone();
        self.held().insert(grant, token);
        Ok((text, lease))
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Grant, Token>> {
        self.0.lock().expect("no code panics while it holds the tokens")
    }
}

impl Lease {
    /// Lets go of a token that was not accepted: the next one who wants it asks for another.
    pub(super) fn forget(&self) {
        self.tokens.held().remove(&self.grant);
    }
}

impl Token {
    fn is_good(&self, now: Timestamp) -> bool {
        now.checked_add(SPARE).is_ok_and(|later| later < self.expires_at)
    }
}

impl Grant {
    fn of(app: &App, source: &Source) -> Self {
        let App { app, installation, api, key: _ } = app;
        let (api, app, installation) = (api.clone(), app.clone(), installation.clone());
        Self { api, app, installation, repository: source.url.repository() }
    }
}

/// A request for one token.
struct Request<'a> {
    grant: &'a Grant,
    key: &'a Found,
    /// The repository's URL, for messages.
    url: String,
    login: &'a Login,
    budget: &'a Budget,
}

impl Request<'_> {
    fn send(&self, now: Timestamp) -> Result<Token, FetchError> {
        let Grant { api, app, installation, repository } = self.grant;
        let url = || self.url.clone();
        let assertion = assertion(app, self.key, now)
            .ok_or_else(|| FetchError::AppKeyInvalid { url: url(), place: self.key.place.clone() })?;
        self.budget.hide(Secret::new(assertion.clone()));
        let address = format!("{}/app/installations/{installation}/access_tokens", api.trim_end_matches('/'));
        let address = Url::parse(&address).ok().filter(is_private);
        let address = address.ok_or_else(|| FetchError::AppAddress { url: url(), api: api.clone() })?;
        // The installation may be allowed more; this token is not.
        let wanted = serde_json::json!({"repositories": [repository], "permissions": {"contents": "read"}});
        let (status, wait, body) = self
            .budget
            .wait(async {
                let client = trusting(self.login).build().map_err(Failure::Unreachable)?;
                exchange(&client, address, &assertion, wanted.to_string()).await.map_err(Failure::Unreachable)
            })
            .map_err(|_| self.failed())?;
        if !status.is_success() {
            let who = format!("app {app}, installation {installation}");
            let (api, status) = (api.clone(), status.as_u16());
            return Err(FetchError::AppRefused { url: url(), api, who, status, retry_after: wait });
        }
        let answer = serde_json::from_slice::<Answer>(&body)
            .map_err(|_| FetchError::AppAnswer { url: url(), api: api.clone() })?;
        Ok(Token { text: Secret::new(answer.token), expires_at: answer.expires_at })
    }

    fn failed(&self) -> FetchError {
        let (url, api) = (self.url.clone(), self.grant.api.clone());
        match self.budget.take_failure() {
            Some(Failure::Unreachable(source)) => FetchError::AppUnreachable { url, api, source },
            Some(Failure::Cancelled) => FetchError::Cancelled { url },
            _ => {
                let (deadline, received) = (self.budget.limits().deadline, self.budget.received());
                FetchError::Deadline { url, deadline, received }
            }
        }
    }
}

type Exchanged = (http::StatusCode, Option<Duration>, Vec<u8>);

async fn exchange(
    client: &Client,
    address: Url,
    assertion: &str,
    wanted: String,
) -> reqwest::Result<Exchanged> {
    let mut authorization = HeaderValue::try_from(format!("Bearer {assertion}"))
        .expect("an assertion is made of letters, digits and dots");
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
    headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
    let agent = concat!("skiff/", env!("CARGO_PKG_VERSION"));
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static(agent));
    let request = client.post(address).headers(headers).body(wanted);
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    let (status, wait) = (response.status(), retry_after(response.headers(), Timestamp::now()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            // Whatever it is, it is no token; cut off, it is not read as one.
            break;
        }
    }
    Ok((status, wait, body))
}

/// Says who the app is, signed with its key (JWT, RS256). Nothing if the key cannot sign.
fn assertion(app: &str, key: &Found, now: Timestamp) -> Option<String> {
    let key = match PrivateKeyDer::from_pem_slice(key.text.expose().as_bytes()).ok()? {
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok()?,
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
        _ => return None,
    };
    let (from, until) = (now.checked_sub(ASSERTED_BEFORE).ok()?, now.checked_add(ASSERTED_FOR).ok()?);
    let claims = serde_json::json!({"iat": from.as_second(), "exp": until.as_second(), "iss": app});
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encoded(r#"{"alg":"RS256","typ":"JWT"}"#), encoded(&claims.to_string()));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_not_used_in_its_last_minutes() {
        let expires_at: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let token = Token { text: Secret::new("t".to_owned()), expires_at };
        assert!(token.is_good("2026-11-23T08:54:59Z".parse().unwrap()));
        assert!(!token.is_good("2026-11-23T08:55:00Z".parse().unwrap()));
        assert!(!token.is_good("2026-11-23T09:30:00Z".parse().unwrap()));
    }
}
