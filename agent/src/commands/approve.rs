//! `skiff approve`: a person's word on the plan that is published, in their own name, or on the deletion of objects.

mod prune;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use skiff_shared::api::v1alpha1::{App, AppStatus, ObjectRow, PlanSummary, PlannedChange};
use skiff_shared::gate::approval;
use skiff_shared::plan::Action;

use super::ask::{AskError, Asked};
use super::{USAGE, ui};
use crate::args::ApproveArgs;
use crate::cluster::Connection;
use crate::state::LABEL_AGENT;

/// Shows the plan that waits, asks, and writes the approval.
pub async fn run(arguments: ApproveArgs) -> anyhow::Result<ExitCode> {
    let ApproveArgs { app, digest, yes, prune } = arguments;
    let asked = Asked::find(app).await?;
    if !prune.is_empty() {
        return prune::run(&asked, &prune, yes).await;
    }
    let status = asked.app.status.clone().unwrap_or_default();
    let plan = waiting(&asked.name, &status)?;
    if let Some(reviewed) = digest.filter(|reviewed| *reviewed != plan.digest) {
        return Err(changed(&asked.name, &reviewed, &plan.digest));
    }
    show(&asked.app, &status, plan);
    if !yes && !ui::is_terminal() {
        ui::error("there is no terminal to ask on: look at the plan, then give --yes and its --digest");
        return Ok(ExitCode::from(USAGE));
    }
    if !yes && !ui::confirm(&format!("approve this plan of {}?", asked.name))? {
        bail!("nothing was approved");
    }
    let by = who_am_i(&asked.connection).await?;
    match asked.ask(json!({ "approval": { "digest": plan.digest, "by": by } })).await {
        Ok(_) => {
            ui::line(&format!("approved plan {} of {} as {by}", plan.digest, asked.name));
            Ok(ExitCode::SUCCESS)
        }
        Err(refused @ AskError::Refused { .. }) => Err(refusal(&asked, &plan.digest, refused).await),
        Err(error) => Err(error.into()),
    }
}

/// Returns the plan that waits for a word, or says why there is none.
fn waiting<'a>(name: &str, status: &'a AppStatus) -> anyhow::Result<&'a PlanSummary> {
    let state = || {
        let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
        format!("it is {} and {}, phase {}{message}", status.sync, status.health, status.phase)
    };
    let Some(plan) = &status.plan else {
        bail!("app {name:?} has no plan to approve: {}", state());
    };
    if let Some(by) = &plan.approved_by {
        bail!("plan {} of app {name:?} is approved by {by} already", plan.digest);
    }
    // Before that an adoption that comes to light may still change what would be approved.
    if status.phase != "Waiting" {
        bail!("app {name:?} does not wait for an approval: {}", state());
    }
    Ok(plan)
}

fn changed(name: &str, reviewed: &str, published: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "the plan of app {name:?} has changed: {reviewed} was reviewed, {published} is published now; look at it and approve again"
    )
}

/// Says why the API server refused an approval: most often the plan is another one by now.
async fn refusal(asked: &Asked, digest: &str, refused: AskError) -> anyhow::Error {
    let now = asked.api().get(&asked.name).await.ok();
    let published = now.and_then(|app: App| app.status?.plan).map(|plan| plan.digest);
    match published {
        Some(published) if published != digest => changed(&asked.name, digest, &published),
        _ => refused.into(),
    }
}

/// Returns the name by which the API server knows the person.
async fn who_am_i(connection: &Connection) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(connection.client().clone());
    let answered = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let answered = answered.context("the API server does not say who you are")?;
    let user = answered.status.and_then(|status| status.user_info).and_then(|info| info.username);
    user.context("the API server knows no name of yours")
}

/// Prints a plan of an app that waits: what would be approved.
pub fn show(app: &App, status: &AppStatus, plan: &PlanSummary) {
    if let Some(revision) = &status.revision {
        ui::line(&format!("revision  {} ({}, {})", revision.name, revision.author, revision.subject));
    }
    ui::line(&format!("plan      {}: {}", plan.digest, in_numbers(plan)));
    plan.changes.iter().for_each(|change| ui::line(&format!("  {}", words(change))));
    let all = plan.created + plan.configured + plan.recreated + plan.pruned;
    let shown = u32::try_from(plan.changes.len()).unwrap_or(u32::MAX);
    if let Some(more) = all.checked_sub(shown).filter(|more| *more > 0) {
        ui::line(&format!("  and {more} more"));
    }
    status.objects.iter().filter_map(held).for_each(|line| ui::line(&line));
    by_tag(app, status, plan).iter().for_each(|line| ui::line(line));
}

/// Returns a line for an object that the plan leaves alone.
fn held(row: &ObjectRow) -> Option<String> {
    row.held.as_ref()?;
    Some(format!("  {:<11} {}: {}", Action::Held, object(row), row.message))
}

/// Returns an object's name as people write it.
pub fn object(row: &ObjectRow) -> String {
    let place = row.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{}/{place}{}", row.kind, row.name)
}

