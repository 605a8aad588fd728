//! `skiff diff REV1..REV2`: what a pull request changes, object by object. Two commits are rendered and compared; no
//! cluster is asked.

mod checkout;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context as _;
use serde_json::{Value, json};
use skiff_shared::object::{ApiSet, Interner, ObjectId};
use skiff_shared::plan::Action;

pub use self::checkout::Range;
use self::checkout::{Commit, WorkTree};
use super::described::Described;
use super::diff::{self, Sides};
use super::local::{KUBE_VERSION, Local, NotHere, Served, problems};
use super::mask::masked;
use super::outlook::Change;
use super::{DIFFERENT, refused, ui};
use crate::args::{DiffArgs, Output};

/// What is compared, in words.
pub struct Compare {
    /// From the repository's root; empty for the root itself.
    pub folder: String,
    pub old: String,
    pub new: String,
}

/// One app of either commit.
pub struct Compared {
    pub app: String,
    /// Sorted by object; none where a side cannot be rendered.
    pub changes: Vec<Change>,
    /// Why a side cannot be rendered.
    pub problems: Vec<String>,
}

impl Compared {
    fn is_same(&self) -> bool {
        self.changes.is_empty() && self.problems.is_empty()
    }
}

/// The objects of one app, or why it has none.
type Rendered = Result<BTreeMap<ObjectId, Value>, Vec<String>>;

/// Prints what differs; ends with 3 where anything does, with 1 where an app cannot be rendered.
pub async fn run(range: Range<'_>, arguments: &DiffArgs) -> anyhow::Result<ExitCode> {
    let path = arguments.path.clone().unwrap_or_else(|| ".".into());
    let environment = arguments.environment.as_str();
    let work_tree = WorkTree::find(&path)?;
    let (old, new) = work_tree.resolve(range)?;
    let interner = Mutex::new(Interner::default());
    let mut sides = Vec::new();
    for commit in [&old, &new] {
        let described = match Described::read_any(arguments.facts.as_deref(), environment) {
            Ok(described) => described,
            Err(problems) => return Ok(refused(&problems)),
        };
        let side = Side { work_tree: &work_tree, commit, arguments, interner: &interner };
        sides.push(side.render(described).await.with_context(|| format!("at {commit}"))?);
    }
    let newer = sides.pop().unwrap_or_default();
    let older = sides.pop().unwrap_or_default();
    let apps = compared(older, newer);
    let compare =
        Compare { folder: work_tree.folder.as_str().to_owned(), old: old.to_string(), new: new.to_string() };
    print(&compare, &apps, arguments)?;
    let broken = apps.iter().any(|app| !app.problems.is_empty());
    Ok(match apps.iter().all(Compared::is_same) {
        _ if broken => ExitCode::FAILURE,
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DIFFERENT),
    })
}

/// One commit that is rendered.
struct Side<'a> {
    work_tree: &'a WorkTree,
    commit: &'a Commit,
    arguments: &'a DiffArgs,
    interner: &'a Mutex<Interner>,
}

impl Side<'_> {
    /// Renders every app of the folder; none where the commit does not have the folder.
    async fn render(&self, described: Described) -> anyhow::Result<BTreeMap<String, Rendered>> {
        let files = tempfile::tempdir().context("failed to make a folder")?;
        self.work_tree.export(self.commit, files.path())?;
        let folder = &self.work_tree.folder;
        let mut apps = BTreeMap::new();
        if !files.path().join(folder.as_str()).is_dir() {
            return Ok(apps);
        }
        let kube_version = described.kube_version.clone().unwrap_or_else(|| KUBE_VERSION.to_owned());
        let DiffArgs { environment, tools, .. } = self.arguments;
        let local = Local::within(files.path().to_owned(), folder.clone(), environment, tools, described)?;
        let list = local.environment().map_err(|unlisted| problems(&unlisted.problems))?;
        list.warnings.iter().for_each(|warning| ui::warning(&format!("{}: {warning}", self.commit)));
        let apis = ApiSet::default();
        let served = Served { apis: &apis, kube_version: &kube_version };
        for spec in &list.apps {
            let place = match local.place(spec).await {
                Ok(place) => place,
                Err(why @ NotHere::LeftOut(_)) => {
                    ui::warning(&format!("app {} at {}: {why}", spec.name, self.commit));
                    continue;
                }
                Err(why @ NotHere::Failed(_)) => {
                    apps.insert(spec.name.to_string(), Err(vec![format!("at {}: {why}", self.commit)]));
                    continue;
                }
            };
            let rendered = match local.render(&place, &served, "local", self.interner).await {
                Ok(rendered) => {
                    let object = |row: &skiff_shared::desired::DesiredRow| {
                        let body = local.store.get(row.body)?.context("a rendered body is on disk")?;
                        Ok((row.id.clone(), serde_json::from_slice(&body)?))
                    };
                    Ok(rendered.rows.iter().map(object).collect::<anyhow::Result<_>>()?)
                }
                Err(error) => Err(error
                    .problems
                    .iter()
                    .map(|problem| format!("at {}: {problem}", self.commit))
                    .collect()),
            };
            apps.insert(spec.name.to_string(), rendered);
        }
        Ok(apps)
    }
}

