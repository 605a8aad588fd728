//! A chart repository on loopback: an `index.yaml` and archives, as `helm repo index` and any file server make them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH, LOCATION};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::background::Background;
use crate::git_server::Access;

/// A running repository; it ends when it is dropped.
pub struct ChartRepository {
    base: String,
    shared: Arc<Mutex<Shared>>,
    _background: Background,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub status: u16,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct Shared {
    access: Access,
    refusal: Option<u16>,
    /// Where archives are, if not here; as the index has it, or as a redirect.
    elsewhere: Option<String>,
    redirect: Option<String>,
    without_digests: bool,
    charts: BTreeMap<String, Vec<Listed>>,
    archives: BTreeMap<String, Vec<u8>>,
    asked: Vec<Asked>,
}

struct Listed {
    version: String,
    digest: String,
    file: String,
}

/// Packs files of a chart as `helm package` does: below one folder of its name.
pub fn package(name: &str, files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (file, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, format!("{name}/{file}"), content.as_bytes())
            .with_context(|| format!("failed to pack {file}"))?;
    }
    builder.into_inner().and_then(GzEncoder::finish).context("failed to end the archive")
}

impl ChartRepository {
    /// Starts an empty repository for anyone on 127.79.0.4.
    pub fn start() -> Result<Self> {
        Self::start_on(Ipv4Addr::new(127, 79, 0, 4))
    }

    /// Starts one on another address of 127.0.0.0/8.
    pub fn start_on(address: Ipv4Addr) -> Result<Self> {
        let background = Background::start("chart-repository")?;
        let (listener, bound) = background.listen(SocketAddr::new(IpAddr::V4(address), 0))?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let router = Router::new().fallback(serve).with_state(shared.clone());
        background.spawn(async {
            // A server ends with its runtime; an error before that shows in its clients.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { base: format!("http://{bound}"), shared, _background: background })
    }

    /// Returns the address of the repository.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Puts a version of a chart with these files beside its `Chart.yaml` into the repository; returns its digest.
    pub fn publish(&self, name: &str, version: &str, files: &[(&str, &str)]) -> Result<String> {
        let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
        let all: Vec<(&str, &str)> =
            [("Chart.yaml", chart.as_str())].into_iter().chain(files.iter().copied()).collect();
        Ok(self.publish_archive(name, version, package(name, &all)?))
    }

    /// Puts any bytes there as a version of a chart; returns their digest.
    pub fn publish_archive(&self, name: &str, version: &str, archive: Vec<u8>) -> String {
        let digest = hex::encode(Sha256::digest(&archive));
        let file = format!("charts/{name}-{version}.tgz");
        let mut shared = self.lock();
        shared.archives.insert(file.clone(), archive);
        let versions = shared.charts.entry(name.to_owned()).or_default();
        versions.retain(|listed| listed.version != version);
        versions.push(Listed { version: version.to_owned(), digest: digest.clone(), file });
        digest
    }

    /// Changes the archive of a version behind its index's back.
    pub fn tamper(&self, name: &str, version: &str, archive: Vec<u8>) {
        self.lock().archives.insert(format!("charts/{name}-{version}.tgz"), archive);
    }

    /// Lists archives at another server from now on.
    pub fn list_archives_at(&self, base: &str) {
        self.lock().elsewhere = Some(base.to_owned());
    }

    /// Sends who asks for an archive to another server from now on.
    pub fn redirect_archives_to(&self, base: &str) {
        self.lock().redirect = Some(base.to_owned());
    }

    /// Leaves digests out of the index from now on.
    pub fn forget_digests(&self) {
        self.lock().without_digests = true;
    }

    /// Lets only these in from now on.
    pub fn demand(&self, access: Access) {
        self.lock().access = access;
    }

    /// Answers everything with this status from now on, or as it should.
    pub fn refuse(&self, status: Option<u16>) {
        self.lock().refusal = status;
    }

    /// Returns every request so far, in the order of arrival.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no code panics while it holds the repository")
}

async fn serve(State(shared): State<Arc<Mutex<Shared>>>, request: axum::extract::Request) -> Response {
    let mut shared = lock(&shared);
    let header = |name: http::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let path = request.uri().path().to_owned();
    let response = match shared.refusal.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => plain(status, Vec::new()),
        None if !shared.access.admits(request.headers()) => shared.access.challenge(),
        None => shared.answer(path.trim_start_matches('/'), header(IF_NONE_MATCH)),
    };
    let status = response.status().as_u16();
    shared.asked.push(Asked { path, status, authorization: header(AUTHORIZATION) });
    response
}

impl Shared {
    fn answer(&self, path: &str, known: Option<String>) -> Response {
        if path == "index.yaml" {
            let index = self.index();
            let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&index)[..8]));
            let is_known = known.as_deref() == Some(tag.as_str());
            let mut response = match is_known {
                true => plain(StatusCode::NOT_MODIFIED, Vec::new()),
                false => plain(StatusCode::OK, index.into_bytes()),
            };
            response.headers_mut().extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
            return response;
        }
        if let Some(base) = &self.redirect {
            let mut response = plain(StatusCode::FOUND, Vec::new());
            let to = HeaderValue::try_from(format!("{base}/{path}")).ok();
            response.headers_mut().extend(to.map(|to| (LOCATION, to)));
            return response;
        }
        match self.archives.get(path) {
            Some(archive) => plain(StatusCode::OK, archive.clone()),
            None => plain(StatusCode::NOT_FOUND, Vec::new()),
        }
    }

    fn index(&self) -> String {
        let mut text = "apiVersion: v1\nentries:\n".to_owned();
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes everything");
        for (name, versions) in &self.charts {
            line(format!("  {name}:"));
            for Listed { version, digest, file } in versions {
                line(format!("  - apiVersion: v2\n    name: {name}\n    version: {version}"));
                if !self.without_digests {
                    line(format!("    digest: {digest}"));
                }
                let base = self.elsewhere.as_ref().map(|base| format!("{base}/")).unwrap_or_default();
                line(format!("    urls:\n    - {base}{file}"));
            }
        }
        line("generated: \"2026-11-23T08:00:00Z\"".to_owned());
        text
    }
}

fn plain(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}
