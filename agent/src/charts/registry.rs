//! Registries: a chart is an artifact of the OCI distribution specification, its versions are tags.
//!
//! A version is asked for by its manifest, which names the archive by digest; a range needs the list of tags before it.
//! Registries that want a token say in their first refusal where it is given out; it is kept in memory while it is good.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, LINK, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use skiff_shared::chart::{tag_of, version_of};
use skiff_shared::environment::ChartVersion;

use super::Chart;
use super::cache::{Found, Talk};
use super::challenge::Challenge;
use super::error::{ChartError, ChartProblem, Meant};
use crate::config::Secret;
use crate::git::{Exchange, Reply};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What Helm calls a chart's archive in a manifest.
const ARCHIVE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Manifests may have 4 MiB by the specification; those of charts have one.
const LARGEST_ANSWER: usize = 4 << 20;
/// Tags are listed in pages of a size that registries choose.
const MOST_PAGES: usize = 100;
/// A token is not used in its last seconds.
const SPARE: Duration = Duration::from_secs(10);
/// How long a token is good if nobody says it.
const USUAL: Duration = Duration::from_secs(60);

/// What a registry lets in with.
#[derive(Debug)]
pub(super) struct Token {
    text: Secret,
    until: Instant,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Tags {
    /// Some registries say `null` for none.
    tags: Option<Vec<String>>,
}

/// Where a token stands depends on who gives it out.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Returns the wanted version of a chart, whose archive is here afterwards.
pub(super) fn find(talk: &Talk<'_>, tokens: &mut HashMap<String, Token>) -> Result<Chart, ChartError> {
    let mut registry = Registry { talk, tokens };
    let version = match &talk.wanted.chart.version {
        ChartVersion::Exact(version) => version.clone(),
        ChartVersion::Newest(_) => registry.newest()?,
    };
    let found = registry.manifest(version)?;
    if let Some(digest) = found.digest.as_ref().filter(|digest| talk.has(digest)) {
        return Ok(talk.chart(found.version, digest.clone(), found.location));
    }
    let url = registry.address(&format!("blobs/{}", found.digest.as_deref().unwrap_or_default()))?;
    let reply = registry.get(url, "*/*")?;
    talk.keep(reply, found)
}

struct Registry<'a, 't> {
    talk: &'a Talk<'a>,
    tokens: &'t mut HashMap<String, Token>,
}

impl<'a> Registry<'a, '_> {
    /// Returns the newest version in the wanted range.
    fn newest(&mut self) -> Result<String, ChartError> {
        let mut versions: Vec<String> = Vec::new();
        let mut next = Some(self.address("tags/list?n=1000")?);
        for _ in 0..MOST_PAGES {
            let Some(url) = next.take() else { break };
            let reply = self.get(url.clone(), "application/json")?;
            if reply.status() == StatusCode::NOT_FOUND {
                return Err(self.talk.error(ChartProblem::ChartMissing { meant: Meant(None) }));
            }
            next = reply.header(LINK.as_str()).and_then(|link| following(&url, link));
            let page: Tags = self.read(reply, "list of tags")?;
            versions.extend(page.tags.unwrap_or_default().iter().map(|tag| version_of(tag)));
        }
        self.talk.wanted.choose(versions.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Asks for the manifest of a version, which says what its archive is.
    fn manifest(&mut self, version: String) -> Result<Found, ChartError> {
        let talk = self.talk;
        let url = self.address(&format!("manifests/{}", tag_of(&version)))?;
        let location = url.to_string();
        let reply = self.get(url, MANIFEST)?;
        if reply.status() == StatusCode::NOT_FOUND {
            return Err(talk.error(ChartProblem::VersionMissing { version, newest: None.into() }));
        }
        let promised = reply.header("docker-content-digest").map(str::to_owned);
        if !reply.status().is_success() {
            return Err(ChartError::Server(reply.refused()));
        }
        let body = reply.body(LARGEST_ANSWER).map_err(ChartError::Server)?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        if let Some(expected) =
            promised.filter(|promised| promised.starts_with("sha256:") && *promised != digest)
        {
            return Err(talk.error(ChartProblem::DigestDiffers { version, found: digest, expected }));
        }
        let manifest: Manifest = serde_json::from_slice(&body)
            .map_err(|error| talk.error(ChartProblem::NotAChart { problem: error.to_string() }))?;
        let kinds: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
        let layer =
            manifest.layers.iter().find(|layer| layer.media_type == ARCHIVE && is_digest(&layer.digest));
        match layer {
            Some(layer) => Ok(Found { version, digest: Some(layer.digest.clone()), location }),
            None => {
                let problem = format!("none of its parts is a chart's archive: {}", kinds.join(", "));
                Err(talk.error(ChartProblem::NotAChart { problem }))
            }
        }
    }

    /// Returns an address below the chart's own.
    fn address(&self, rest: &str) -> Result<Url, ChartError> {
        let wanted = self.talk.wanted;
        let base = wanted.base();
        let malformed = || {
            self.talk.error(ChartProblem::Address { problem: "it is no address of a registry".to_owned() })
        };
        let url = Url::parse(&base).map_err(|_| malformed())?;
        let path = format!("/v2{}/{}/{rest}", url.path().trim_end_matches('/'), wanted.chart.name);
        url.join(&path).map_err(|_| malformed())
    }

    /// Sends a request, with a token if the registry wants one.
    fn get(&mut self, url: Url, accept: &str) -> Result<Reply<'a>, ChartError> {
        let exchange = &self.talk.exchange;
        let scope = format!("repository:{}:pull", self.repository());
        let mut headers = super::headers(accept);
        if let Some(token) = self.tokens.get(&scope).filter(|token| token.until > Instant::now()) {
            exchange.hide(token.text.clone());
            headers.extend(bearer(&token.text));
        }
        let reply = exchange.get(url.clone(), headers).map_err(ChartError::Server)?;
        if reply.status() != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        // Only the registry itself says who gets its credentials, not who a redirect led to (CVE-2020-15157).
        let is_its_own = reply.url().origin() == url.origin();
        let challenge =
            reply.header(WWW_AUTHENTICATE.as_str()).filter(|_| is_its_own).and_then(Challenge::read);
        let Some(challenge) = challenge else { return Err(ChartError::Server(reply.refused())) };
        let token = self.token(&challenge, &scope)?;
        exchange.hide(token.text.clone());
        let mut headers = super::headers(accept);
        headers.extend(bearer(&token.text));
        self.tokens.insert(scope.clone(), token);
        let reply = exchange.get(url, headers).map_err(ChartError::Server)?;
        if reply.status() == StatusCode::UNAUTHORIZED {
            self.tokens.remove(&scope);
            return Err(ChartError::Server(reply.refused()));
        }
        Ok(reply)
    }

    /// Asks for a token where the registry says. The credentials are the registry's: it is they that it asks for.
    fn token(&self, challenge: &Challenge, scope: &str) -> Result<Token, ChartError> {
        let talk = self.talk;
        let server = talk.wanted.server(&challenge.realm)?;
        let exchange = Exchange::begin(&server, talk.charts.means()).map_err(ChartError::Server)?;
        let mut url = Url::parse(&challenge.realm)
            .map_err(|error| talk.error(ChartProblem::Address { problem: error.to_string() }))?;
        url.query_pairs_mut().append_pair("scope", challenge.scope.as_deref().unwrap_or(scope));
        if let Some(service) = &challenge.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let reply = exchange.get(url, super::headers("application/json")).map_err(ChartError::Server)?;
        let given: Given = self.read(reply, "token")?;
        let text = given.token.or(given.access_token).filter(|text| !text.is_empty());
        let Some(text) = text else {
            return Err(talk.error(ChartProblem::Address {
                problem: format!("{} gives out no token", challenge.realm),
            }));
        };
        let lifetime = given.expires_in.map_or(USUAL, Duration::from_secs);
        Ok(Token { text: Secret::new(text), until: Instant::now() + lifetime.saturating_sub(SPARE) })
    }

    fn read<T: DeserializeOwned>(&self, reply: Reply<'_>, what: &str) -> Result<T, ChartError> {
        if !reply.status().is_success() {
            return Err(ChartError::Server(reply.refused()));
        }
        let body = reply.body(LARGEST_ANSWER).map_err(ChartError::Server)?;
        serde_json::from_slice(&body).map_err(|error| {
            // Not the text itself: it may hold a token.
            let problem =
                format!("its {what} cannot be read at line {}, column {}", error.line(), error.column());
            self.talk.error(ChartProblem::Address { problem })
        })
    }

    fn repository(&self) -> String {
        let wanted = self.talk.wanted;
        let place = wanted.chart.repository.trim_start_matches("oci://");
        let path = place.split_once('/').map_or("", |(_, path)| path);
        format!("{path}/{}", wanted.chart.name).trim_start_matches('/').to_owned()
    }
}

fn bearer(token: &Secret) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    value
        .map(|mut value| {
            value.set_sensitive(true);
            HeaderMap::from_iter([(AUTHORIZATION, value)])
        })
        .unwrap_or_default()
}