/// Returns how to approve a plan by a tag, where the agent's file lets tags approve.
fn by_tag(app: &App, status: &AppStatus, plan: &PlanSummary) -> Vec<String> {
    let may = status.policy.is_some_and(|policy| policy.approval.by_tag) && plan.approved_by.is_none();
    let agent = app.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_AGENT));
    let (Some(agent), Ok(digest), true) = (agent, plan.digest.parse(), may) else { return Vec::new() };
    let name = app.metadata.name.as_deref().unwrap_or_default();
    let tag = approval::tag_name(agent, name, digest);
    let url = status.assignment.as_ref().map(|assignment| assignment.url.as_str()).unwrap_or_default();
    vec![
        format!("by a tag in {url}:"),
        format!("  git tag --sign --message \"approve {name}\" {tag}"),
        format!("  git push origin {tag}"),
    ]
}

/// Returns a plan's counts in words.
pub fn in_numbers(plan: &PlanSummary) -> String {
    let counts = [
        (plan.created, "created"),
        (plan.configured, "configured"),
        (plan.recreated, "RECREATED"),
        (plan.pruned, "PRUNED"),
        (plan.held, "held"),
        (plan.unchanged, "unchanged"),
    ];
    let some = counts.iter().filter(|(count, _)| *count > 0);
    some.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// Returns a line for one object; what destroys something is loud.
fn words(change: &PlannedChange) -> String {
    let action = match change.action.as_str() {
        "pruned" | "recreated" => change.action.to_uppercase(),
        other => other.to_owned(),
    };
    let adopts = if change.adopts { " (exists, and is taken over)" } else { "" };
    format!("{action:<11} {}{adopts}", change.object)
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use skiff_shared::api::v1alpha1::{AppSpec, Assignment, SyncPolicy};
    use skiff_shared::policy::{ApprovalPolicy, Policy};

    use super::*;

    fn status(phase: &str, approved_by: Option<&str>) -> AppStatus {
        let plan = PlanSummary {
            digest: "a".repeat(32),
            approved_by: approved_by.map(str::to_owned),
            ..PlanSummary::default()
        };
        AppStatus {
            sync: "OutOfSync".to_owned(),
            health: "Healthy".to_owned(),
            phase: phase.to_owned(),
            plan: Some(plan),
            ..AppStatus::default()
        }
    }

    #[test]
    fn only_a_plan_that_waits_can_be_approved() {
        let refused = |status: &AppStatus| waiting("shop", status).unwrap_err().to_string();
        assert_eq!(waiting("shop", &status("Waiting", None)).expect("it waits").digest, "a".repeat(32));
        insta::assert_snapshot!(refused(&status("Applying", Some("ops"))), @r#"plan aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa of app "shop" is approved by ops already"#);
        insta::assert_snapshot!(refused(&status("Checking", None)), @r#"app "shop" does not wait for an approval: it is OutOfSync and Healthy, phase Checking"#);
        let idle = AppStatus { plan: None, message: "paused: lunch".to_owned(), ..status("Idle", None) };
        insta::assert_snapshot!(refused(&idle), @r#"app "shop" has no plan to approve: it is OutOfSync and Healthy, phase Idle: paused: lunch"#);
    }

    #[test]
    fn the_commands_of_a_tag_are_said_where_tags_approve() {
        let mut app = App::new("shop", AppSpec::default());
        app.labels_mut().insert(LABEL_AGENT.to_owned(), "eu-1".to_owned());
        let mut status = status("Waiting", None);
        status.assignment =
            Some(Assignment { url: "https://git.example/fleet".to_owned(), ..Assignment::default() });
        let told =
            |status: &AppStatus| by_tag(&app, status, status.plan.as_ref().expect("a plan waits")).join("\n");
        assert_eq!(told(&status), "");
        let approval = ApprovalPolicy { by_tag: true, ..ApprovalPolicy::default() };
        status.policy = Some(SyncPolicy::of(&Policy { approval, ..Policy::default() }));
        insta::assert_snapshot!(told(&status), @r#"
        by a tag in https://git.example/fleet:
          git tag --sign --message "approve shop" skiff/approve/eu-1/shop/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
          git push origin skiff/approve/eu-1/shop/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        "#);
    }

    #[test]
    fn what_destroys_something_is_loud() {
        let change = |action: &str, adopts| PlannedChange {
            action: action.to_owned(),
            object: "Deployment/shop/web".to_owned(),
            adopts,
        };
        assert_eq!(words(&change("pruned", false)), "PRUNED      Deployment/shop/web");
        assert_eq!(
            words(&change("created", true)),
            "created     Deployment/shop/web (exists, and is taken over)"
        );
        let plan = PlanSummary { created: 2, pruned: 1, unchanged: 5, ..PlanSummary::default() };
        assert_eq!(in_numbers(&plan), "2 created, 1 PRUNED, 5 unchanged");
    }
}
