//! Bad input: one clear error where people look, and the other apps go on.

use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace, widget, widget_definition};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::{Fault, GitServer, Repository};
use skiff_harness::otlp::{Span, Status};

/// What must be said of one mistake.
struct Mistake {
    app: &'static str,
    condition: &'static str,
    reason: &'static str,
    /// In the condition's message and in the log.
    words: Vec<String>,
    /// The record's `error.type`.
    error_type: &'static str,
}

impl Mistake {
    /// Waits until the mistake is told in the condition, in the log and to the telemetry receiver.
    async fn is_told(&self, site: &Site) -> anyhow::Result<()> {
        let Self { app, condition, reason, words, error_type } = self;
        let what = format!("{app} says {reason}: {words:?}");
        site.app(app, &what, |app| words.iter().all(|word| says(app, condition, reason, word))).await?;
        let log = site.log();
        let told = log.lines().filter(|line| line.contains(&format!("app=\"{app}\"")) || line.contains(app));
        for word in words {
            assert!(
                told.clone().any(|line| line.contains(word)),
                "{app}: {word:?} is not in the log:\n{log}"
            );
        }
        site.error_record(error_type, &words[0]).await?;
        self.has_a_span(site).await
    }

    /// Waits for the span that ended with the mistake, or that names the object which it left out.
    async fn has_a_span(&self, site: &Site) -> anyhow::Result<()> {
        let what = format!("a span of {} with {}", self.app, self.error_type);
        site.until(&what, async || Ok(site.otlp.spans().iter().any(|span| self.is_told_by(span)))).await
    }

    fn is_told_by(&self, span: &Span) -> bool {
        let Self { app, words, error_type, .. } = self;
        let fetch = span.name == format!("FETCH {app}") && span.attributes["error.type"] == *error_type;
        let sync = span.name == format!("SYNC {app}");
        fetch && matches!(&span.status, Status::Error(text) if text.contains(&words[0]))
            || sync && span.events.iter().any(|event| event.attributes["error.type"] == *error_type)
    }
}

fn auto(name: &str, url: &str, path: &str) -> Value {
    let mut environment = Site::environment(name, url, path);
    environment["sync"]["mode"] = json!("auto");
    environment["sync"]["selfHeal"] = json!(true);
    environment
}

/// Puts the one object of an environment into a repository.
fn one_object(repository: &mut Repository, name: &str) -> anyhow::Result<String> {
    repository.write("apps/one.yaml", in_namespace("default", &config_map(name, "one")));
    repository.commit("one object")
}

/// Commits to a healthy repository and waits until that is in the cluster.
async fn goes_on(site: &Site, repository: &mut Repository, value: &str) -> anyhow::Result<()> {
    repository.write("apps/one.yaml", in_namespace("default", &config_map("fine", value)));
    let commit = repository.commit("another value")?;
    site.synced("fine", &commit).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_cannot_be_read_any_more_are_told_and_the_others_go_on() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let elsewhere = GitServer::start()?;
    let mut fine = site.repository("fine")?;
    let mut away = Repository::create(&elsewhere, "away")?;
    let mut branchless = site.repository("branchless")?;
    let mut pathless = site.repository("pathless")?;
    let mut commits = Vec::new();
    for (name, repository) in [
        ("fine", &mut fine),
        ("away", &mut away),
        ("branchless", &mut branchless),
        ("pathless", &mut pathless),
    ] {
        commits.push((name, one_object(repository, name)?));
    }
    site.start_agent(json!([
        auto("fine", fine.url(), "apps"),
        auto("away", away.url(), "apps"),
        auto("branchless", branchless.url(), "apps"),
        auto("pathless", pathless.url(), "apps"),
    ]))?;
    for (name, commit) in &commits {
        site.synced(name, commit).await?;
    }

    let mark = site.mark()?;
    elsewhere.behave(Fault::status(503));
    branchless.git(&["branch", "-m", "main", "trunk"])?;
    pathless.remove("apps").write("README.md", "the folder is gone\n");
    pathless.commit("the folder goes")?;
    let mistakes = [
        Mistake {
            app: "away",
            condition: "SourceReady",
            reason: "ServerError",
            words: vec![format!("failed to fetch {}: the server answered 503", away.url())],
            error_type: "ServerError",
        },
        Mistake {
            app: "branchless",
            condition: "SourceReady",
            reason: "ReferenceNotFound",
            words: vec![format!("failed to fetch {}: reference \"main\" not found", branchless.url())],
            error_type: "ReferenceNotFound",
        },
        Mistake {
            app: "pathless",
            condition: "Rendered",
            reason: "PathNotFound",
            words: vec!["apps: path \"apps\" not found in sha1:".to_owned()],
            error_type: "PathNotFound",
        },
    ];
    for mistake in &mistakes {
        mistake.is_told(&site).await?;
    }
    goes_on(&site, &mut fine, "two").await?;
    let deleted: Vec<_> = site.writes(mark)?.into_iter().filter(|entry| entry.verb == "delete").collect();
    assert!(deleted.is_empty(), "a source that cannot be read deletes nothing: {deleted:?}");

    elsewhere.behave(Fault::None);
    away.write("apps/one.yaml", in_namespace("default", &config_map("away", "back")));
    let back = away.commit("back again")?;
    site.synced("away", &back).await?;
    Ok(())
}