/// Returns the next page that a `Link` header names, if it is on the same server.
fn following(from: &Url, link: &str) -> Option<Url> {
    let target = link.split(',').find(|part| part.replace(' ', "").contains("rel=\"next\""))?;
    let next = from.join(target.trim().strip_prefix('<')?.split('>').next()?).ok()?;
    (next.origin() == from.origin()).then_some(next)
}

/// Says whether a text is a SHA-256 digest as registries write it: it becomes part of a path.
fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix("sha256:").is_some_and(|id| id.len() == 64 && id.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_on_the_same_server_alone() {
        let from = Url::parse("https://registry.example/v2/web/tags/list?n=2").unwrap();
        let next = |link: &str| following(&from, link).map(|url| url.to_string());
        assert_eq!(
            next("</v2/web/tags/list?n=2&last=b>; rel=\"next\"").as_deref(),
            Some("https://registry.example/v2/web/tags/list?n=2&last=b")
        );
        assert_eq!(next("<https://evil.example/v2/web/tags/list>; rel=\"next\""), None);
        assert_eq!(next("</v2/web/tags/list>; rel=\"prev\""), None);
    }

    #[test]
    fn digests_are_hexadecimal() {
        assert!(is_digest(&format!("sha256:{}", "0a".repeat(32))));
        for text in ["sha256:../../../etc/passwd", "sha512:00", "", &format!("sha256:{}", "0A".repeat(32))] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
