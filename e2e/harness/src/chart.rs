//! Installs a chart as a person would: rendered by the real Helm, applied by server-side apply.
//!
//! The tests and the demo run the agent under exactly what `charts/skiff` renders. There is no release in the cluster:
//! what was installed is what the rendered text says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::cluster::{Cluster, User};

/// A chart with the values to install it with.
pub struct Release {
    /// The folder of the chart.
    pub chart: PathBuf,
    /// The release's name.
    pub name: String,
    /// The namespace, which is made if it is missing.
    pub namespace: String,
    /// The values over the chart's own.
    pub values: Value,
}

impl Release {
    /// Returns the agent's own chart, as release `skiff`.
    #[must_use]
    pub fn skiff(namespace: &str, values: Value) -> Self {
        let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = harness.ancestors().nth(2).expect("the harness lies two folders below the root");
        let chart = root.join("charts/skiff");
        Self { chart, name: "skiff".to_owned(), namespace: namespace.to_owned(), values }
    }

    /// Renders the chart for this cluster's Kubernetes version, with its CRDs.
    pub async fn render(&self, cluster: &Cluster) -> anyhow::Result<String> {
        let admin = cluster.client(User::Admin)?;
        let version = admin.apiserver_version().await.context("failed to ask for the server's version")?;
        let values = cluster.directory().join(format!("{}.values.json", self.name));
        write(&values, &self.values.to_string())?;
        let mut helm = Command::new(&cluster.lab().helm);
        helm.args(["template", &self.name])
            .arg(&self.chart)
            .args(["--include-crds", "--namespace", &self.namespace, "--kube-version", &version.git_version])
            .arg("--values")
            .arg(&values)
            .env("HOME", cluster.directory());
        run(helm).await.with_context(|| format!("failed to render the chart {}", self.chart.display()))
    }

    /// Renders the chart and applies what came out as [`User::Admin`]; returns the names (`kind/name`) in order.
    ///
    /// CRDs are established when this returns.
    pub async fn install(&self, cluster: &Cluster) -> anyhow::Result<Vec<String>> {
        let rendered = cluster.directory().join(format!("{}.rendered.yaml", self.name));
        write(&rendered, &self.render(cluster).await?)?;
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } });
        let made = cluster.directory().join(format!("{}.namespace.json", self.name));
        write(&made, &namespace.to_string())?;
        self.apply(cluster, &made).await?;
        let names: Vec<String> = self.apply(cluster, &rendered).await?.lines().map(str::to_owned).collect();
        wait_for_crds(cluster, &names).await?;
        Ok(names)
    }

    /// Returns a kubeconfig whose namespace is the release's. `--namespace` would refuse objects of other namespaces.
    async fn kubeconfig(&self, cluster: &Cluster) -> anyhow::Result<PathBuf> {
        let path = cluster.directory().join(format!("{}.kubeconfig", self.name));
        fs::copy(cluster.kubeconfig(User::Admin), &path)
            .with_context(|| format!("failed to write {}", path.display()))?;
        let mut kubectl = cluster.kubectl(User::Admin);
        kubectl.env("KUBECONFIG", &path).args([
            "config",
            "set-context",
            "--current",
            "--namespace",
            &self.namespace,
        ]);
        run(kubectl).await.context("failed to choose the release's namespace")?;
        Ok(path)
    }

    /// Applies a file by kubectl, which reads YAML as Kubernetes does.
    async fn apply(&self, cluster: &Cluster, file: &Path) -> anyhow::Result<String> {
        let kubeconfig = self.kubeconfig(cluster).await?;
        let mut kubectl = cluster.kubectl(User::Admin);
        kubectl
            .env("KUBECONFIG", kubeconfig)
            .args(["apply", "--server-side", "--field-manager=lab", "--output=name", "--filename"])
            .arg(file);
        run(kubectl).await.with_context(|| format!("failed to apply the chart {}", self.chart.display()))
    }
}

async fn wait_for_crds(cluster: &Cluster, names: &[String]) -> anyhow::Result<()> {
    let crds: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with("customresourcedefinition.apiextensions.k8s.io/"))
        .collect();
    if crds.is_empty() {
        return Ok(());
    }
    let mut kubectl = cluster.kubectl(User::Admin);
    kubectl.args(["wait", "--for=condition=Established", "--timeout=60s"]).args(crds);
    run(kubectl).await.context("failed to wait for the chart's CRDs")?;
    Ok(())
}

/// Runs a program to its end and returns what it wrote, or an error with what it complained about.
async fn run(command: Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("failed to start {program}"))?;
    if !output.status.success() {
        bail!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} wrote something that is not UTF-8"))
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}