const APPS: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n\
     - {name: fine, path: apps, namespace: default}\n\
     - {name: syntax, namespace: default}\n\
     - {name: chart, namespace: default}\n\
     - name: judged\n  namespace: default\n  healthCheckExprs:\n  - {apiVersion: v1, kind: ConfigMap, current: metadata.name ==}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rendered_is_told_with_file_and_line_and_the_others_go_on() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", APPS)
        .write("apps/one.yaml", in_namespace("default", &config_map("fine", "one")))
        .write("syntax/good.yaml", config_map("good", "one"))
        .write("syntax/broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: broken\n  labels: [\n")
        .write("judged/map.yaml", config_map("judged", "one"))
        .write("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n")
        .write(
            "chart/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n  a: {{ required \"set .Values.a\" .Values.a }}\n",
        );
    let first = shop.commit("three of four apps cannot be rendered")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    site.synced("fine", &first).await?;
    let mistakes = [
        Mistake {
            app: "syntax",
            condition: "Rendered",
            reason: "InvalidYaml",
            words: vec!["syntax/broken.yaml:5:11: unclosed bracket".to_owned()],
            error_type: "InvalidYaml",
        },
        Mistake {
            app: "chart",
            condition: "Rendered",
            reason: "HelmFailed",
            words: vec!["chart/templates/map.yaml".to_owned(), "set .Values.a".to_owned()],
            error_type: "HelmFailed",
        },
        Mistake {
            app: "judged",
            condition: "Rendered",
            reason: "InvalidAppList",
            words: vec!["skiff.yaml:".to_owned(), "\"metadata.name ==\" is no CEL".to_owned()],
            error_type: "InvalidAppList",
        },
    ];
    for mistake in &mistakes {
        mistake.is_told(&site).await?;
    }
    goes_on(&site, &mut shop, "two").await?;

    shop.write("syntax/broken.yaml", config_map("mended", "one")).write("chart/values.yaml", "a: mended\n");
    shop.write("skiff.yaml", APPS.replace("metadata.name ==", "metadata.name == 'judged'"));
    let mended = shop.commit("all are mended")?;
    site.synced("syntax", &mended).await?;
    site.synced("chart", &mended).await?;
    site.synced("judged", &mended).await?;
    Ok(())
}

const REFUSED: &str = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n\
     - {name: fine, path: apps, namespace: default}\n\
     - {name: schema, namespace: default}\n\
     - {name: admission, namespace: default}\n\
     - {name: rights, namespace: default}\n\
     - {name: kind, namespace: default}\n";

const ADMISSION: &str = r#"apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: no-secrets-in-maps
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}
  validations:
  - expression: "!has(object.data) || !('password' in object.data)"
    message: passwords belong into Secrets
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: no-secrets-in-maps
spec:
  policyName: no-secrets-in-maps
  validationActions: [Deny]
