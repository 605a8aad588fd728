//! Counting requests: reads the apiserver's audit log, where every finished request is one line.
//!
//! This is the project's headline measure. The log is written before an answer is complete, so whoever has the answer
//! finds the line. A watch appears when it ends. What the control plane says to itself is not in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Deserialize;

/// The audit log of one cluster.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A moment in the log: the requests that finished after it are those of interest.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// One finished request.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the method of a request
    /// that is not about a resource.
    pub verb: String,
    /// The path and query that were asked for.
    pub uri: String,
    /// The user who asked.
    pub user: String,
    /// The API group; empty for the core group and for requests that are not about a resource.
    pub group: String,
    /// The resource in the plural, or the first part of the path of a request that is not about a resource.
    pub resource: String,
    /// The subresource, empty if none.
    pub subresource: String,
    /// The namespace, empty if none.
    pub namespace: String,
    /// The object's name, empty if none.
    pub name: String,
    /// Whether it was a server-side dry run.
    pub dry_run: bool,
    /// The status code of the answer.
    pub code: u16,
    /// The program that asked.
    pub user_agent: String,
    /// When the request arrived.
    pub began: Timestamp,
    /// When the answer was complete.
    pub ended: Timestamp,
}

/// How many requests of each kind there were; prints as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Kind, usize>);

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    resource: String,
    verb: String,
    code: u16,
}

impl Audit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the present end of the log.
    pub fn mark(&self) -> anyhow::Result<Mark> {
        let length = std::fs::metadata(&self.path).with_context(|| self.reading())?.len();
        Ok(Mark(length))
    }

    /// Returns the requests of `user` that finished since `mark`, in their order.
    pub fn since(&self, mark: Mark, user: &str) -> anyhow::Result<Vec<AuditEntry>> {
        let all = self.all_since(mark)?;
        Ok(all.into_iter().filter(|entry| entry.user == user).collect())
    }

    /// Returns everybody's requests that finished since `mark`, in their order.
    pub fn all_since(&self, mark: Mark) -> anyhow::Result<Vec<AuditEntry>> {
        let mut file = File::open(&self.path).with_context(|| self.reading())?;
        file.seek(SeekFrom::Start(mark.0)).with_context(|| self.reading())?;
        let mut lines = BufReader::new(file);
        let mut entries = Vec::new();
        let mut line = String::new();
        // The last line may still be in the making.
        while lines.read_line(&mut line).with_context(|| self.reading())? > 0 && line.ends_with('\n') {
            let event: Event =
                serde_json::from_str(&line).with_context(|| format!("failed to parse {line}"))?;
            entries.push(event.into());
            line.clear();
        }
        Ok(entries)
    }

    fn reading(&self) -> String {
        format!("failed to read the audit log {}", self.path.display())
    }
}

impl Counts {
    /// Counts requests by resource, verb and code; a dry run counts as a verb of its own.
    #[must_use]
    pub fn of(entries: &[AuditEntry]) -> Self {
        let mut counts = BTreeMap::new();
        for entry in entries {
            *counts.entry(Kind::of(entry)).or_default() += 1;
        }
        Self(counts)
    }

    /// Returns how many requests there were in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.keys().map(|kind| kind.resource.len()).max().unwrap_or_default();
        for (kind, count) in &self.0 {
            let Kind { resource, verb, code } = kind;
            writeln!(formatter, "{count:>6}  {code}  {resource:width$}  {verb}")?;
        }
        writeln!(formatter, "{:>6}  in all", self.total())
    }
}

impl Kind {
    fn of(entry: &AuditEntry) -> Self {
        let mut resource = entry.resource.clone();
        if !entry.group.is_empty() {
            resource = format!("{resource}.{}", entry.group);
        }
        if !entry.subresource.is_empty() {
            resource = format!("{resource}/{}", entry.subresource);
        }
        let dry_run = if entry.dry_run { " (dry run)" } else { "" };
        Self { resource, verb: format!("{}{dry_run}", entry.verb), code: entry.code }
    }
}

/// One line of the log, as `audit.k8s.io/v1` spells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    user: EventUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct EventUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> Self {
        let (path, query) = event.uri.split_once('?').unwrap_or((&event.uri, ""));
        let dry_run = query.split('&').any(|parameter| parameter.starts_with("dryRun="));
        let elsewhere = || ObjectRef {
            resource: path.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned(),
            ..ObjectRef::default()
        };
        let object = event.object_ref.unwrap_or_else(elsewhere);
        Self {
            verb: event.verb,
            user: event.user.username,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            dry_run,
            code: event.response_status.code,
            user_agent: event.user_agent,
            began: event.request_received_timestamp,
            ended: event.stage_timestamp,
            uri: event.uri,
        }
    }
}
