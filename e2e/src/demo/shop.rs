//! The repository of the story: an environment with a plain folder, a kustomize overlay and a Helm chart.

use skiff_harness::git_server::Repository;

use crate::manifests;

/// The environment's folder.
pub(super) const ENVIRONMENT: &str = "development";

/// The apps, in the order of the list, with what each is.
pub(super) const APPS: [(&str, &str); 3] =
    [("storefront", "plain folder"), ("payments", "kustomize overlay"), ("search", "Helm chart")];

const LIST: &str = "\
apiVersion: skiff.dev/v1alpha1
kind: Environment
apps:
- name: storefront
  namespace: storefront
  createNamespace: true
- name: payments
  path: ../payments/overlays/development
  namespace: payments
  createNamespace: true
- name: search
  path: ../search
  namespace: search
  createNamespace: true
  helm:
    valueFiles: [values-development.yaml]
    parameters:
    - {name: shards, value: \"2\"}
";

const OVERLAY: &str = "\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../base]
images:
- {name: registry.example/payments, newTag: \"7\"}
replicas:
- {name: payments, count: 2}
configMapGenerator:
- name: limits
  literals: [currency=EUR, maximum=500]
";

const CHART: &str = "\
apiVersion: v2
name: search
version: 1.4.0
";

const CHART_DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels:
    helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
spec:
  replicas: {{ .Values.shards }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
    spec:
      containers:
      - name: index
        image: registry.example/search:{{ .Values.tag }}
";

const CHART_SETTINGS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-settings
data:
  language: {{ .Values.language }}
";

/// Makes the first commit; returns its id.
pub(super) fn found(shop: &mut Repository) -> anyhow::Result<String> {
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector:\n    app: {name}\n  \
             ports:\n  - port: 80\n"
        )
    };
    let base = format!(
        "{}---\n{}",
        manifests::deployment("payments", 1, "registry.example/payments"),
        service("payments")
    );
    shop.write("development/skiff.yaml", LIST)
        .write("development/storefront/web.yaml", web("1"))
        .write("development/storefront/service.yaml", service("web"))
        .write("development/storefront/settings.yaml", manifests::config_map("settings", "plain"))
        .write("development/storefront/banner.yaml", manifests::config_map("banner", "Grand opening"))
        .write("payments/base/kustomization.yaml", "resources: [payments.yaml]\n")
        .write("payments/base/payments.yaml", base)
        .write("payments/overlays/development/kustomization.yaml", OVERLAY)
        .write("search/Chart.yaml", CHART)
        .write("search/values.yaml", "tag: \"12\"\nshards: 1\nlanguage: en\n")
        .write("search/values-development.yaml", "language: en, de\n")
        .write("search/templates/deployment.yaml", CHART_DEPLOYMENT)
        .write("search/templates/settings.yaml", CHART_SETTINGS);
    shop.commit("Open the shop")
}

/// Releases another version of the storefront; returns the commit.
pub(super) fn release(shop: &mut Repository) -> anyhow::Result<String> {
    shop.write("development/storefront/web.yaml", web("2"));
    shop.commit("Storefront 2")
}

/// Takes the banner down; returns the commit.
pub(super) fn take_down_banner(shop: &mut Repository) -> anyhow::Result<String> {
    shop.remove("development/storefront/banner.yaml");
    shop.commit("The opening is over")
}

fn web(version: &str) -> String {
    manifests::deployment("web", 2, &format!("registry.example/web:{version}"))
}
