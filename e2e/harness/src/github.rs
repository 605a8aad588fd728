//! The one part of GitHub that gives out tokens of an app's installation, on loopback. It checks who asks as GitHub
//! does: the assertion's signature, its time and its issuer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::background::Background;
use crate::certs::TokenKeys;

/// The app that is known, and where it is installed.
pub const APP: &str = "4711";
pub const INSTALLATION: &str = "815";

/// A running server; it ends when it is dropped.
pub struct Github {
    address: SocketAddr,
    keys: TokenKeys,
    shared: Arc<Shared>,
    _background: Background,
}

struct Shared {
    public: SubjectPublicKeyInfoDer<'static>,
    manners: Mutex<Manners>,
}

struct Manners {
    lifetime: Duration,
    refusal: Option<(u16, Option<Duration>)>,
    flooding: bool,
    given: Vec<String>,
    asked: Vec<Value>,
}

impl Github {
    /// Starts one that gives out tokens for an hour.
    pub fn start() -> Result<Self> {
        let keys = TokenKeys::generate()?;
        let public = SubjectPublicKeyInfoDer::from_pem_slice(keys.public_pem.as_bytes())
            .context("failed to read the app's public key")?;
        let manners = Manners {
            lifetime: Duration::from_secs(3600),
            refusal: None,
            flooding: false,
            given: Vec::new(),
            asked: Vec::new(),
        };
        let shared = Arc::new(Shared { public, manners: Mutex::new(manners) });
        let background = Background::start("github")?;
        let (listener, address) =
            background.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 79, 0, 4)), 0))?;
        let router = Router::new()
            .route("/app/installations/{installation}/access_tokens", post(give))
            .with_state(shared.clone());
        background.spawn(async move {
            // It ends with its runtime; an error before that shows in its clients.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, keys, shared, _background: background })
    }

    /// Returns the address of the interface.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the app's private key in PKCS #8.
    #[must_use]
    pub fn private_key(&self) -> &str {
        &self.keys.private_pem
    }

    /// Gives out tokens for this long from now on.
    pub fn live(&self, lifetime: Duration) {
        self.shared.manners().lifetime = lifetime;
    }

    /// Refuses everybody with this status from now on, or nobody.
    pub fn refuse(&self, refusal: Option<(u16, Option<Duration>)>) {
        self.shared.manners().refusal = refusal;
    }

    /// Answers the next request with a megabyte before anything of use.
    pub fn flood(&self) {
        self.shared.manners().flooding = true;
    }

    /// Returns what was asked for with each token that was given out.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        self.shared.manners().asked.clone()
    }

    /// Returns the tokens that were given out so far.
    #[must_use]
    pub fn given(&self) -> Vec<String> {
        self.shared.manners().given.clone()
    }
}

impl Shared {
    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().expect("no code panics while it holds the manners")
    }

    fn believes(&self, headers: &HeaderMap) -> Option<()> {
        let sent = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let (signed, signature) = sent.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.public.as_ref());
        key.verify(signed.as_bytes(), &signature).ok()?;
        let (_, claims) = signed.split_once('.')?;
        let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let (from, until) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
        let now = Timestamp::now().as_second();
        (claims["iss"] == APP && from <= now && now < until && until - from <= 600).then_some(())
    }
}

async fn give(
    State(shared): State<Arc<Shared>>,
    Path(installation): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if std::mem::take(&mut shared.manners().flooding) {
        return Response::new(axum::body::Body::from(" ".repeat(1 << 20)));
    }
    let refusal = shared.manners().refusal;
    let (status, wait, body) = match refusal {
        Some((status, wait)) => (status, wait, serde_json::json!({"message": "refused by the test"})),
        None if shared.believes(&headers).is_none() => {
            (401, None, serde_json::json!({"message": "A JSON web token could not be decoded"}))
        }
        None if installation != INSTALLATION => (404, None, serde_json::json!({"message": "Not Found"})),
        None => {
            let mut manners = shared.manners();
            let token = format!("ghs_{:036}", manners.given.len());
            manners.given.push(token.clone());
            manners.asked.push(serde_json::from_slice(&body).unwrap_or_default());
            let lifetime = SignedDuration::try_from(manners.lifetime).unwrap_or(SignedDuration::ZERO);
            let expires_at = Timestamp::now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
            (201, None, serde_json::json!({"token": token, "expires_at": expires_at.to_string()}))
        }
    };
    let mut response = Response::new(axum::body::Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(wait) = wait {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}
