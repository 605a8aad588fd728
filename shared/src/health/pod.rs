//! Pods that are managed as such, without a workload above them.
//!
//! Where we differ from Argo CD:
//! - init containers that cannot start count as containers that cannot start do, because such a pod stays pending
//!   for ever;
//! - a pod without a phase is in progress: no kubelet has seen it yet.

use std::borrow::Cow;

use serde::Deserialize;

use super::condition::Condition;
use super::{Assessment, Health, Observed, Unreadable, read};

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    restart_policy: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
    #[serde(borrow)]
    init_container_statuses: Vec<Container<'a>>,
    #[serde(borrow)]
    container_statuses: Vec<Container<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    state: State<'a>,
    #[serde(borrow)]
    last_state: State<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    waiting: Option<Waiting<'a>>,
    #[serde(borrow)]
    terminated: Option<Terminated<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Waiting<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Terminated<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    exit_code: i64,
}

pub(super) fn pod(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let spec: Spec<'_> = read(object.spec, "spec")?;
    let status: Status<'_> = read(object.status, "status")?;
    // A pod with an end (a hook, say) may still start when its image appears; to call it failed would end the sync.
    let runs_for_ever = matches!(&*spec.restart_policy, "Always" | "");
    let stuck = if runs_for_ever { status.stuck() } else { None };
    if let Some(stuck) = stuck {
        return Ok(Assessment::degraded(stuck));
    }
    let is_ready = status.conditions.iter().any(|condition| condition.is("Ready", "True"));
    Ok(match &*status.phase {
        "Succeeded" => Assessment::HEALTHY,
        "Failed" => Assessment::degraded(status.why_failed()),
        "Running" if runs_for_ever && is_ready => Assessment::HEALTHY,
        "Running" if runs_for_ever && status.has_restarted() => Assessment::degraded(status.why_restarted()),
        "Running" | "Pending" | "" => Assessment::progressing(status.why_waiting()),
        _ => Assessment::new(Health::Unknown, status.message),
    })
}

impl Status<'_> {
    fn containers(&self) -> impl Iterator<Item = &Container<'_>> {
        self.init_container_statuses.iter().chain(&self.container_statuses)
    }

    /// Returns what keeps containers from starting, if it is an error.
    fn stuck(&self) -> Option<String> {
        let waiting = |container: &Container<'_>| {
            let waiting = container.state.waiting.as_ref().filter(|waiting| waiting.is_error())?;
            Some(waiting.words(&container.name))
        };
        let messages: Vec<String> = self.containers().filter_map(waiting).collect();
        (!messages.is_empty()).then(|| messages.join(", "))
    }

    fn why_failed(&self) -> String {
        if !self.message.is_empty() {
            return self.message.clone().into_owned();
        }
        let why = |container: &Container<'_>| {
            container.state.terminated.as_ref().and_then(|terminated| terminated.words(&container.name))
        };
        self.containers().find_map(why).unwrap_or_default()
    }

    fn has_restarted(&self) -> bool {
        self.container_statuses.iter().any(|container| container.last_state.terminated.is_some())
    }

    fn why_restarted(&self) -> String {
        let why = |container: &Container<'_>| {
            let terminated = container.last_state.terminated.as_ref()?;
            terminated.words(&container.name)
        };
        let why = self.container_statuses.iter().find_map(why);
        why.unwrap_or_else(|| "a container was restarted and is not ready".to_owned())
    }

    fn why_waiting(&self) -> String {
        let unscheduled = self.conditions.iter().find(|condition| condition.is("PodScheduled", "False"));
        match unscheduled {
            _ if !self.message.is_empty() => self.message.clone().into_owned(),
            Some(condition) => condition.words().to_owned(),
            None if self.phase == "Running" => "running, not ready".to_owned(),
            None => "not started".to_owned(),
        }
    }
}

impl Waiting<'_> {
    fn is_error(&self) -> bool {
        self.reason.starts_with("Err") || self.reason.ends_with("Error") || self.reason.ends_with("BackOff")
    }

    fn words(&self, container: &str) -> String {
        let Self { reason, message } = self;
        if message.is_empty() {
            format!("container {container:?}: {reason}")
        } else {
            message.clone().into_owned()
        }
    }
}

impl Terminated<'_> {
    fn words(&self, container: &str) -> Option<String> {
        if !self.message.is_empty() {
            return Some(self.message.clone().into_owned());
        }
        if self.reason == "OOMKilled" {
            return Some(format!("container {container:?} ran out of memory"));
        }
        (self.exit_code != 0).then(|| format!("container {container:?} exited with code {}", self.exit_code))
    }
}
