//! The four programs of a control plane, and the flags that make them start fast, run small and be counted.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use super::Options;
use super::access::{User, kubeconfig};
use crate::process::Process;
use crate::toolchain::Lab;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    Apiserver,
    /// The built-in controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
}

impl Component {
    /// The ports that a cluster listens on, all on its one address.
    pub(super) const PORTS: [u16; 5] = [2379, 2380, 6443, 10257, 10259];

    fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.program())
    }
}

/// Returns where the apiserver writes its audit log.
pub(super) fn audit_log(directory: &Path) -> PathBuf {
    directory.join("audit.log")
}

/// What the flags of all components are made from.
pub(super) struct Plan<'a> {
    pub(super) directory: &'a Path,
    pub(super) address: Ipv4Addr,
    pub(super) lab: &'a Lab,
    pub(super) options: &'a Options,
}

impl Plan<'_> {
    /// Starts one component, which is then not ready yet.
    pub(super) fn start(&self, component: Component) -> anyhow::Result<(Component, Process)> {
        let mut command = Command::new(&self.lab.controlplane);
        command.arg(component.program()).args(self.flags(component)).current_dir(self.directory);
        let log = self.directory.join(format!("{component}.log"));
        Ok((component, Process::start(component.program(), command, &log)?))
    }

    /// Writes the audit policy: people, agents and service accounts are counted, the control plane's own talk is not.
    pub(super) fn write_policy(&self) -> anyhow::Result<()> {
        let own = [
            "system:apiserver",
            User::ControllerManager.name(),
            User::Scheduler.name(),
            User::Kubelet.name(),
        ];
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "omitManagedFields": true,
            "rules": [
                { "level": "None", "users": own },
                { "level": "None", "userGroups": ["system:serviceaccounts:kube-system"] },
                { "level": "Metadata" },
            ],
        });
        let path = self.file("audit-policy.yaml");
        fs::write(&path, policy.to_string()).with_context(|| format!("failed to write {path}"))
    }

    fn flags(&self, component: Component) -> Vec<String> {
        match component {
            Component::Etcd => self.etcd(),
            Component::Apiserver => self.apiserver(),
            Component::ControllerManager => self.controller_manager(),
            Component::Scheduler => self.scheduler(),
        }
    }

    fn etcd(&self) -> Vec<String> {
        let address = self.address;
        let mut flags = vec![
            "--name=lab".to_owned(),
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls=http://{address}:2379"),
            format!("--advertise-client-urls=http://{address}:2379"),
            format!("--listen-peer-urls=http://{address}:2380"),
            format!("--initial-advertise-peer-urls=http://{address}:2380"),
            format!("--initial-cluster=lab=http://{address}:2380"),
            "--log-level=warn".to_owned(),
            "--quota-backend-bytes=8589934592".to_owned(),
        ];
        if !self.options.fsync {
            flags.push("--unsafe-no-fsync=true".to_owned());
        }
        flags
    }

    fn apiserver(&self) -> Vec<String> {
        let address = self.address;
        let mut flags = vec![
            format!("--etcd-servers=http://{address}:2379"),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            "--secure-port=6443".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--tls-cert-file={}", self.file("apiserver.crt")),
            format!("--tls-private-key-file={}", self.file("apiserver.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={}", self.file("tokens.pub")),
            format!("--service-account-signing-key-file={}", self.file("tokens.key")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--event-ttl=10m".to_owned(),
            "--profiling=false".to_owned(),
            "--v=1".to_owned(),
            format!("--audit-policy-file={}", self.file("audit-policy.yaml")),
            format!("--audit-log-path={}", audit_log(self.directory).display()),
            // A blocking log loses nothing when its buffer is full or the apiserver is killed, and a request's line is
            // there before its answer is complete.
            "--audit-log-mode=blocking".to_owned(),
            // Never rotated: a mark is a place in the one file.
            "--audit-log-maxsize=0".to_owned(),
        ];
        flags.extend(self.emulation());
        flags.extend(self.options.apiserver_flags.iter().cloned());
        flags
    }

    fn controller_manager(&self) -> Vec<String> {
        let mut flags = self.secure_serving(User::ControllerManager, 10257);
        flags.extend([
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", self.file("ca.crt")),
            format!("--service-account-private-key-file={}", self.file("tokens.key")),
            format!("--cluster-signing-cert-file={}", self.file("ca.crt")),
            format!("--cluster-signing-key-file={}", self.file("ca.key")),
            // The default lies outside the run folder and is created if it is missing.
            format!("--flex-volume-plugin-dir={}", self.file("flex-volumes")),
            // The fake kubelet sends no heartbeats.
            "--node-monitor-grace-period=1h".to_owned(),
        ]);
        flags
    }

    fn scheduler(&self) -> Vec<String> {
        self.secure_serving(User::Scheduler, 10259)
    }

    fn secure_serving(&self, user: User, port: u16) -> Vec<String> {
        let config = kubeconfig(self.directory, user).display().to_string();
        let mut flags = vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            format!("--bind-address={}", self.address),
            format!("--secure-port={port}"),
            "--leader-elect=false".to_owned(),
            // The defaults of 20 and 50 requests a second make the default service account appear after 8 s instead of
            // 1 s, and two thousand pods ready after 40 s.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
            "--profiling=false".to_owned(),
            "--v=1".to_owned(),
        ];
        flags.extend(self.emulation());
        flags
    }

    fn emulation(&self) -> Option<String> {
        self.options.emulated_version.as_ref().map(|version| format!("--emulated-version={version}"))
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}
