//! One container's log, line by line; while it is followed also over the container's restarts.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use tokio::sync::mpsc::Sender;

use super::choose::Source;
use crate::args::Stretch;

/// How long a container that has ended is left alone before it is asked for again.
const ANEW: Duration = Duration::from_secs(2);

/// What a followed container tells.
pub enum Told {
    Line(Source, String),
    /// Its log cannot be read.
    Failed(Source, String),
}

/// Returns the request for a log, without what only follows the first one.
pub fn params(source: &Source, stretch: &Stretch) -> LogParams {
    LogParams {
        container: Some(source.container.clone()),
        follow: stretch.follow,
        previous: stretch.previous,
        since_seconds: stretch.since.map(|since| i64::try_from(since.as_secs().max(1)).unwrap_or(i64::MAX)),
        tail_lines: stretch.tail.map(i64::from),
        // While a log is followed its times say where to go on.
        timestamps: stretch.timestamps || stretch.follow,
        ..LogParams::default()
    }
}

/// Tells every line of a container until its pod is gone or has ended. Waits where nobody takes the lines.
pub async fn follow(client: kube::Client, source: Source, stretch: Stretch, told: Sender<Told>) {
    let pods: Api<Pod> = Api::namespaced(client, &source.namespace);
    let mut params = params(&source, &stretch);
    let mut last: Option<Timestamp> = None;
    let mut complained = false;
    loop {
        match pods.log_stream(&source.pod, &params).await {
            Ok(stream) => {
                let mut lines = stream.lines();
                while let Some(Ok(line)) = lines.next().await {
                    let (time, words) = split(&line);
                    if time.is_some() && time <= last {
                        continue;
                    }
                    last = time.or(last);
                    let line = if stretch.timestamps { line } else { words.to_owned() };
                    if told.send(Told::Line(source.clone(), line)).await.is_err() {
                        return;
                    }
                }
            }
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            // A container that waits for its image is asked again.
            Err(kube::Error::Api(status)) if status.code == 400 => {}
            Err(error) if !complained => {
                complained = true;
                let why = crate::telemetry::chain(&error);
                if told.send(Told::Failed(source.clone(), why)).await.is_err() {
                    return;
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(ANEW).await;
        if has_ended(&pods, &source).await {
            return;
        }
        if let Some(last) = last {
            params.since_time = Some(last);
            params.since_seconds = None;
            params.tail_lines = None;
        }
    }
}

/// Whether the pod will write nothing any more; an unanswered question is asked again later.
async fn has_ended(pods: &Api<Pod>, source: &Source) -> bool {
    match pods.get_opt(&source.pod).await {
        Ok(Some(pod)) => {
            let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
            pod.metadata.uid.as_ref() != Some(&source.uid) || matches!(phase.as_str(), "Succeeded" | "Failed")
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Splits a line from the time that the kubelet wrote before it.
fn split(line: &str) -> (Option<Timestamp>, &str) {
    let (time, words) = line.split_once(' ').unwrap_or((line, ""));
    time.parse().map_or((None, line), |time| (Some(time), words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parted_from_its_time() {
        let (time, words) = split("2026-11-01T10:00:00.123456789Z GET /  200");
        assert_eq!(
            (time.map(|time| time.to_string()).as_deref(), words),
            (Some("2026-11-01T10:00:00.123456789Z"), "GET /  200")
        );
        assert_eq!(split("2026-11-01T10:00:00Z").1, "", "an empty line");
        assert_eq!(split("no time"), (None, "no time"));
    }

    #[test]
    fn a_followed_log_is_asked_for_with_times() {
        let source = Source {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            container: "web".to_owned(),
            uid: "1".to_owned(),
        };
        let stretch = Stretch { since: Some(Duration::from_millis(10)), tail: Some(5), ..Stretch::default() };
        let asked = params(&source, &stretch);
        assert_eq!((asked.since_seconds, asked.tail_lines, asked.timestamps), (Some(1), Some(5), false));
        assert!(params(&source, &Stretch { follow: true, ..stretch }).timestamps);
    }
}
