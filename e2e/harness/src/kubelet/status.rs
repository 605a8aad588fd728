//! What a kubelet reports of a pod: its status as a strategic-merge patch, made from the pod and its behaviour alone.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::behaviour::{BEHAVIOUR, Behaviour, Outcome, UnknownBehaviour};

/// What a status is made from.
pub(super) struct Report<'a> {
    pub(super) pod: &'a Pod,
    /// Tells the pod from the others: its address and its containers' ids come from it.
    pub(super) number: usize,
    pub(super) now: Timestamp,
}

/// One container's state, the same for all containers of a pod.
struct Containers {
    state: Value,
    last_state: Value,
    restarts: u32,
    /// Whether they run and pass their probes.
    ready: bool,
}

impl Report<'_> {
    /// Returns the status to report; an annotation that means nothing fails the pod and says why.
    pub(super) fn status(&self, behaviour: &Result<Behaviour, UnknownBehaviour>) -> Value {
        match behaviour {
            Ok(behaviour) => self.outcome(behaviour.outcome),
            Err(UnknownBehaviour(part)) => json!({
                "phase": "Failed",
                "reason": "UnknownBehaviour",
                "message": format!("annotation {BEHAVIOUR}: {part:?} means nothing to the lab"),
            }),
        }
    }

    fn outcome(&self, outcome: Outcome) -> Value {
        let runs_on = self.restart_policy() == "Always";
        match outcome {
            Outcome::Fine if runs_on => self.running(),
            Outcome::Fine => self.ended(0),
            Outcome::NeverReady => self.alive("Running", Containers { ready: false, ..self.up() }),
            Outcome::CrashLoop => self.crashing(1),
            Outcome::ImagePullBackOff => self.waiting_for_image(),
            Outcome::Exit(code) if runs_on || (code != 0 && self.restart_policy() == "OnFailure") => {
                self.crashing(code)
            }
            Outcome::Exit(code) => self.ended(code),
        }
    }

    fn running(&self) -> Value {
        self.alive("Running", self.up())
    }

    fn up(&self) -> Containers {
        let state = json!({ "running": { "startedAt": self.now } });
        Containers { state, last_state: json!({}), restarts: 0, ready: true }
    }

    fn crashing(&self, code: i32) -> Value {
        let message = format!("back-off 2m40s restarting failed container in pod {}", self.name());
        let containers = Containers {
            state: json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } }),
            last_state: self.terminated(code),
            restarts: 5,
            ready: false,
        };
        self.alive("Running", containers)
    }

    fn waiting_for_image(&self) -> Value {
        let message = "Back-off pulling image: the lab's registry does not have it";
        let containers = Containers {
            state: json!({ "waiting": { "reason": "ImagePullBackOff", "message": message } }),
            last_state: json!({}),
            restarts: 0,
            ready: false,
        };
        self.alive("Pending", containers)
    }

    /// Returns the status of a pod that has not ended.
    fn alive(&self, phase: &str, containers: Containers) -> Value {
        let (status, reason) = if containers.ready { ("True", "") } else { ("False", "ContainersNotReady") };
        let message = if containers.ready { "" } else { "containers with unready status: all" };
        let ready = |kind: &str| self.condition(kind, status, reason, message);
        self.whole(phase, &containers, &[ready("ContainersReady"), ready("Ready")])
    }

    /// Returns the status of a pod whose containers have ended and are not started again.
    fn ended(&self, code: i32) -> Value {
        let (phase, reason) = if code == 0 { ("Succeeded", "PodCompleted") } else { ("Failed", "PodFailed") };
        let containers =
            Containers { state: self.terminated(code), last_state: json!({}), restarts: 0, ready: false };
        let ended = |kind: &str| self.condition(kind, "False", reason, "");
        self.whole(phase, &containers, &[ended("ContainersReady"), ended("Ready")])
    }

    fn whole(&self, phase: &str, containers: &Containers, last: &[Value; 2]) -> Value {
        let mut conditions = vec![
            self.condition("PodReadyToStartContainers", "True", "", ""),
            self.condition("Initialized", "True", "", ""),
        ];
        conditions.extend(last.iter().cloned());
        // A strategic merge keeps what is not named: the scheduler's condition stays, an older reason must be unset.
        json!({
            "phase": phase,
            "reason": null,
            "message": null,
            "conditions": conditions,
            "hostIP": "10.0.0.1",
            "podIP": self.address(),
            "podIPs": [{ "ip": self.address() }],
            "startTime": self.now,
            "initContainerStatuses": self.init_containers(),
            "containerStatuses": self.containers(containers),
        })
    }

    fn containers(&self, reported: &Containers) -> Vec<Value> {
        let spec = self.pod.spec.as_ref();
        spec.map_or(&[][..], |spec| &spec.containers)
            .iter()
            .map(|container| self.container(container, reported))
            .collect()
    }

    /// Reports init containers as completed, and those that stay up (sidecars) as running.
    fn init_containers(&self) -> Vec<Value> {
        let containers =
            self.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let completed =
            Containers { state: self.terminated(0), last_state: json!({}), restarts: 0, ready: true };
        let up = self.up();
        let stays = |container: &Container| container.restart_policy.as_deref() == Some("Always");
        containers
            .iter()
            .map(|each| self.container(each, if stays(each) { &up } else { &completed }))
            .collect()
    }

    fn container(&self, container: &Container, reported: &Containers) -> Value {
        let image = container.image.as_deref().unwrap_or_default();
        json!({
            "name": container.name,
            "image": image,
            "imageID": format!("lab://{image}"),
            "containerID": format!("lab://{}/{}", self.number, container.name),
            "ready": reported.ready,
            "started": reported.ready,
            "restartCount": reported.restarts,
            "state": reported.state,
            "lastState": reported.last_state,
        })
    }

    fn terminated(&self, code: i32) -> Value {
        let reason = if code == 0 { "Completed" } else { "Error" };
        json!({ "terminated": {
            "exitCode": code, "reason": reason, "startedAt": self.now, "finishedAt": self.now,
        } })
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": self.now,
        })
    }

    /// Returns the pod's address, which stays when its fate changes: the server refuses a second one.
    fn address(&self) -> String {
        if let Some(address) = self.pod.status.as_ref().and_then(|status| status.pod_ip.clone()) {
            return address;
        }
        let number = self.number % (250 * 250 * 250);
        format!("10.{}.{}.{}", 1 + number / 62_500, 1 + number / 250 % 250, 1 + number % 250)
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn restart_policy(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }
}
