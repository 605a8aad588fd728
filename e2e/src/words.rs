//! What the agent says: its log, the conditions of its apps, and what reaches the telemetry receiver.

use anyhow::Context as _;
use skiff_harness::otlp::{Record, Span};
use skiff_shared::api::v1alpha1::{App, Condition};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{PATIENCE, Site};

/// A place in the agent's log: what came after it is of interest.
#[derive(Clone, Copy, Debug)]
pub struct Bookmark(usize);

impl Site {
    /// Returns the present end of the agent's log.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark(self.log().len())
    }

    /// Returns what was logged since.
    pub fn log_since(&self, bookmark: Bookmark) -> String {
        self.log().get(bookmark.0..).unwrap_or_default().to_owned()
    }

    /// Waits until a line that holds all `words` is logged, and returns it.
    pub async fn logged(&self, since: Bookmark, words: &[&str]) -> anyhow::Result<String> {
        let find = || {
            let log = self.log_since(since);
            log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        };
        self.until(&format!("a line with {words:?} is logged"), async || Ok(find().is_some())).await?;
        find().context("the log lost a line")
    }

    /// Asks the agent's own HTTP endpoint; returns the status and the body.
    pub async fn ask(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let mut stream = TcpStream::connect((self.http_address(), 9090)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: skiff\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let code = answer.split(' ').nth(1).context("the answer has no status")?.parse()?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok((code, body.unwrap_or_default()))
    }

    /// Waits for a span that is as wanted.
    pub async fn span(&self, wanted: impl Fn(&Span) -> bool) -> anyhow::Result<Span> {
        let spans = self.otlp.wait_for(|spans| spans.iter().any(&wanted), PATIENCE).await?;
        spans.into_iter().find(|span| wanted(span)).context("the receiver lost a span")
    }

    /// Waits for a log record of a given `error.type` whose text holds `word`.
    pub async fn error_record(&self, error_type: &str, word: &str) -> anyhow::Result<Record> {
        let wanted = |record: &Record| {
            record.attributes.get("error.type").is_some_and(|found| found == error_type)
                && record.body.as_str().is_some_and(|text| text.contains(word))
        };
        let records = self.otlp.wait_for_records(|records| records.iter().any(wanted), PATIENCE).await;
        let records = records.with_context(|| format!("no record of {error_type} with {word:?}"))?;
        records.into_iter().find(wanted).context("the receiver lost a record")
    }
}

/// Returns a condition of an app.
pub fn condition<'a>(app: &'a App, kind: &str) -> Option<&'a Condition> {
    app.status.as_ref()?.conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether an app has a condition of this reason whose message holds `word`.
pub fn says(app: &App, kind: &str, reason: &str, word: &str) -> bool {
    condition(app, kind).is_some_and(|found| found.reason == reason && found.message.contains(word))
}
