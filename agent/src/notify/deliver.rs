//! One request to a receiver, and what became of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use reqwest::{Certificate, Client, Request, Url};

use super::template::TemplateError;
use crate::config::{Proxy, Receiver, Secret, SecretError};
use crate::git::{is_private_address, retry_after};

/// How long one try may take, from its beginning to its end.
const DEADLINE: Duration = Duration::from_secs(20);

/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 4_096;

/// Characters of a refusal that are told.
const TOLD: usize = 200;

/// What an answer says.
pub(super) enum Verdict {
    Taken,
    /// With the words of the receiver.
    Refused(String),
}

/// Reads an answer.
pub(super) type Judge = fn(StatusCode, &[u8]) -> Verdict;

/// Reads an answer whose status says it all.
pub(super) fn by_status(status: StatusCode, body: &[u8]) -> Verdict {
    match status.is_success() {
        true => Verdict::Taken,
        false => Verdict::Refused(String::from_utf8_lossy(body).into_owned()),
    }
}

/// A request to a receiver.
pub(super) struct Letter {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// What must not be printed, wherever it comes back from.
    pub secrets: Vec<Secret>,
    pub judge: Judge,
}

/// Why a message was not delivered. No secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("failed to read what is needed for it")]
    Secret { source: SecretError },
    #[error("what {} holds is not of use: {problem}", path.display())]
    Unusable { path: PathBuf, problem: &'static str },
    #[error("{url:?} is not an address")]
    Address { url: String },
    #[error("failed to write its text")]
    Template { source: TemplateError },
    #[error("failed to read the certificates in {}", path.display())]
    Authorities { path: PathBuf, source: std::io::Error },
    #[error("the certificates, or the proxy, cannot be used")]
    Client { source: reqwest::Error },
    #[error("the receiver cannot be reached")]
    Unreachable { source: reqwest::Error },
    #[error("the receiver answered {status}: {said}")]
    Refused { status: u16, said: String, retry_after: Option<Duration> },
}

impl DeliveryError {
    /// Returns how long to wait at least before another try; `None` where none would help.
    pub(super) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { .. } => Some(Duration::ZERO),
            Self::Refused { status: 408 | 429 | 500.., retry_after, .. } => {
                Some(retry_after.unwrap_or(Duration::ZERO))
            }
            _ => None,
        }
    }
}

impl Letter {
    /// Begins a letter with a body of JSON.
    pub(super) fn json(url: &str, body: &serde_json::Value) -> Result<Self, DeliveryError> {
        let url = Url::parse(url).map_err(|_| DeliveryError::Address { url: url.to_owned() })?;
        let mut letter = Self {
            url,
            headers: HeaderMap::new(),
            body: body.to_string().into_bytes(),
            secrets: Vec::new(),
            judge: by_status,
        };
        letter.header(CONTENT_TYPE, "application/json");
        letter.header(USER_AGENT, concat!("skiff/", env!("CARGO_PKG_VERSION")));
        Ok(letter)
    }

    pub(super) fn header(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// Shows a secret that the file holds, after these words.
    pub(super) fn show(&mut self, name: HeaderName, words: &str, path: &Path) -> Result<(), DeliveryError> {
        let secret = read(path)?;
        let value = HeaderValue::from_str(&format!("{words}{}", secret.expose()));
        let mut value = value.map_err(|_| DeliveryError::Unusable {
            path: path.to_owned(),
            problem: "it has characters that no header can have",
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self.secrets.push(secret);
        Ok(())
    }

    pub(super) fn bearer(&mut self, path: &Path) -> Result<(), DeliveryError> {
        self.show(AUTHORIZATION, "Bearer ", path)
    }
}

pub(super) fn read(path: &Path) -> Result<Secret, DeliveryError> {
    Secret::read(path).map_err(|source| DeliveryError::Secret { source })
}

/// Reads an address that is a secret itself.
pub(super) fn read_address(path: &Path) -> Result<Secret, DeliveryError> {
    let address = read(path)?;
    match is_private_address(address.expose()) {
        true => Ok(address),
        false => {
            let problem = "it is not a URL that begins with https://";
            Err(DeliveryError::Unusable { path: path.to_owned(), problem })
        }
    }
}

/// Sends a letter once.
pub(super) async fn send(receiver: &Receiver, letter: &Letter) -> Result<(), DeliveryError> {
    let client = client(receiver)?;
    let mut request = Request::new(Method::POST, letter.url.clone());
    *request.headers_mut() = letter.headers.clone();
    *request.body_mut() = Some(letter.body.clone().into());
    let unreachable = |source: reqwest::Error| DeliveryError::Unreachable { source: source.without_url() };
    let mut response = client.execute(request).await.map_err(unreachable)?;
    let status = response.status();
    let wait = retry_after(response.headers(), Timestamp::now());
    let mut body = Vec::new();
    // An answer that breaks off has told its status.
    while body.len() < LONGEST_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(LONGEST_ANSWER);
    let said = match (letter.judge)(status, &body) {
        Verdict::Taken => return Ok(()),
        Verdict::Refused(said) => said,
    };
    let said = letter.secrets.iter().fold(said, |said, secret| said.replace(secret.expose(), "***"));
    let said = skiff_shared::report::shortened(said.trim(), TOLD);
    Err(DeliveryError::Refused { status: status.as_u16(), said, retry_after: wait })
}

/// Makes a client for one request: messages are rare, and roots of trust that are kept cost memory all the time.
fn client(receiver: &Receiver) -> Result<Client, DeliveryError> {
    let failed = |source: reqwest::Error| DeliveryError::Client { source: source.without_url() };
    let mut builder =
        Client::builder().redirect(reqwest::redirect::Policy::none()).referer(false).timeout(DEADLINE);
    if let Some(path) = &receiver.ca_file {
        let pem = std::fs::read(path)
            .map_err(|source| DeliveryError::Authorities { path: path.clone(), source })?;
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(failed)?);
    }
    if let Some(Proxy { url, username_file, password_file, secret_ref: _ }) = &receiver.proxy {
        let mut proxy = reqwest::Proxy::all(url).map_err(failed)?;
        if let (Some(username), Some(password)) = (username_file, password_file) {
            proxy = proxy.basic_auth(read(username)?.expose(), read(password)?.expose());
        }
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(failed)
}
