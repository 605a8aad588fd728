//! The chart that this program was built with, and helm, which installs it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::values::Values;
use crate::args::ClusterArgs;
use crate::config::{Config, ConfigErrors};

/// The chart's files: what `charts/skiff` holds but for what `.helmignore` names.
const FILES: [(&str, &str); 17] = [
    (".helmignore", include_str!("../../../../charts/skiff/.helmignore")),
    ("Chart.yaml", include_str!("../../../../charts/skiff/Chart.yaml")),
    ("values.yaml", include_str!("../../../../charts/skiff/values.yaml")),
    ("values.schema.json", include_str!("../../../../charts/skiff/values.schema.json")),
    ("files/apps.skiff.dev.yaml", include_str!("../../../../charts/skiff/files/apps.skiff.dev.yaml")),
    ("templates/NOTES.txt", include_str!("../../../../charts/skiff/templates/NOTES.txt")),
    ("templates/_names.tpl", include_str!("../../../../charts/skiff/templates/_names.tpl")),
    ("templates/approval.yaml", include_str!("../../../../charts/skiff/templates/approval.yaml")),
    ("templates/configmap.yaml", include_str!("../../../../charts/skiff/templates/configmap.yaml")),
    ("templates/crd.yaml", include_str!("../../../../charts/skiff/templates/crd.yaml")),
    ("templates/deployment.yaml", include_str!("../../../../charts/skiff/templates/deployment.yaml")),
    ("templates/disruption.yaml", include_str!("../../../../charts/skiff/templates/disruption.yaml")),
    ("templates/monitor.yaml", include_str!("../../../../charts/skiff/templates/monitor.yaml")),
    ("templates/network.yaml", include_str!("../../../../charts/skiff/templates/network.yaml")),
    ("templates/rbac.yaml", include_str!("../../../../charts/skiff/templates/rbac.yaml")),
    ("templates/serviceaccount.yaml", include_str!("../../../../charts/skiff/templates/serviceaccount.yaml")),
    ("templates/webhooks.yaml", include_str!("../../../../charts/skiff/templates/webhooks.yaml")),
];

/// The chart on disk, with the values of this cluster beside it.
pub(super) struct Chart {
    folder: TempDir,
    helm: PathBuf,
    release: String,
    namespace: String,
    cluster: ClusterArgs,
}

impl Chart {
    /// Writes chart and values into a folder of their own.
    pub(super) fn unpack(
        values: &Values,
        helm: &Path,
        release: &str,
        namespace: &str,
        cluster: &ClusterArgs,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder")?;
        for (name, text) in FILES {
            let file = folder.path().join("skiff").join(name);
            std::fs::create_dir_all(file.parent().unwrap_or(folder.path()))
                .and_then(|()| std::fs::write(&file, text))
                .with_context(|| format!("failed to write {}", file.display()))?;
        }
        let text = serde_json::to_vec_pretty(values.json())?;
        std::fs::write(folder.path().join("values.json"), text).context("failed to write the values")?;
        Ok(Self {
            folder,
            helm: helm.to_owned(),
            release: release.to_owned(),
            namespace: namespace.to_owned(),
            cluster: cluster.clone(),
        })
    }

    /// Returns the agent's file as the chart makes it of the values.
    pub(super) async fn config(&self, kube_version: &str) -> anyhow::Result<Result<Config, ConfigErrors>> {
        let mut helm = self.helm("template");
        helm.args(["--show-only", "templates/configmap.yaml", "--kube-version", kube_version]);
        let text = run(helm).await?;
        let map: Value = serde_saphyr::from_str(&text).context("the chart's ConfigMap cannot be read")?;
        let config =
            map["data"]["config.yaml"].as_str().context("the chart's ConfigMap has no config.yaml")?;
        Ok(Config::parse(config.as_bytes(), "the agent's file", []))
    }

    /// Installs the chart, or upgrades what is installed to it.
    pub(super) async fn install(&self) -> anyhow::Result<()> {
        let mut helm = self.helm("upgrade");
        helm.arg("--install");
        let ClusterArgs { kubeconfig, context } = &self.cluster;
        if let Some(kubeconfig) = kubeconfig {
            helm.arg("--kubeconfig").arg(kubeconfig);
        }
        if let Some(context) = context {
            helm.args(["--kube-context", context]);
        }
        run(helm).await.map(drop)
    }

    fn helm(&self, verb: &str) -> Command {
        let mut helm = Command::new(&self.helm);
        helm.args([verb, &self.release]).arg(self.folder.path().join("skiff"));
        helm.args(["--namespace", &self.namespace, "--values"]).arg(self.folder.path().join("values.json"));
        helm.kill_on_drop(true);
        helm
    }
}

async fn run(mut helm: Command) -> anyhow::Result<String> {
    let program = helm.as_std().get_program().to_string_lossy().into_owned();
    let ended = helm.output().await.with_context(|| {
        format!("{program} cannot be started: install helm 4, or name it by --helm or SKIFF_HELM")
    })?;
    if !ended.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&ended.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    fn files(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the chart is there").flatten() {
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                files(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }

    #[test]
    fn the_program_holds_every_file_of_the_chart() {
        let mut expected = BTreeSet::new();
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/skiff");
        files(&chart, "", &mut expected);
        expected.retain(|name| !name.starts_with("rendered/") && name != "own-values.schema.json");
        let held: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(held, expected);
    }
}
