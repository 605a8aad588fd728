//! Who may speak to a cluster: certificates, kubeconfig files and clients.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::certs::{Authority, Leaf, TokenKeys};

/// A user with a client certificate, known to the audit log by [`User::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The lab itself: sets clusters up and looks at them.
    Admin,
    /// A person who changes things: may do everything, by a ClusterRoleBinding that a test can take away.
    Dev,
    /// Another person, so that two changes can come from two people.
    Ops,
    /// The controller-manager.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// The fake kubelet.
    Kubelet,
}

impl User {
    const ALL: [Self; 6] =
        [Self::Admin, Self::Dev, Self::Ops, Self::ControllerManager, Self::Scheduler, Self::Kubelet];

    /// Returns the user name that the apiserver sees.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dev => "dev",
            Self::Ops => "ops",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Scheduler => "system:kube-scheduler",
            Self::Kubelet => "lab:kubelet",
        }
    }

    /// Returns the group, if it is by the group that RBAC knows the user.
    fn group(self) -> Option<&'static str> {
        match self {
            Self::ControllerManager | Self::Scheduler => None,
            Self::Dev | Self::Ops => Some(PEOPLE),
            Self::Admin | Self::Kubelet => Some("system:masters"),
        }
    }
}

/// The group of the people, and the name of the ClusterRoleBinding that lets them do everything.
const PEOPLE: &str = "lab:people";

/// Lets [`User::Dev`] and [`User::Ops`] in.
pub(super) async fn admit_people(admin: Client) -> anyhow::Result<()> {
    let group = "rbac.authorization.k8s.io".to_owned();
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(PEOPLE.to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: Some(group.clone()),
            kind: "ClusterRole".to_owned(),
            name: "cluster-admin".to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(group),
            kind: "Group".to_owned(),
            name: PEOPLE.to_owned(),
            namespace: None,
        }]),
    };
    let bindings = Api::<ClusterRoleBinding>::all(admin);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .context("failed to let the people of the lab in")?;
    Ok(())
}

/// Writes every certificate, key and kubeconfig of a cluster into its folder and returns the authority's certificate.
pub(super) fn write_credentials(directory: &Path, number: u8) -> anyhow::Result<String> {
    let authority = Authority::new(&format!("skiff-lab-{number}"))?;
    let direct = Ipv4Addr::new(127, 77, number, 1).to_string();
    let proxied = Ipv4Addr::new(127, 78, number, 1).to_string();
    let names = ["localhost", "kubernetes.default.svc", "127.0.0.1", &direct, &proxied, "10.96.0.1"];
    let server = authority.server(&names)?;
    let tokens = TokenKeys::generate()?;
    let files = [
        ("ca.crt", authority.certificate_pem()),
        ("ca.key", authority.key_pem()),
        ("apiserver.crt", &server.certificate_pem),
        ("apiserver.key", &server.key_pem),
        ("tokens.pub", &tokens.public_pem),
        ("tokens.key", &tokens.private_pem),
    ];
    for (name, content) in files {
        write(&directory.join(name), content)?;
    }
    let url = format!("https://{direct}:6443");
    for user in User::ALL {
        let leaf = authority.client(user.name(), user.group())?;
        let config = Access { url: &url, authority_pem: authority.certificate_pem(), user: user.name() };
        write(&kubeconfig(directory, user), &config.kubeconfig(&certificate(&leaf)))?;
    }
    Ok(authority.certificate_pem().to_owned())
}

/// Returns the apiserver's URL at an address.
pub(super) fn url(address: Ipv4Addr) -> String {
    format!("https://{address}:6443")
}

/// Returns where the kubeconfig of a user lies.
pub(super) fn kubeconfig(directory: &Path, user: User) -> PathBuf {
    directory.join(format!("{}.kubeconfig", user.name().replace(':', "-")))
}

/// Returns a client for the kubeconfig in a file.
pub(crate) fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("failed to read the kubeconfig {}", kubeconfig.display()))?;
    Client::try_from(config).with_context(|| format!("failed to make a client from {}", kubeconfig.display()))
}

/// One cluster as one user sees it.
pub(crate) struct Access<'a> {
    /// The apiserver.
    pub(crate) url: &'a str,
    /// Whom to trust.
    pub(crate) authority_pem: &'a str,
    /// The name of the context and of its user.
    pub(crate) user: &'a str,
}

impl Access<'_> {
    /// Returns a kubeconfig with these credentials; JSON is YAML too.
    pub(crate) fn kubeconfig(&self, credentials: &Value) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "lab",
                "cluster": { "server": self.url, "certificate-authority-data": STANDARD.encode(self.authority_pem) },
            }],
            "users": [{ "name": self.user, "user": credentials }],
            "contexts": [{ "name": self.user, "context": { "cluster": "lab", "user": self.user } }],
            "current-context": self.user,
        })
        .to_string()
    }
}

fn certificate(leaf: &Leaf) -> Value {
    json!({
        "client-certificate-data": STANDARD.encode(&leaf.certificate_pem),
        "client-key-data": STANDARD.encode(&leaf.key_pem),
    })
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