"#;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata:\n  name: wrong\nspec:\n  prots:\n  - port: 80\n";

const BUDGET: &str = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: forbidden\nspec:\n  \
     maxUnavailable: 1\n  selector:\n    matchLabels: {app: web}\n";

/// The rights of an agent that may not touch PodDisruptionBudgets.
fn few_rights() -> Value {
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps", "services", "namespaces"], "verbs": ["*"]},
        {"apiGroups": ["lab.skiff.dev"], "resources": ["*"], "verbs": ["*"]},
    ]);
    json!({"rbac": {"mode": "custom", "rules": rules}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_refuses_is_told_by_app_and_the_others_go_on() -> anyhow::Result<()> {
    let mut site = Site::start_with(Options::default(), few_rights()).await?;
    site.kubectl_apply(User::Admin, ADMISSION).await?;
    admission_is_in_force(&site).await?;
    let mut shop = site.repository("shop")?;
    shop.write("skiff.yaml", REFUSED)
        .write("apps/one.yaml", in_namespace("default", &config_map("fine", "one")))
        .write("schema/service.yaml", SERVICE)
        .write("schema/map.yaml", config_map("beside-schema", "one"))
        .write("admission/map.yaml", config_map("leaky", "one").replace("value:", "password:"))
        .write("rights/budget.yaml", BUDGET)
        .write("kind/widget.yaml", widget("first", 3))
        .write("kind/map.yaml", config_map("beside-kind", "one"));
    let first = shop.commit("four of five apps are refused")?;
    site.start_agent(json!([Site::environment("development", shop.url(), "")]))?;
    site.synced("fine", &first).await?;
    let mistakes = [
        Mistake {
            app: "schema",
            condition: "Ready",
            reason: "PreflightFailed",
            words: vec![
                "Service/default/wrong".to_owned(),
                ".spec.prots: field not declared in schema".to_owned(),
            ],
            error_type: "SchemaInvalid",
        },
        Mistake {
            app: "admission",
            condition: "Ready",
            reason: "PreflightFailed",
            words: vec!["ConfigMap/default/leaky".to_owned(), "passwords belong into Secrets".to_owned()],
            error_type: "AdmissionDenied",
        },
        Mistake {
            app: "rights",
            condition: "Ready",
            reason: "PreflightFailed",
            words: vec!["PodDisruptionBudget/default/forbidden".to_owned(), "cannot".to_owned()],
            error_type: "Forbidden",
        },
        Mistake {
            app: "kind",
            condition: "Ready",
            reason: "Held",
            words: vec!["Widget/default/first".to_owned(), "does not serve Widget.lab.skiff.dev".to_owned()],
            error_type: "MissingKind",
        },
    ];
    for mistake in &mistakes {
        mistake.is_told(&site).await?;
    }
    let maps = site.labelled("ConfigMap").await?;
    assert!(
        !maps.contains("ConfigMap/default/beside-schema"),
        "nothing of a refused plan is written: {maps:?}"
    );
    assert!(maps.contains("ConfigMap/default/beside-kind"), "a held object holds nobody else: {maps:?}");
    goes_on(&site, &mut shop, "two").await?;
    let head = shop.head()?;

    site.kubectl_apply(User::Dev, widget_definition()).await?;
    site.synced("kind", &head).await?;
    site.kubectl(User::Admin, &["delete", "validatingadmissionpolicybinding", "no-secrets-in-maps"]).await?;
    shop.write("schema/service.yaml", SERVICE.replace("prots", "ports"));
    let mended = shop.commit("the Service is mended")?;
    site.synced("schema", &mended).await?;
    Ok(())
}

/// Waits until the apiserver enforces the policy: it takes a moment to notice.
async fn admission_is_in_force(site: &Site) -> anyhow::Result<()> {
    let probe = ["create", "configmap", "probe", "--from-literal=password=x", "--dry-run=server"];
    site.until("the admission policy is in force", async || {
        Ok(site.kubectl(User::Admin, &probe).await.is_err())
    })
    .await
}
