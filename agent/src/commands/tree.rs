//! `skiff tree`: an app's objects with what they own, how each of them is and how old.

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_shared::api::v1alpha1::App;

use super::kin::{Family, Kin, NOTHING, Node, without_history};
use super::ui;
use crate::args::{Output, TreeArgs};

const HEADER: [&str; 5] = ["OBJECT", "SYNC", "HEALTH", "AGE", "MESSAGE"];

/// Prints the tree; what could not be seen is warned of.
pub async fn run(arguments: TreeArgs) -> anyhow::Result<ExitCode> {
    let TreeArgs { app, all, deep, output } = arguments;
    let family = Family::find(app, deep).await?;
    let Kin { roots, notes } = family.look().await?;
    let roots = if all { roots } else { without_history(roots) };
    match output {
        Output::Json | Output::Yaml => {
            ui::value(&roots.iter().map(value).collect::<Vec<_>>(), output)?;
        }
        Output::Name => each(&roots, |node| ui::line(&node.id.to_string())),
        Output::Table | Output::Wide => {
            ui::page();
            let rows = rows(family.app(), &roots, Timestamp::now());
            if output == Output::Wide { ui::wide(&HEADER, &rows) } else { ui::table(&HEADER, &rows) }
        }
    }
    notes.iter().for_each(|note| ui::warning(note));
    Ok(ExitCode::SUCCESS)
}

fn each(roots: &[Node], mut visit: impl FnMut(&Node)) {
    roots.iter().for_each(|root| root.walk(&mut Vec::new(), &mut |node, _| visit(node)));
}

/// Returns the app and everything below it, a row each.
fn rows(app: &App, roots: &[Node], now: Timestamp) -> Vec<Vec<String>> {
    let status = app.status.clone().unwrap_or_default();
    let created = app.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let name = app.metadata.name.clone().unwrap_or_default();
    let mut rows =
        vec![vec![format!("App/{name}"), status.sync, status.health, ui::age(created, now), status.message]];
    for (at, root) in roots.iter().enumerate() {
        draw(
            root,
            &Branch { stem: String::new(), last: at + 1 == roots.len(), namespace: None },
            now,
            &mut rows,
        );
    }
    rows
}

/// Where a node hangs.
struct Branch<'a> {
    /// What is drawn before it in every line.
    stem: String,
    last: bool,
    /// Its owner's namespace, which need not be said again.
    namespace: Option<&'a str>,
}

fn draw(node: &Node, branch: &Branch<'_>, now: Timestamp, rows: &mut Vec<Vec<String>>) {
    let Branch { stem, last, namespace } = branch;
    let (knot, below) = if *last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let id = &node.id;
    let name = if namespace.is_some() && *namespace == id.namespace() {
        format!("{}/{}", id.kind().kind, id.name())
    } else {
        id.to_string()
    };
    let created = node.object.as_ref().and_then(|object| object.metadata.creation_timestamp.as_ref());
    rows.push(vec![
        format!("{stem}{knot}{name}"),
        node.sync.clone(),
        node.health.clone(),
        ui::age(created.map(|time| time.0), now),
        node.message.clone(),
    ]);
    for (at, child) in node.children.iter().enumerate() {
        let stem = format!("{stem}{below}");
        let branch = Branch { stem, last: at + 1 == node.children.len(), namespace: id.namespace() };
        draw(child, &branch, now, rows);
    }
}

fn value(node: &Node) -> Value {
    let created = node.object.as_ref().and_then(|object| object.metadata.creation_timestamp.as_ref());
    json!({
        "object": node.id.to_string(),
        "group": &*node.id.kind().group,
        "kind": &*node.id.kind().kind,
        "namespace": node.id.namespace(),
        "name": node.id.name(),
        "uid": node.uid(),
        "created": created,
        "sync": (node.sync != NOTHING).then_some(&node.sync),
        "health": node.health,
        "message": node.message,
        "children": node.children.iter().map(value).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use skiff_shared::api::v1alpha1::{AppSpec, AppStatus};
    use skiff_shared::object::Interner;

    use super::*;

    fn node(kind: &str, namespace: Option<&str>, name: &str, children: Vec<Node>) -> Node {
        Node {
            id: Interner::default().object("", kind, namespace, name),
            object: None,
            sync: NOTHING.to_owned(),
            health: "Healthy".to_owned(),
            message: String::new(),
            children,
        }
    }

    #[test]
    fn a_tree_says_a_namespace_once_and_draws_every_branch() {
        let mut app = App::new("shop", AppSpec::default());
        app.status = Some(AppStatus {
            sync: "Synced".to_owned(),
            health: "Healthy".to_owned(),
            ..AppStatus::default()
        });
        let here = Some("shop");
        let pods = vec![node("Pod", here, "web-1-a", Vec::new()), node("Pod", here, "web-1-b", Vec::new())];
        let sets =
            vec![node("ReplicaSet", here, "web-1", pods), node("ReplicaSet", here, "web-0", Vec::new())];
        let roots = [node("Deployment", here, "web", sets), node("Namespace", None, "shop", Vec::new())];
        let rows = rows(&app, &roots, Timestamp::UNIX_EPOCH);
        let drawn: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        insta::assert_snapshot!(drawn.join("\n"), @r"
        App/shop
        ├─ Deployment/shop/web
        │  ├─ ReplicaSet/web-1
        │  │  ├─ Pod/web-1-a
        │  │  └─ Pod/web-1-b
        │  └─ ReplicaSet/web-0
        └─ Namespace/shop
        ");
        assert_eq!(rows[0][1..3], ["Synced", "Healthy"]);
    }
}
