//! The API server takes rewritten managedFields lists, and they do what they are written for.

use anyhow::Context as _;
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use skiff_harness::cluster::{Cluster, Options, User};
use skiff_shared::managed_fields::{Adoption, Entry, Path, adopt, release};

#[tokio::test(flavor = "multi_thread")]
async fn managed_fields_surgery_keeps_what_is_yielded_and_removes_what_is_adopted() {
    let options = Options { without_controller_manager: true, without_scheduler: true, ..Options::default() };
    let cluster = Cluster::start(options).await.expect("the control plane starts");
    let client = cluster.client(User::Dev).expect("a client");
    yielding(&client).await.expect("yielding");
    adoption(&cluster, &client).await.expect("adoption");
    creation(&client).await.expect("creation");
}

/// An apply that carries a version which no object can have creates, and never changes what is there.
async fn creation(client: &Client) -> anyhow::Result<()> {
    let mut manifest = manifest(Some(1), &[]);
    manifest["metadata"]["resourceVersion"] = "1".into();
    let object = Deployment { client, name: "created-only" };
    let created = object.apply("skiff", &manifest).await?;
    assert_ne!(created["metadata"]["resourceVersion"], "1");
    assert!(!created["metadata"]["managedFields"].to_string().contains("resourceVersion"));
    let refused = object.apply("skiff", &manifest).await.expect_err("it exists");
    assert!(format!("{refused:#}").contains("409"), "{refused:#}");
    Ok(())
}

/// A field that our apply omits is reset, unless it was given up before.
async fn yielding(client: &Client) -> anyhow::Result<()> {
    let trap = Deployment { client, name: "reset" };
    trap.apply("skiff", &manifest(Some(5), &["note"])).await?;
    let after = trap.apply("skiff", &manifest(None, &["note"])).await?;
    assert_eq!(after["spec"]["replicas"], 1, "the server resets a field that only we had");

    let object = Deployment { client, name: "kept" };
    object.apply("skiff", &manifest(Some(5), &["note"])).await?;
    object.merge("dev", &json!({"metadata": {"annotations": {"foreign": "x"}}})).await?;
    let yielded = pointers(&["/spec/replicas", "/metadata/annotations/note"]);
    object.rewrite(|entries| Ok(release(entries, &yielded)?)).await?;
    let after = object.apply("skiff", &manifest(None, &[])).await?;
    assert_eq!(after["spec"]["replicas"], 5);
    assert_eq!(after["metadata"]["annotations"], json!({"note": "x", "foreign": "x"}));
    Ok(())
}

/// What another tool had set and Git does not name goes away after adoption, and only then.
async fn adoption(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    let old = manifest(Some(5), &["note", "old"]);
    for tool in [Tool::ClientSideApply, Tool::Create, Tool::ServerSideApply] {
        let left = Deployment { client, name: tool.left() };
        tool.write(cluster, &left, &old).await?;
        let after = left.apply("skiff", &manifest(Some(5), &["note"])).await?;
        assert_eq!(after["metadata"]["annotations"]["old"], "x", "{}", left.name);

        let adopted = Deployment { client, name: tool.adopted() };
        tool.write(cluster, &adopted, &old).await?;
        let yielded = pointers(&["/spec/replicas"]);
        let take = [tool.manager()];
        let adoption = Adoption { api_version: "apps/v1", take: &take, yielded: &yielded };
        adopted
            .rewrite(|entries| {
                let adopted = adopt(entries, &adoption)?;
                assert!(adopted.other_versions.is_empty());
                assert!(!adopted.ours.is_empty(), "{take:?}");
                Ok(adopted.entries)
            })
            .await?;
        let after = adopted.apply("skiff", &manifest(None, &["note"])).await?;
        assert_eq!(after["metadata"]["annotations"], json!({"note": "x"}), "{}", adopted.name);
        assert_eq!(after["spec"]["replicas"], 5, "{}", adopted.name);
    }
    Ok(())
}

fn pointers(texts: &[&str]) -> Vec<Path> {
    texts.iter().map(|text| Path::from_pointer(text).expect("a pointer")).collect()
}

fn manifest(replicas: Option<u32>, annotations: &[&str]) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}});
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    for annotation in annotations {
        manifest["metadata"]["annotations"][annotation] = "x".into();
    }
    if let Some(replicas) = replicas {
        manifest["spec"]["replicas"] = replicas.into();
    }
    manifest
}

/// What the object was made with before.
#[derive(Clone, Copy)]
enum Tool {
    ClientSideApply,
    Create,
    ServerSideApply,
}

impl Tool {
    fn manager(self) -> &'static str {
        match self {
            Self::ClientSideApply => "kubectl-client-side-apply",
            Self::Create => "kubectl-create",
            Self::ServerSideApply => "kustomize-controller",
        }
    }

    fn left(self) -> &'static str {
        match self {
            Self::ClientSideApply => "client-side-left",
            Self::Create => "create-left",
            Self::ServerSideApply => "server-side-left",
        }
    }

    fn adopted(self) -> &'static str {
        match self {
            Self::ClientSideApply => "client-side-adopted",
            Self::Create => "create-adopted",
            Self::ServerSideApply => "server-side-adopted",
        }
    }

    async fn write(self, cluster: &Cluster, object: &Deployment<'_>, manifest: &Value) -> anyhow::Result<()> {
        let verb = match self {
            Self::ClientSideApply => "apply",
            Self::Create => "create",
            Self::ServerSideApply => return object.apply(self.manager(), manifest).await.map(drop),
        };
        let path = cluster.directory().join(format!("{}.json", object.name));
        std::fs::write(&path, object.named(manifest).to_string())?;
        let output = cluster.kubectl(User::Dev).args([verb, "-f"]).arg(&path).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

struct Deployment<'a> {
    client: &'a Client,
    name: &'static str,
}

impl Deployment<'_> {
    fn named(&self, manifest: &Value) -> Value {
        let mut manifest = manifest.clone();
        manifest["metadata"]["name"] = self.name.into();
        manifest
    }

    async fn apply(&self, by: &str, manifest: &Value) -> anyhow::Result<Value> {
        let query = format!("?fieldManager={by}&force=true");
        self.patch(&query, "application/apply-patch+yaml", &self.named(manifest)).await
    }

    async fn merge(&self, by: &str, body: &Value) -> anyhow::Result<Value> {
        self.patch(&format!("?fieldManager={by}"), "application/merge-patch+json", body).await
    }

    /// Replaces the whole managedFields list, as the agent does: together with the version that it was read at.
    async fn rewrite(&self, edit: impl FnOnce(&[Entry]) -> anyhow::Result<Vec<Entry>>) -> anyhow::Result<()> {
        let live: Value = self.client.request(Request::get(self.path()).body(Vec::new())?).await?;
        let entries: Vec<Entry> = serde_json::from_value(live["metadata"]["managedFields"].clone())?;
        let patch = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": edit(&entries)?},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ]);
        self.patch("?fieldManager=skiff", "application/json-patch+json", &patch).await.map(drop)
    }

    fn path(&self) -> String {
        format!("/apis/apps/v1/namespaces/default/deployments/{}", self.name)
    }

    async fn patch(&self, query: &str, content_type: &str, body: &Value) -> anyhow::Result<Value> {
        let uri = format!("{}{query}", self.path());
        let request = Request::builder().method(Method::PATCH).uri(uri).header("Content-Type", content_type);
        let request = request.body(body.to_string().into_bytes())?;
        self.client.request(request).await.with_context(|| format!("failed to patch {}", self.name))
    }
}
