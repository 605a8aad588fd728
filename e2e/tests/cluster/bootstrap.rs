//! From a bare cluster and a repository to an agent at work, by one command.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use skiff_e2e::agent;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_harness::cluster::{Cluster, Options, User};
use skiff_harness::git_server::{GitServer, Repository};
use skiff_harness::identity::Identity;
use skiff_harness::kubelet::FakeKubelet;
use skiff_harness::process::Process;
use skiff_harness::ssh_server::{KeyPair, SshServer};
use skiff_harness::wait;

const NAMESPACE: &str = "skiff";

/// A cluster with nothing in it, and a repository that lets nobody in.
struct Bare {
    cluster: Cluster,
    _kubelet: FakeKubelet,
    ssh: SshServer,
    git: GitServer,
    home: tempfile::TempDir,
}

impl Bare {
    async fn start() -> anyhow::Result<Self> {
        let cluster = Cluster::start(Options::default()).await?;
        let kubelet = FakeKubelet::start(&cluster, 1).await?;
        let git = GitServer::start()?;
        let ssh = SshServer::start(git.root())?;
        Ok(Self { cluster, _kubelet: kubelet, ssh, git, home: tempfile::tempdir()? })
    }

    fn api<K>(&self) -> anyhow::Result<Api<K>>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Ok(Api::namespaced(self.cluster.client(User::Admin)?, NAMESPACE))
    }

    /// Runs the command as the cluster's owner, with nobody to ask; returns what it told, its exit code, and the values
    /// that it printed.
    async fn bootstrap(&self, arguments: &[&str]) -> anyhow::Result<(String, i32, String)> {
        let mut command = Command::new(agent::program()?);
        command.args(["bootstrap", "--image", "registry.example/skiff:0.1.0", "--timeout", "90s"]);
        command.args(arguments).arg("--kubeconfig").arg(self.cluster.kubeconfig(User::Admin));
        command.arg("--helm").arg(&self.cluster.lab().helm);
        command.arg("--kustomize").arg(&self.cluster.lab().kustomize).stdin(Stdio::null());
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await?;
        let code = output.status.code().context("it was killed")?;
        Ok((String::from_utf8(output.stderr)?, code, String::from_utf8(output.stdout)?))
    }

    /// Does what the kubelet would with the agent's pod: runs it with what is mounted there.
    async fn run_agent(&self) -> anyhow::Result<Process> {
        let maps: Api<ConfigMap> = self.api()?;
        let map = wait::until(&maps, "skiff", "the agent is configured", |_| true).await?;
        let config = self.home.path().join("config.yaml");
        fs::write(&config, &map.data.unwrap_or_default()["config.yaml"])?;
        let identity = Identity::of(&self.cluster, NAMESPACE, "skiff", Duration::from_secs(3_600)).await?;
        let lab = self.cluster.lab();
        let variables = [
            ("SKIFF__HTTP__LISTEN", format!("127.80.{}.1:9090", self.cluster.number())),
            ("SKIFF__STATE__DIRECTORY", self.home.path().join("state").display().to_string()),
            ("SKIFF__RENDER__HELM", lab.helm.display().to_string()),
            ("SKIFF__RENDER__KUSTOMIZE", lab.kustomize.display().to_string()),
        ];
        agent::start(&config, identity.kubeconfig(), &self.home.path().join("agent.log"), &variables)
    }

    /// Gives the key in the Secret access, as the repository's owner does with what is printed.
    async fn let_in(&self) -> anyhow::Result<()> {
        let secrets: Api<Secret> = self.api()?;
        wait::until(&secrets, "staging-git", "the key is made", |_| true).await?;
        self.ssh.allow_public(&self.public_key().await?)
    }

    async fn public_key(&self) -> anyhow::Result<String> {
        let secret = self.api::<Secret>()?.get("staging-git").await?;
        let data = secret.data.unwrap_or_default();
        let private = self.home.path().join("identity");
        fs::write(&private, &data["identity"].0)?;
        fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let output = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&private).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_leads_from_a_repository_to_an_agent_at_work() -> anyhow::Result<()> {
    let bare = Bare::start().await?;
    let mut shop = Repository::create(&bare.git, "shop")?;
    shop.write("clusters/eu-1/broken.yaml", "kind: [\n").commit("not yet a manifest")?;
    let url = bare.ssh.url("shop");
    let place =
        ["--cluster-name", "eu-1", "--environment", "staging", "--url", &url, "--path", "clusters/eu-1"];

    // Nobody has said that the server is who it seems to be.
    let (said, code, _) = bare.bootstrap(&place).await?;
    let fingerprint = KeyPair::of("host").fingerprint();
    assert!(code == 1 && said.contains(&format!("then say --host-key {fingerprint}")), "{said}");
    assert!(bare.api::<Secret>()?.get_opt("staging-git").await?.is_none(), "no key before it is of use");
    let (said, code, _) = bare.bootstrap(&[&place[..], &["--host-key", "SHA256:other"]].concat()).await?;
    assert!(code == 1 && said.contains("none of those that --host-key names"), "{said}");

    // The repository is read, and what it holds cannot be rendered.
    let trusted = [&place[..], &["--host-key", &fingerprint]].concat();
    let (broken, _) = tokio::try_join!(bare.bootstrap(&trusted), bare.let_in())?;
    let (said, code, _) = broken;
    assert!(code == 1 && said.contains("clusters/eu-1/broken.yaml:"), "{said}");
    assert!(said.contains("nothing is installed") && said.contains("ssh-ed25519 "), "{said}");
    assert!(bare.api::<Deployment>()?.get_opt("skiff").await?.is_none());
    let key = bare.public_key().await?;

    let map = in_namespace("default", &config_map("note", "one"));
    shop.remove("clusters/eu-1/broken.yaml").write("clusters/eu-1/note.yaml", map).commit("a manifest")?;
    let (installed, agent) = tokio::try_join!(bare.bootstrap(&trusted), bare.run_agent())?;
    let (said, code, values) = installed;
    assert!(code == 0 && said.contains("done      the agent runs"), "{said}");
    assert!(said.contains("render    staging: 1 objects"), "{said}");
    let maps: Api<ConfigMap> = Api::namespaced(bare.cluster.client(User::Admin)?, "default");
    assert_eq!(maps.get("note").await?.data.unwrap_or_default()["value"], "one");

    // Once more, by the values that were printed: nothing is made anew.
    let file = bare.home.path().join("values.yaml");
    fs::write(&file, values)?;
    let (said, code, _) = bare.bootstrap(&["--values", &file.display().to_string()]).await?;
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("key "), "{said}");
    assert_eq!(bare.public_key().await?, key);
    drop(agent);
    Ok(())
}
