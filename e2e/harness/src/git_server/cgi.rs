//! `git http-backend` as a CGI: one process per request.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::fault::Body;
use crate::git_server::environment;

/// A request as the CGI protocol wants it.
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The head of the answer, and its body while the process still writes it.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// Runs `git http-backend` on the repositories below `root`.
pub(super) async fn run(root: &Path, call: Call) -> Result<Answer> {
    let mut child = command(root, &call).spawn().context("failed to start git http-backend")?;
    let mut stdin = child.stdin.take().context("git http-backend has no standard input")?;
    let stdout = child.stdout.take().context("git http-backend has no standard output")?;
    let input = call.body;
    // Git may answer, and stop reading, before it has read everything.
    tokio::spawn(async move { stdin.write_all(&input).await });
    let mut reader = BufReader::new(stdout);
    let (status, headers) = head(&mut reader).await?;
    Ok(Answer { status, headers, body: rest(child, reader) })
}

fn command(root: &Path, call: &Call) -> Command {
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().envs(environment::fixed());
    command.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", call.method.as_str());
    command.env("PATH_INFO", &call.path).env("QUERY_STRING", &call.query);
    command.env("CONTENT_LENGTH", call.body.len().to_string());
    command.env("REMOTE_ADDR", "127.0.0.1");
    let passed = [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        // Without it Git falls back to protocol 0, which lists every reference.
        ("git-protocol", "GIT_PROTOCOL"),
    ];
    for (header, variable) in passed {
        if let Some(value) = call.headers.get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

async fn head(reader: &mut BufReader<ChildStdout>) -> Result<(StatusCode, HeaderMap)> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    loop {
        let mut line = String::new();
        let length = reader.read_line(&mut line).await.context("failed to read git http-backend's answer")?;
        let line = line.trim_end();
        if line.is_empty() {
            if length == 0 {
                bail!("git http-backend ended without an answer");
            }
            return Ok((status, headers));
        }
        let (name, value) = line.split_once(": ").with_context(|| format!("not a header: {line:?}"))?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or(value);
            status = code.parse().with_context(|| format!("not a status: {value:?}"))?;
        } else {
            headers.append(
                HeaderName::try_from(name).with_context(|| format!("not a header name: {name:?}"))?,
                HeaderValue::try_from(value).with_context(|| format!("not a header value: {value:?}"))?,
            );
        }
    }
}

/// Streams what the process still writes; the process ends with the stream.
fn rest(child: Child, reader: BufReader<ChildStdout>) -> Body {
    futures::stream::unfold(Some((child, reader)), |state| async {
        let (mut child, mut reader) = state?;
        let mut chunk = vec![0; 64 * 1024];
        match reader.read(&mut chunk).await {
            Ok(0) => {
                // What it wrote is the answer, also where it says in there that it cannot: web servers note the code of
                // a program alone.
                child.wait().await.err().map(|broken| (Err(broken), None))
            }
            Ok(length) => {
                chunk.truncate(length);
                Some((Ok(Bytes::from(chunk)), Some((child, reader))))
            }
            Err(broken) => Some((Err(broken), None)),
        }
    })
    .boxed()
}