/// Puts the apps of two commits side by side, by their names.
fn compared(mut older: BTreeMap<String, Rendered>, mut newer: BTreeMap<String, Rendered>) -> Vec<Compared> {
    let names: BTreeSet<String> = older.keys().chain(newer.keys()).cloned().collect();
    let none = || Ok(BTreeMap::new());
    let compare = |app: String| {
        let sides = (older.remove(&app).unwrap_or_else(none), newer.remove(&app).unwrap_or_else(none));
        match sides {
            (Ok(old), Ok(new)) => Compared { app, changes: changes(old, new), problems: Vec::new() },
            (old, new) => {
                let problems = [old.err(), new.err()].into_iter().flatten().flatten().collect();
                Compared { app, changes: Vec::new(), problems }
            }
        }
    };
    names.into_iter().map(compare).collect()
}

fn changes(mut old: BTreeMap<ObjectId, Value>, mut new: BTreeMap<ObjectId, Value>) -> Vec<Change> {
    let ids: BTreeSet<ObjectId> = old.keys().chain(new.keys()).cloned().collect();
    let change = |id: ObjectId| {
        let (before, after) = (old.remove(&id), new.remove(&id));
        let action = match (&before, &after) {
            (None, _) => Action::Created,
            (_, None) => Action::Pruned,
            (Some(before), Some(after)) if before == after => return None,
            (Some(_), Some(_)) => Action::Configured,
        };
        let (adopts, refused, unchecked) = (false, None, None);
        Some(masked(Change { id, action, before, after, adopts, refused, unchecked }))
    };
    ids.into_iter().filter_map(change).collect()
}

/// Returns how many objects get what, `2 created, 1 pruned`; empty where none does.
fn in_words(changes: &[Change]) -> String {
    let counted = [Action::Created, Action::Configured, Action::Pruned].into_iter().filter_map(|action| {
        let count = changes.iter().filter(|change| change.action == action).count();
        (count > 0).then(|| format!("{count} {}", action.word()))
    });
    counted.collect::<Vec<_>>().join(", ")
}

fn print(compare: &Compare, apps: &[Compared], arguments: &DiffArgs) -> anyhow::Result<()> {
    if arguments.markdown {
        ui::text(&markdown::comment(compare, apps)?);
        return Ok(());
    }
    let all = || apps.iter().flat_map(|app| app.changes.iter().map(move |change| (app, change)));
    match arguments.output {
        Output::Json | Output::Yaml => {
            let value = |(app, change): (&Compared, &Change)| {
                let Change { id, action, before, after, .. } = change;
                json!({"app": app.app, "object": id.to_string(), "action": action.word(), "before": before, "after": after})
            };
            ui::value(&all().map(value).collect::<Vec<_>>(), arguments.output)?;
        }
        Output::Name => all().for_each(|(_, change)| ui::line(&change.id.to_string())),
        Output::Table | Output::Wide => {
            ui::page();
            let sides = Sides { before: &compare.old, after: &compare.new };
            for app in apps.iter().filter(|app| !app.changes.is_empty()) {
                ui::line(&format!("app {}: {}", app.app, in_words(&app.changes)));
                for change in &app.changes {
                    diff::show(change, &sides)?;
                }
            }
        }
    }
    for app in apps {
        app.problems.iter().for_each(|problem| ui::error(&format!("app {}: {problem}", app.app)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(named: &[(&str, &str, &str)]) -> Rendered {
        let mut interner = Interner::default();
        let object = |&(kind, name, value): &(&str, &str, &str)| {
            let field = if kind == "Secret" { "stringData" } else { "data" };
            (interner.object("", kind, Some("shop"), name), json!({field: {"a": value}}))
        };
        Ok(named.iter().map(object).collect())
    }

    #[test]
    fn apps_are_compared_by_name_and_secrets_are_masked() {
        let older = BTreeMap::from([
            (
                "web".to_owned(),
                objects(&[("ConfigMap", "a", "1"), ("ConfigMap", "b", "1"), ("Secret", "s", "old")]),
            ),
            ("gone".to_owned(), objects(&[("ConfigMap", "c", "1")])),
            ("broken".to_owned(), Err(vec!["at 4f2c: no YAML".to_owned()])),
        ]);
        let newer = BTreeMap::from([
            (
                "web".to_owned(),
                objects(&[("ConfigMap", "a", "2"), ("ConfigMap", "b", "1"), ("Secret", "s", "new")]),
            ),
            ("fresh".to_owned(), objects(&[("ConfigMap", "d", "1")])),
            ("broken".to_owned(), objects(&[("ConfigMap", "e", "1")])),
        ]);
        let apps = compared(older, newer);
        let told: Vec<String> = apps
            .iter()
            .flat_map(|app| {
                let problems = app.problems.iter().map(move |problem| format!("{} {problem}", app.app));
                let changes = app.changes.iter().map(move |change| {
                    let values = serde_json::to_string(&(&change.before, &change.after)).expect("JSON");
                    format!("{} {} {} {values}", app.app, change.action, change.id)
                });
                problems.chain(changes)
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        broken at 4f2c: no YAML
        fresh created ConfigMap/shop/d [null,{"data":{"a":"1"}}]
        gone pruned ConfigMap/shop/c [{"data":{"a":"1"}},null]
        web configured ConfigMap/shop/a [{"data":{"a":"1"}},{"data":{"a":"2"}}]
        web configured Secret/shop/s [{"stringData":{"a":"(masked, before)"}},{"stringData":{"a":"(masked, after)"}}]
        "#);
    }
}
