//! `skiff logs`: what an app's pods write, each line with the pod and the container that wrote it.

mod choose;
mod stream;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures::stream::{StreamExt as _, select_all};
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use skiff_shared::object::GroupKind;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::choose::{Source, chosen};
use self::stream::{Told, follow, params};
use super::kin::{Family, Kin};
use super::ui;
use crate::args::{LogsArgs, PodChoice, Stretch};
use crate::cluster::look::{self, Part};
use crate::cluster::words;

/// Containers that are followed at once: each is a stream that the API server holds open.
const MOST: usize = 50;

/// Lines that wait to be printed; whoever writes more waits too.
const WAITING: usize = 256;

/// The last lines of each container where a log is followed and nobody says from when.
const RECENT: u32 = 10;

/// Prints the logs, one container after the other, or all together while they are followed.
pub async fn run(arguments: LogsArgs) -> anyhow::Result<ExitCode> {
    let LogsArgs { app, choice, mut stretch, no_prefix, deep } = arguments;
    let name = app.app.clone();
    let family = Family::find(app, deep).await?;
    let Kin { roots, notes } = family.look().await?;
    notes.iter().for_each(|note| ui::warning(note));
    let logs = Logs { family, choice, no_prefix };
    let sources = logs.sources(&roots).await?;
    if !stretch.follow {
        if sources.is_empty() {
            bail!("app {name:?} has no such pods: `skiff tree {name}` shows what it has");
        }
        return logs.print(sources, stretch).await;
    }
    if stretch.since.is_none() && stretch.tail.is_none() {
        stretch.tail = Some(RECENT);
    }
    let namespaces: HashSet<String> =
        roots.iter().filter_map(|root| root.id.namespace().map(str::to_owned)).collect();
    logs.follow(sources, namespaces, stretch).await
}

struct Logs {
    family: Family,
    choice: PodChoice,
    no_prefix: bool,
}

impl Logs {
    /// Returns the containers that are meant, of the objects as they were seen.
    async fn sources(&self, roots: &[super::kin::Node]) -> anyhow::Result<Vec<Source>> {
        let Some(selector) = &self.choice.selector else { return Ok(chosen(roots, &self.choice, None)) };
        let every = PodChoice { selector: None, ..self.choice.clone() };
        let all = chosen(roots, &every, None);
        let namespaces: HashSet<&String> = all.iter().map(|source| &source.namespace).collect();
        let pod = GroupKind::new("", "Pod");
        let mut labelled = HashSet::new();
        for namespace in namespaces {
            let namespace: Arc<str> = namespace.as_str().into();
            let part = Part { kind: &pod, namespace: Some(&namespace), selector };
            let listed = look::list(self.family.connection(), self.family.apis(), part).await;
            let listed = listed.map_err(|failure| anyhow::anyhow!("{}", words(&failure)));
            let listed =
                listed.with_context(|| format!("pods with the labels {selector:?} cannot be listed"))?;
            labelled.extend(listed.into_iter().filter_map(|pod| pod.metadata.uid));
        }
        Ok(chosen(roots, &self.choice, Some(&labelled)))
    }

    /// Prints one log after the other; ends with 1 if one could not be read.
    async fn print(&self, sources: Vec<Source>, stretch: Stretch) -> anyhow::Result<ExitCode> {
        let mut ended = ExitCode::SUCCESS;
        for source in sources {
            let pods: Api<Pod> =
                Api::namespaced(self.family.connection().client().clone(), &source.namespace);
            let read = async {
                let mut lines = pods.log_stream(&source.pod, &params(&source, &stretch)).await?.lines();
                while let Some(line) = lines.try_next().await? {
                    self.show(&source, &line);
                }
                Ok::<(), anyhow::Error>(())
            };
            if let Err(error) = read.await {
                unread(&source, &crate::telemetry::chain(error.as_ref()));
                ended = ExitCode::FAILURE;
            }
        }
        Ok(ended)
    }

    /// Prints lines as they come, of pods that come later too, until it is interrupted.
    async fn follow(
        &self,
        sources: Vec<Source>,
        namespaces: HashSet<String>,
        stretch: Stretch,
    ) -> anyhow::Result<ExitCode> {
        let client = self.family.connection().client();
        let watches = namespaces.iter().map(|namespace| {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            watcher(pods, watcher::Config::default()).default_backoff().applied_objects().boxed()
        });
        // Many pods come at once: one look for all of them.
        let mut pods = select_all(watches.collect::<Vec<_>>()).ready_chunks(WAITING);
        let (send, mut told) = mpsc::channel(WAITING);
        let mut following =
            Following { client: client.clone(), stretch, send, tasks: JoinSet::new(), known: HashSet::new() };
        following.take(sources);
        let mut seen = HashSet::new();
        loop {
            tokio::select! {
                Some(told) = told.recv() => match told {
                    Told::Line(source, line) => self.show(&source, &line),
                    Told::Failed(source, why) => unread(&source, &why),
                },
                Some(events) = pods.next() => {
                    let fresh = events.into_iter().filter_map(|event| event.ok()?.metadata.uid);
                    // Each pod is looked at once: whose it is does not change.
                    if fresh.filter(|uid| seen.insert(uid.clone())).count() > 0 {
                        let Kin { roots, notes: _ } = self.family.look().await?;
                        following.take(self.sources(&roots).await?);
                    }
                }
                else => bail!("the watches of pods have ended"),
            }
        }
    }

    fn show(&self, source: &Source, line: &str) {
        if self.no_prefix {
            return ui::line(line);
        }
        let Source { pod, container, .. } = source;
        let turn =
            pod.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        ui::line(&format!("{} {line}", ui::tinted(&format!("[{pod}/{container}]"), turn)));
    }
}

/// The containers that are followed.
struct Following {
    client: kube::Client,
    stretch: Stretch,
    send: mpsc::Sender<Told>,
    /// Ends with this value.
    tasks: JoinSet<()>,
    known: HashSet<Source>,
}

impl Following {
    /// Follows those that are not followed yet, as many as may be.
    fn take(&mut self, sources: Vec<Source>) {
        while self.tasks.try_join_next().is_some() {}
        let mut left = 0_usize;
        for source in sources {
            if self.known.contains(&source) {
                continue;
            }
            if self.tasks.len() >= MOST {
                left += 1;
                continue;
            }
            self.known.insert(source.clone());
            self.tasks.spawn(follow(self.client.clone(), source, self.stretch, self.send.clone()));
        }
        // A pod that comes later is read from its beginning.
        self.stretch = Stretch { tail: None, since: None, ..self.stretch };
        if left > 0 {
            ui::warning(&format!(
                "{left} more containers are not followed: {MOST} at once; choose with --selector, --kind, --name or --container"
            ));
        }
    }
}

fn unread(source: &Source, why: &str) {
    let Source { namespace, pod, container, .. } = source;
    ui::warning(&format!("the log of container {container} of pod {namespace}/{pod} cannot be read: {why}"));
}
