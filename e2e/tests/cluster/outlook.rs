//! `skiff plan` and `skiff diff` of a folder that is not merged yet say what the agent would do with it.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use skiff_e2e::manifests::{config_map, in_namespace, namespace, widget, widget_definition};
use skiff_e2e::site::Site;
use skiff_harness::cluster::{Options, User};

const WRONG: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: wrong\n  namespace: fresh\nspec:\n  prots:\n  - port: 80\n";

/// The files of a change that brings a kind and a Namespace with objects of both.
fn files() -> Vec<(&'static str, String)> {
    vec![
        ("settings.yaml", in_namespace("default", &config_map("settings", "one"))),
        ("definition.yaml", widget_definition().to_owned()),
        ("widget.yaml", in_namespace("fresh", &widget("first", 3))),
        ("namespace.yaml", namespace("fresh")),
        ("map.yaml", in_namespace("fresh", &config_map("first", "one"))),
    ]
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))
}

/// Returns the line about an object; nothing where there is none.
fn line<'a>(text: &'a str, object: &str) -> &'a str {
    text.lines().find(|line| line.contains(object)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_knows_what_it_brings_itself_and_how_the_agent_syncs() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let mut shop = site.repository("shop")?;
    shop.write("apps/settings.yaml", in_namespace("default", &config_map("settings", "one")));
    shop.write("apps/other.yaml", in_namespace("default", &config_map("other", "one")));
    let first = shop.commit("two settings")?;
    let mut environment = Site::environment("staging", shop.url(), "apps");
    environment["sync"]["prune"] = json!(false);
    environment["sync"]["adopt"] = json!("never");
    site.start_agent(json!([environment.clone()]))?;
    let app = site.synced("staging", &first).await?;
    let policy = app.status.and_then(|status| status.policy).context("the policy is published")?;
    assert!(!policy.prune.enabled, "{policy:?}");
    let by_hand = ["-n", "default", "create", "configmap", "mine", "--from-literal=a=b"];
    site.kubectl(User::Dev, &by_hand).await?;

    let folder = tempfile::tempdir()?;
    for (name, text) in files() {
        write(folder.path(), name, &text)?;
    }
    write(folder.path(), "wrong.yaml", WRONG)?;
    write(folder.path(), "mine.yaml", &in_namespace("default", &config_map("mine", "one")))?;
    let path = folder.path().to_string_lossy().into_owned();
    let (plan, code) = site.skiff(User::Admin, &["plan", "staging", "--path", &path]).await?;
    assert_eq!(code, 3, "{plan}");
    assert!(line(&plan, "CustomResourceDefinition/widgets").starts_with("created"), "{plan}");
    assert!(line(&plan, "Namespace/fresh").starts_with("created"), "{plan}");
    assert!(
        line(&plan, "Widget/fresh/first").contains("not checked: its kind is defined by this plan"),
        "{plan}"
    );
    assert!(line(&plan, "ConfigMap/fresh/first").contains("checked against its schema only"), "{plan}");
    assert!(line(&plan, "Service/fresh/wrong").contains("refused: ") && plan.contains("prots"), "{plan}");
    assert!(line(&plan, "ConfigMap/default/mine").contains("sync.adopt is \"never\""), "{plan}");
    assert!(line(&plan, "ConfigMap/default/other").contains("sync.prune is off"), "{plan}");
    assert!(plan.contains("1 refused: nothing would be written (sync.onInvalid: block)"), "{plan}");
    let (diff, code) = site.skiff(User::Admin, &["diff", "staging", "--path", &path]).await?;
    assert!(code == 3 && diff.contains("+  size: 3"), "{diff}");

    // The agent's own file has more than the App object tells.
    let config = site.configure(json!([environment]))?;
    let mut limited: Value = serde_json::from_slice(&std::fs::read(config)?)?;
    limited["environments"][0]["limits"] = json!({"namespaces": ["default"]});
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), limited.to_string())?;
    let file = file.path().to_string_lossy().into_owned();
    let arguments = ["plan", "staging", "--path", &path, "--cluster", &file];
    let (outside, code) = site.skiff(User::Admin, &arguments).await?;
    assert!(
        code == 1 && outside.contains("namespace \"fresh\" is outside of limits.namespaces"),
        "{outside}"
    );

    // What it said is what the agent does.
    std::fs::remove_file(folder.path().join("wrong.yaml"))?;
    std::fs::remove_file(folder.path().join("mine.yaml"))?;
    write(folder.path(), "other.yaml", &in_namespace("default", &config_map("other", "one")))?;
    for (name, text) in files() {
        shop.write(&format!("apps/{name}"), text);
    }
    let second = shop.commit("a kind and a Namespace")?;
    site.synced("staging", &second).await?;
    let (nothing, code) = site.skiff(User::Admin, &["plan", "staging", "--path", &path]).await?;
    assert_eq!(code, 0, "{nothing}");
    Ok(())
}
