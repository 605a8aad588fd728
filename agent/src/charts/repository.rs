//! Chart repositories over HTTP: an `index.yaml` that lists every version of every chart with the addresses of archives.
//!
//! A poll is one conditional request. Only an index that has changed is transferred, and looked through for one chart.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::header::{ETAG, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Url;
use skiff_shared::chart::{self, Listed};
use skiff_shared::yaml::{closest, decode};

use super::Chart;
use super::cache::{Found, State, Talk};
use super::error::{ChartError, ChartProblem, Meant};
use crate::git::Reply;

/// The largest index.
const LARGEST: u64 = 64 << 20;

/// An index that was fetched.
#[derive(Debug)]
pub(super) struct Index {
    /// The file that it is in; it goes away with this value.
    file: PathBuf,
    digest: String,
    /// Counts the indexes that this repository had.
    number: u64,
    /// When the repository was asked for the last time.
    asked: Instant,
    /// What the next request is made conditional with.
    condition: Option<(HeaderName, HeaderValue)>,
}

impl Drop for Index {
    fn drop(&mut self) {
        // One that stays is removed at the next start.
        let _gone = fs::remove_file(&self.file);
    }
}

/// Returns the wanted version of a chart, whose archive is here afterwards.
pub(super) fn find(talk: &Talk<'_>, state: &mut State, fresh: Duration) -> Result<Chart, ChartError> {
    if state.index.as_ref().is_none_or(|index| index.asked.elapsed() >= fresh) {
        ask(talk, &mut state.index)?;
    }
    let Some(index) = &state.index else {
        return Err(talk.error(ChartProblem::Index { problem: "there is none".to_owned() }));
    };
    let before = state.chosen.get(&talk.wanted.chart);
    if let Some((number, chart)) = before
        && *number == index.number
        && talk.charts.archive(chart).is_file()
    {
        return Ok(chart.clone());
    }
    let known = talk.known.or(before.map(|(_, chart)| chart));
    let chart = match choose(talk, index, known) {
        Ok(chart) => chart,
        Err(error) => {
            // It may be the index that cannot be read: the next request is not conditional.
            if error.reason() == "CacheFailed" {
                state.index = None;
            }
            return Err(error);
        }
    };
    let number = index.number;
    state.chosen.insert(talk.wanted.chart.clone(), (number, chart.clone()));
    Ok(chart)
}

/// Asks for the index, unless it is the one that is here.
fn ask(talk: &Talk<'_>, index: &mut Option<Index>) -> Result<(), ChartError> {
    let mut headers = super::headers("*/*");
    headers.extend(index.as_ref().and_then(|index| index.condition.clone()));
    let reply = talk.exchange.get(address(talk, "index.yaml")?, headers).map_err(ChartError::Server)?;
    match reply.status() {
        StatusCode::NOT_MODIFIED => {
            if let Some(index) = index {
                index.asked = Instant::now();
            }
            return Ok(());
        }
        status if status.is_success() => {}
        _ => return Err(ChartError::Server(reply.refused())),
    }
    let condition = condition(&reply);
    let (fetched, digest) = talk.download(reply, ("the index", LARGEST))?;
    let number = match index {
        Some(before) if before.digest == digest => before.number,
        Some(before) => before.number + 1,
        None => 1,
    };
    let file = talk.charts.new_index();
    fetched.persist(&file).map_err(|error| talk.storage(&file, error.error))?;
    *index = Some(Index { file, digest, number, asked: Instant::now(), condition });
    Ok(())
}

/// Returns the header that makes the next request conditional.
fn condition(reply: &Reply<'_>) -> Option<(HeaderName, HeaderValue)> {
    let value =
        |name: HeaderName| reply.header(name.as_str()).and_then(|text| HeaderValue::from_str(text).ok());
    let tag = value(ETAG).map(|tag| (IF_NONE_MATCH, tag));
    tag.or_else(|| value(LAST_MODIFIED).map(|time| (IF_MODIFIED_SINCE, time)))
}

/// Finds the wanted version in an index, and fetches its archive if it is not here.
fn choose(talk: &Talk<'_>, index: &Index, known: Option<&Chart>) -> Result<Chart, ChartError> {
    let bytes = fs::read(&index.file).map_err(|error| talk.storage(&index.file, error))?;
    let unusable = |problem: String| talk.error(ChartProblem::Index { problem });
    let text = decode(&bytes).map_err(|error| unusable(error.to_string()))?;
    let name = &talk.wanted.chart.name;
    let read = chart::Index::read(&text, name).map_err(|error| unusable(error.to_string()))?;
    if read.versions.is_empty() {
        let known: Vec<&str> = read.charts.iter().map(String::as_str).collect();
        let meant = closest(name, &known).filter(|meant| meant != name).map(str::to_owned);
        return Err(talk.error(ChartProblem::ChartMissing { meant: Meant(meant) }));
    }
    let version = talk.wanted.choose(read.versions.iter().map(|listed| listed.version.as_str()))?;
    let listed = read.versions.iter().find(|listed| listed.version == version);
    let Some(Listed { version, urls, digest }) = listed.cloned() else {
        return Err(unusable(format!("it lists {version} no more")));
    };
    let Some(url) = urls.first() else {
        return Err(unusable(format!("it has no address of {version}")));
    };
    let location = address(talk, url)?;
    let digest = digest.map(|digest| format!("sha256:{digest}"));
    let found = Found { version, digest, location: location.to_string() };
    match &found.digest {
        Some(digest) if talk.has(digest) => {
            return Ok(talk.chart(found.version, digest.clone(), found.location));
        }
        Some(_) => {}
        None => {
            let is_known =
                |known: &&Chart| known.location == found.location && talk.has(&known.release.digest);
            if let Some(known) = known.filter(is_known) {
                return Ok(talk.chart(found.version, known.release.digest.clone(), found.location));
            }
        }
    }
    let reply = talk.exchange.get(location, HeaderMap::new()).map_err(ChartError::Server)?;
    talk.keep(reply, found)
}

/// Returns an address that stands in the index: a whole one, or a path from the index.
fn address(talk: &Talk<'_>, written: &str) -> Result<Url, ChartError> {
    let base = talk.wanted.base();
    let joined = Url::parse(&format!("{base}/")).and_then(|base| base.join(written));
    let problem =
        |problem: &str| talk.error(ChartProblem::Index { problem: format!("{written:?} {problem}") });
    let url = joined.map_err(|_| problem("is no address"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if base.starts_with("http://") => Ok(url),
        "http" => Err(problem("leads from HTTPS to plain HTTP")),
        "oci" => Err(problem("is in a registry: name that as the chart's repository")),
        _ => Err(problem("leads away from HTTP")),
    }
}
