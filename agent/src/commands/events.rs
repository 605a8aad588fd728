//! `skiff events`: what happened to an app's objects and to what they own, as the cluster's controllers told it.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use skiff_shared::object::{Interner, split_api_version};

use super::kin::{Family, Kin, NOTHING, Node};
use super::ui;
use crate::args::{EventsArgs, Output};

/// Where the events of objects that have no namespace are.
const OF_THE_CLUSTER: &str = "default";

/// How often an event about an unknown object makes the app's objects be read again.
const ANEW: Duration = Duration::from_secs(2);

/// Events that are looked at together where many come.
const AT_ONCE: usize = 256;

const HEADER: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// Events of one namespace of a cluster with much to tell.
const PAGE: u32 = 500;

/// Prints the events, the newest last, and with `--watch` those that follow.
pub async fn run(arguments: EventsArgs) -> anyhow::Result<ExitCode> {
    let EventsArgs { app, watch, warnings, deep, output } = arguments;
    let family = Family::find(app, deep).await?;
    let Kin { roots, notes } = family.look().await?;
    notes.iter().for_each(|note| ui::warning(note));
    let mut subjects = Subjects::of(&family, &roots);
    let is_wanted = |event: &Event| !warnings || event.type_.as_deref() == Some("Warning");
    let mut events: Vec<Event> = Vec::new();
    for namespace in subjects.namespaces.clone() {
        match list(&family, &namespace).await {
            Ok(listed) => {
                events.extend(listed.into_iter().filter(|event| subjects.take(event) && is_wanted(event)))
            }
            Err(error) => ui::warning(&format!(
                "events in namespace {namespace:?} are not seen: {}",
                crate::telemetry::chain(&error)
            )),
        }
    }
    events.sort_by_key(seen_at);
    if !watch {
        print(&events, output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = Shown::begin(&events, output)?;
    subjects.follow(&family, shown, is_wanted).await
}

async fn list(family: &Family, namespace: &str) -> Result<Vec<Event>, kube::Error> {
    let api: Api<Event> = Api::namespaced(family.connection().client().clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The objects that events are shown of.
struct Subjects {
    uids: HashSet<String>,
    namespaces: Vec<String>,
    /// Objects of others, so that each is asked about once.
    strangers: HashSet<String>,
    looked: Instant,
}

impl Subjects {
    fn of(family: &Family, roots: &[Node]) -> Self {
        let mut uids: HashSet<String> = family.app().metadata.uid.clone().into_iter().collect();
        let mut namespaces: HashSet<String> = family.app().metadata.namespace.clone().into_iter().collect();
        for root in roots {
            root.walk(&mut Vec::new(), &mut |node, _| {
                uids.extend(node.uid().map(str::to_owned));
                namespaces.insert(node.id.namespace().unwrap_or(OF_THE_CLUSTER).to_owned());
            });
        }
        let mut namespaces: Vec<String> = namespaces.into_iter().collect();
        namespaces.sort();
        Self { uids, namespaces, strangers: HashSet::new(), looked: Instant::now() }
    }

    fn has(&self, event: &Event) -> bool {
        event.involved_object.uid.as_ref().is_some_and(|uid| self.uids.contains(uid))
    }

    /// Whether the event is about one of the objects; from then on its object is known to be one or not.
    fn take(&mut self, event: &Event) -> bool {
        let is_ours = self.has(event);
        if !is_ours {
            self.strangers.extend(event.involved_object.uid.clone());
        }
        is_ours
    }

    /// Prints events as they come, until it is interrupted. An object that was not there before is one of the app's if
    /// another look says so.
    async fn follow(
        mut self,
        family: &Family,
        mut shown: Shown,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<ExitCode> {
        let client = family.connection().client();
        let watches = self.namespaces.iter().map(|namespace| {
            let api: Api<Event> = Api::namespaced(client.clone(), namespace);
            watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed()
        });
        let mut watches = stream::select_all(watches.collect::<Vec<_>>()).ready_chunks(AT_ONCE);
        while let Some(told) = watches.next().await {
            let mut events = Vec::new();
            for event in told {
                match event {
                    Ok(event) => events.push(event),
                    // The watch begins anew by itself.
                    Err(error) => ui::warning(&format!("events cannot be watched: {error}")),
                }
            }
            if events.iter().any(|event| self.may_be_new(event)) {
                self.look(family).await?;
            }
            events.sort_by_key(seen_at);
            for event in events.iter().filter(|event| is_wanted(event)) {
                if self.take(event) {
                    shown.show(event)?;
                }
            }
        }
        anyhow::bail!("the watches of events have ended")
    }

    fn may_be_new(&self, event: &Event) -> bool {
        let uid = event.involved_object.uid.as_ref();
        uid.is_some_and(|uid| !self.strangers.contains(uid) && !self.uids.contains(uid))
    }

    /// Reads the app's objects again. What was the app's stays: the last events are told of what is no more.
    async fn look(&mut self, family: &Family) -> anyhow::Result<()> {
        tokio::time::sleep(ANEW.saturating_sub(self.looked.elapsed())).await;
        let Kin { roots, notes: _ } = family.look().await?;
        let now = Self::of(family, &roots);
        self.uids.extend(now.uids);
        self.looked = now.looked;
        Ok(())
    }
}

/// What is on the screen already.
struct Shown {
    table: ui::Table,
    output: Output,
    /// How often an event was told when it was shown.
    told: HashMap<String, i32>,
}

impl Shown {
    fn begin(events: &[Event], output: Output) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        let rows: Vec<Vec<String>> = events.iter().map(|event| row(event, now)).collect();
        let width = if output == Output::Wide { None } else { ui::columns() };
        let mut shown = Self { table: ui::Table::new(&HEADER, &rows, width), output, told: HashMap::new() };
        if matches!(output, Output::Table | Output::Wide) {
            shown.table.header(&HEADER);
        }
        events.iter().try_for_each(|event| shown.show(event))?;
        Ok(shown)
    }

    fn show(&mut self, event: &Event) -> anyhow::Result<()> {
        let uid = event.metadata.uid.clone().unwrap_or_default();
        let times = times(event);
        if self.told.insert(uid, times) == Some(times) {
            return Ok(());
        }
        match self.output {
            Output::Json | Output::Yaml => ui::line(&serde_json::to_string(event)?),
            Output::Name => ui::line(&object(event)),
            Output::Table | Output::Wide => self.table.row(&row(event, Timestamp::now())),
        }
        Ok(())
    }
}

fn print(events: &[Event], output: Output) -> anyhow::Result<()> {
    let now = Timestamp::now();
    match output {
        Output::Json | Output::Yaml => ui::value(&events, output)?,
        Output::Name => events.iter().for_each(|event| ui::line(&object(event))),
        Output::Table | Output::Wide if events.is_empty() => ui::progress("no events"),
        Output::Table | Output::Wide => {
            ui::page();
            let rows: Vec<Vec<String>> = events.iter().map(|event| row(event, now)).collect();
            if output == Output::Wide { ui::wide(&HEADER, &rows) } else { ui::table(&HEADER, &rows) }
        }
    }
    Ok(())
}

fn row(event: &Event, now: Timestamp) -> Vec<String> {
    let times = times(event);
    let repeated = if times > 1 { format!(" (x{times})") } else { String::new() };
    vec![
        ui::age(seen_at(event), now),
        event.type_.clone().unwrap_or_default(),
        event.reason.clone().unwrap_or_default(),
        object(event),
        format!("{}{repeated}", event.message.as_deref().unwrap_or_default().trim().replace('\n', " ")),
    ]
}

/// Returns when it last happened: old and new controllers say it in different fields.
fn seen_at(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    last.max(micro).or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

fn times(event: &Event) -> i32 {
    let series = event.series.as_ref().and_then(|series| series.count);
    series.or(event.count).unwrap_or(1)
}

fn object(event: &Event) -> String {
    let involved = &event.involved_object;
    let text = |field: &Option<String>| field.clone().unwrap_or_else(|| NOTHING.to_owned());
    let api_version = involved.api_version.clone().unwrap_or_default();
    let (group, _) = split_api_version(&api_version);
    let id = Interner::default().object(
        group,
        &text(&involved.kind),
        involved.namespace.as_deref(),
        &text(&involved.name),
    );
    id.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(extra: serde_json::Value) -> Event {
        let mut event = json!({
            "metadata": {"name": "e", "namespace": "shop", "creationTimestamp": "2026-11-01T10:00:00Z"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web-1"},
            "type": "Warning", "reason": "BackOff", "message": "back-off\nrestarting",
        });
        let object = event.as_object_mut().expect("an object");
        object.extend(extra.as_object().expect("an object").clone());
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn an_event_says_when_it_last_happened_and_how_often() {
        let now: Timestamp = "2026-11-01T10:10:00Z".parse().expect("a time");
        let old = event(json!({"lastTimestamp": "2026-11-01T10:05:00Z", "count": 7}));
        assert_eq!(
            row(&old, now),
            ["5m", "Warning", "BackOff", "Pod/shop/web-1", "back-off restarting (x7)"]
        );
        let new = event(json!({
            "eventTime": "2026-11-01T10:01:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-01T10:09:00.000000Z"},
        }));
        assert_eq!((row(&new, now)[0].as_str(), times(&new)), ("60s", 3));
        assert_eq!(row(&event(json!({})), now)[0], "10m", "at least when it was told");
    }
}
