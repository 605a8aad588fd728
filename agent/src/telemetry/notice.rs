//! What a person reads as it happens: one line for each notice.
//!
//! Lines name objects, fields, managers and reasons, never a body; what an API server says of a Secret is
//! withheld, as it may quote it.

use skiff_shared::desired::{Revision, Unrendered};
use skiff_shared::hook::Ended;
use skiff_shared::sync::effect::Notice;

use super::redacted;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    Info,
    Warn,
    Error,
}

/// A line, and what machines may want to select it by.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    /// One word for what happened.
    pub(super) event: &'static str,
    pub(super) text: String,
    pub(super) object: Option<String>,
    pub(super) error_type: Option<String>,
}

impl Line {
    fn new(level: Level, event: &'static str, text: String) -> Self {
        Self { level, event, text, object: None, error_type: None }
    }

    fn about(self, object: &impl ToString) -> Self {
        Self { object: Some(object.to_string()), ..self }
    }

    fn failed(self, error_type: &str) -> Self {
        Self { error_type: Some(error_type.to_owned()), ..self }
    }
}

pub(super) fn line(notice: &Notice) -> Line {
    match notice {
        Notice::SyncStarted { revision, writes, prunes, held } => {
            let text =
                format!("sync to {revision} started: {writes} to write, {prunes} to prune, {held} held");
            Line::new(Level::Info, "sync_started", text)
        }
        Notice::Written { id, action } => {
            Line::new(Level::Info, "written", format!("{action} {id}")).about(id)
        }
        Notice::WriteFailed { id, cause, attempt } => {
            let again = if *attempt > 0 { format!(" (attempt {attempt})") } else { String::new() };
            let (reason, object) = (cause.reason.word(), id.to_string());
            let text =
                format!("failed to write {object}{again}: {reason}: {}", redacted(&object, &cause.message));
            Line::new(Level::Warn, "write_failed", text).about(id).failed(reason)
        }
        Notice::Held { id, reason } => {
            Line::new(Level::Warn, "held", format!("held {id}: {reason}")).about(id).failed(reason.word())
        }
        Notice::Drifted(drift) => {
            let text = format!("drift of {}: {}", drift.id, drift.story());
            Line::new(Level::Warn, "drifted", text).about(&drift.id)
        }
        Notice::Healed { drift, seen_at, healed_at } => {
            let took = healed_at.duration_since(*seen_at).as_millis();
            let text = format!("healed {} in {took} ms: {}", drift.id, drift.story());
            Line::new(Level::Info, "healed", text).about(&drift.id)
        }
        Notice::Contested { id, manager, since: _, until } => {
            let text = format!(
                "{id} is contested by {manager:?}, which keeps changing it back: left alone until {until}"
            );
            Line::new(Level::Warn, "contested", text).about(id)
        }
        Notice::Pruned { id } => Line::new(Level::Info, "pruned", format!("pruned {id}")).about(id),
        Notice::HookEnded { id, phase, ended: Ended::Succeeded } => {
            Line::new(Level::Info, "hook_ended", format!("{phase} hook {id} succeeded")).about(id)
        }
        Notice::HookEnded { id, phase, ended: Ended::Failed(message) } => {
            let object = id.to_string();
            let text = format!("{phase} hook {object} failed: {}", redacted(&object, message));
            Line::new(Level::Error, "hook_ended", text).about(id).failed("HookFailed")
        }
        Notice::SyncFailed { message } => {
            Line::new(Level::Error, "sync_failed", format!("sync failed: {}", redacted(message, message)))
                .failed("SyncFailed")
        }
        Notice::WaitingForApproval { digest } => {
            Line::new(Level::Info, "waiting_for_approval", format!("plan {digest} waits for approval"))
        }
        Notice::Waiting { reason, message } => {
            Line::new(Level::Info, "waiting", format!("the plan is {message}")).failed(reason)
        }
        Notice::SyncBlocked { problems, first } => blocked(*problems, first),
        Notice::RenderFailed { revision, why } => render_failed(revision, why),
        Notice::SourceFailed { reason, message } => {
            Line::new(Level::Warn, "source_failed", format!("failed to read the source: {reason}: {message}"))
                .failed(reason)
        }
        Notice::StateNotStored { what, cause, attempt } => {
            let reason = cause.reason.word();
            let text = format!("failed to store {what} (attempt {attempt}): {reason}: {}", cause.message);
            Line::new(Level::Warn, "state_not_stored", text).failed(reason)
        }
    }
}

fn blocked(problems: u32, first: &str) -> Line {
    let text = format!(
        "sync blocked, nothing was written: {problems} refused; the first: {}",
        redacted(first, first)
    );
    Line::new(Level::Error, "sync_blocked", text).failed("PreflightFailed")
}

/// Has everything that is wrong: the status has only its beginning.
fn render_failed(revision: &Revision, why: &Unrendered) -> Line {
    let problems: Vec<String> = why.problems.iter().map(ToString::to_string).collect();
    let text = format!("failed to render {revision}: {}", problems.join("; "));
    Line::new(Level::Error, "render_failed", text).failed(why.reason)
}

#[cfg(test)]
mod tests;
