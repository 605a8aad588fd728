//! HTTP for gix, within the operation's [`Budget`]. It follows redirects of the first request only, as Git does, and takes
//! neither credentials nor a client certificate to another host.

mod wire;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, ClientBuilder, Request, Response, Url};

use super::budget::{Budget, Failure};
use super::credentials::Login;

pub(super) use wire::Wire;

/// How often the first request may be sent elsewhere.
const REDIRECTS: usize = 5;
const CONNECT: Duration = Duration::from_secs(10);
/// How often a request is tried whose connection went away before it could be sent.
const ATTEMPTS: u32 = 5;

/// Sends the requests of one operation.
pub(super) struct Transfer {
    budget: Arc<Budget>,
    origin: Url,
    login: Login,
    /// TLS needs its roots read and parsed, which plain HTTP can do without.
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    /// Other hosts are not shown the client certificate.
    elsewhere: OnceLock<Client>,
}

impl Transfer {
    pub(super) fn new(budget: Arc<Budget>, origin: Url, login: Login) -> Arc<Self> {
        let (plain, secure, elsewhere) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Arc::new(Self { budget, origin, login, plain, secure, elsewhere })
    }

    fn client(&self, url: &Url) -> Result<&Client, Failure> {
        let cell = match url.scheme() {
            "https" if same_host(url, &self.origin) => &self.secure,
            "https" => &self.elsewhere,
            _ => &self.plain,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(url).map_err(Failure::Unreachable)?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self, url: &Url) -> reqwest::Result<Client> {
        let Login { authorization, app: _, authorities: _, identity, proxy: _ } = &self.login;
        let mut builder = trusting(&self.login);
        if url.scheme() != "https" {
            // Credentials in the clear are for this machine alone, so for no proxy either.
            let builder = if authorization.is_some() { builder.no_proxy() } else { builder };
            return builder.tls_certs_only([]).build();
        }
        if let Some(identity) = identity
            && same_host(url, &self.origin)
        {
            builder = builder.identity(identity.clone());
        }
        builder.build()
    }

    /// Sends a request, with credentials if it goes to where they belong.
    async fn send(&self, mut request: Request) -> Result<Response, Failure> {
        if let Some(authorization) = &self.login.authorization
            && same_host(request.url(), &self.origin)
            && !request.headers().contains_key(AUTHORIZATION)
        {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let client = self.client(request.url())?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let attempt = request.try_clone().expect("the bodies are bytes in memory");
            match client.execute(attempt).await {
                Ok(response) => return Ok(response),
                // The server ended the connection while the request was on its way to it. If it refuses our certificate
                // it says so only then, and whether that is heard is a matter of luck.
                Err(error) if attempts < ATTEMPTS && was_not_sent(&error) => {}
                Err(error) => return Err(Failure::Unreachable(error.without_url())),
            }
        }
    }

    /// Sends the first request of a conversation.
    async fn get(&self, url: Url, headers: HeaderMap) -> Result<Response, Failure> {
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let mut request = Request::new(http::Method::GET, url.clone());
            *request.headers_mut() = headers.clone();
            let response = self.send(request).await?;
            if !response.status().is_redirection() {
                return accept(response);
            }
            url = target(&response, &url)?;
        }
        Err(Failure::Redirect { to: printable(&url), problem: "too many of them" })
    }

    /// Sends a request for what is no Git, and returns whatever the answer is. It follows redirects to any path;
    /// credentials, also those in `headers`, stay with the source's host.
    pub(super) async fn ask(&self, url: Url, headers: HeaderMap) -> Result<Response, Failure> {
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let mut request = Request::new(http::Method::GET, url.clone());
            *request.headers_mut() = headers.clone();
            if !same_host(&url, &self.origin) {
                request.headers_mut().remove(AUTHORIZATION);
            }
            let response = self.send(request).await?;
            let status = response.status();
            if !status.is_redirection() || status == http::StatusCode::NOT_MODIFIED {
                return Ok(response);
            }
            url = followed(&response, &url)?;
        }
        Err(Failure::Redirect { to: printable(&url), problem: "too many of them" })
    }

    async fn post(&self, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Response, Failure> {
        let mut request = Request::new(http::Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let response = self.send(request).await?;
        match response.status().is_redirection() {
            false => accept(response),
            true => {
                let to = location(&response, &url).map_or_else(String::new, |url| printable(&url));
                Err(Failure::Redirect { to, problem: "it came after the first request" })
            }
        }
    }

    /// Returns the next bytes of an answer; none at its end.
    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Bytes, Failure> {
        let chunk = loop {
            match response.chunk().await.map_err(|error| Failure::Interrupted(error.without_url()))? {
                Some(chunk) if chunk.is_empty() => {}
                chunk => break chunk.unwrap_or_default(),
            }
        };
        self.budget.receive(chunk.len())?;
        Ok(chunk)
    }
}

/// Returns the beginning of a client that trusts the source's authorities and takes its proxy.
pub(super) fn trusting(login: &Login) -> ClientBuilder {
    let mut builder =
        Client::builder().redirect(reqwest::redirect::Policy::none()).referer(false).connect_timeout(CONNECT);
    if let Some(proxy) = &login.proxy {
        builder = builder.proxy(proxy.clone());
    }
    match &login.authorities {
        Some(authorities) => builder.tls_certs_only(authorities.iter().cloned()),
        None => builder,
    }
}

fn was_not_sent(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled();
        }
        next = error.source();
    }
    false
}

fn same_host(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme()
        && left.host() == right.host()
        && left.port_or_known_default() == right.port_or_known_default()
}

fn accept(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    match status.is_success() {
        true => Ok(response),
        false => {
            Err(Failure::Status { status, retry_after: retry_after(response.headers(), Timestamp::now()) })
        }
    }
}

fn location(response: &Response, from: &Url) -> Option<Url> {
    from.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// Returns where a redirect of Git's first request leads, if it may be followed.
fn target(response: &Response, from: &Url) -> Result<Url, Failure> {
    let to = followed(response, from)?;
    if to.path().ends_with("/info/refs") && to.query() == from.query() {
        Ok(to)
    } else {
        Err(Failure::Redirect { to: printable(&to), problem: "it does not lead to a repository" })
    }
}

/// Returns where a redirect leads, if it may be followed at all.
fn followed(response: &Response, from: &Url) -> Result<Url, Failure> {
    let refuse = |to: String, problem| Err(Failure::Redirect { to, problem });
    let Some(to) = location(response, from) else {
        return refuse(String::new(), "it names no address");
    };
    let printed = printable(&to);
    if !matches!(to.scheme(), "http" | "https") {
        refuse(printed, "it leads away from HTTP")
    } else if from.scheme() == "https" && to.scheme() == "http" {
        refuse(printed, "it leads from HTTPS to plain HTTP")
    } else if !to.username().is_empty() || to.password().is_some() {
        refuse(printed, "it carries credentials")
    } else {
        Ok(to)
    }
}

/// Returns an address without anything that may be secret.
fn printable(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Reads `Retry-After`, which is seconds or a date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait = date.duration_since(now).max(SignedDuration::ZERO);
    Some(wait.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let wait = |text: &str| {
            let header = HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, header)]), now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Mon, 23 Nov 2026 08:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Mon, 23 Nov 2026 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
