//! The chart adapter: charts of chart repositories (`index.yaml` over HTTP) and of registries (OCI), kept on disk by the
//! digest of their archives.
//!
//! Beside Git in the pipeline's first stage. Which version is wanted is decided by pure code (`skiff_shared::chart`); here
//! it is asked for, downloaded, checked and unpacked. Everything blocks and belongs on a blocking thread. Requests run
//! under the rules of Git's: a deadline, a limit of bytes, credentials for the repository's own host alone.
//!
//! Written on the agent's one HTTP client: a pull is three kinds of requests, and what matters of them, limits, redirects
//! and who is shown which credentials, is decided in one place for Git and charts.

mod archive;
mod cache;
mod challenge;
mod error;
mod registry;
mod repository;

use std::path::Path;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use skiff_shared::chart;
use skiff_shared::desired::ChartRelease;
use skiff_shared::environment::{ChartSource, ChartVersion, RepoPath};
use skiff_shared::object::{Digest, Hashing};

use crate::git::{Credentials, Limits, Proxy, RepositoryUrl, Rewrites, Source};

pub use cache::{Charts, Update};
pub use error::{ChartError, ChartProblem};

/// A chart that is wanted, and how its repository is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub chart: ChartSource,
    pub access: Access,
}

/// How a chart repository is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub credentials: Credentials,
    pub proxy: Option<Proxy>,
    pub limits: Limits,
}

/// One version of a chart, whose archive is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    pub release: ChartRelease,
    /// Where the archive came from: another digest under an unchanged address needs an index that names digests.
    location: String,
    /// Tells who got it: its repository, and where the credentials are.
    reader: Digest,
}

impl Chart {
    /// Returns the folder that it is rendered in, which tells versions apart in messages: `redis@18.1.2`.
    pub fn folder(&self) -> RepoPath {
        let ChartRelease { name, version, .. } = &self.release;
        RepoPath::parse(&format!("{name}@{version}")).expect("neither has a character that leads elsewhere")
    }

    /// Returns the name of the archive on disk, and below a chart that depends on it.
    pub fn file_name(&self) -> String {
        let ChartRelease { name, version, .. } = &self.release;
        format!("{name}-{version}.tgz")
    }
}

impl Wanted {
    /// Returns the repository's address over HTTP. Registries are spoken to over TLS, but for those of this machine.
    fn base(&self) -> String {
        let repository = &self.chart.repository;
        let Some(place) = repository.strip_prefix("oci://") else { return repository.clone() };
        let host = place.split(['/', ':']).next().unwrap_or_default();
        let is_local = host == "localhost" || host.starts_with("127.");
        format!("{}://{place}", if is_local { "http" } else { "https" })
    }

    fn is_in_registry(&self) -> bool {
        self.chart.repository.starts_with("oci://")
    }

    /// Returns a digest that tells the repository, as it is read with these credentials, from all others.
    fn reader(&self) -> Digest {
        let places = self.access.credentials.places();
        Hashing::default().part(self.chart.repository.as_bytes()).part(&places.0).finish()
    }

    /// Returns what is talked to, in the words of Git's adapter; no reference is looked at.
    fn server(&self, url: &str) -> Result<Source, ChartError> {
        let url = url
            .parse::<RepositoryUrl>()
            .map_err(|source| self.error(ChartProblem::Address { problem: source.to_string() }))?;
        let Access { credentials, proxy, limits } = self.access.clone();
        Ok(Source {
            url,
            reference: crate::git::Reference::Head,
            credentials,
            proxy,
            verify: None,
            rewrites: Rewrites::Follow,
            approvals: None,
            limits,
        })
    }

    /// Chooses among the versions that there are.
    fn choose<'a>(&self, versions: impl Iterator<Item = &'a str> + Clone) -> Result<&'a str, ChartError> {
        chart::choose(&self.chart.version, versions.clone()).ok_or_else(|| {
            let newest = chart::newest(versions).map(str::to_owned);
            self.error(match &self.chart.version {
                ChartVersion::Exact(version) => {
                    ChartProblem::VersionMissing { version: version.clone(), newest: newest.into() }
                }
                ChartVersion::Newest(range) => {
                    ChartProblem::RangeEmpty { range: range.to_string(), newest: newest.into() }
                }
            })
        })
    }

    fn error(&self, source: ChartProblem) -> ChartError {
        let ChartSource { repository, name, .. } = &self.chart;
        ChartError::Chart { chart: format!("{name} of {repository}"), source }
    }
}

/// Returns the headers of a request for something of this type.
fn headers(accept: &str) -> HeaderMap {
    let accept = HeaderValue::from_str(accept).unwrap_or(HeaderValue::from_static("*/*"));
    let agent = HeaderValue::from_static(concat!("skiff/", env!("CARGO_PKG_VERSION")));
    HeaderMap::from_iter([(ACCEPT, accept), (USER_AGENT, agent)])
}

/// Puts the files of an archive into a folder that is not there yet.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), ChartProblem> {
    archive::unpack(archive, folder, archive::Bounds::default())
}
