//! What adds types to the API: CustomResourceDefinitions and APIServices.
//!
//! Where we differ from Argo CD: a definition that is being installed is in progress, as in kstatus, and not degraded
//! for the tenths of a second in which every definition is.

use super::condition::{Conditions, find};
use super::{Assessment, Observed, Unreadable, read};

pub(super) fn definition(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Conditions<'_> = read(object.status, "status")?;
    let condition = |kind: &str| find(&status.conditions, kind);
    let is_true = |kind: &str| condition(kind).filter(|condition| condition.status == "True");
    if is_true("Terminating").is_some() {
        return Ok(Assessment::progressing("being deleted"));
    }
    if let Some(refused) = condition("NamesAccepted").filter(|condition| condition.status == "False") {
        return Ok(Assessment::degraded(format!("its names are not accepted: {}", refused.words())));
    }
    if let Some(violation) = is_true("NonStructuralSchema") {
        return Ok(Assessment::degraded(format!("its schema is not structural: {}", violation.words())));
    }
    Ok(match condition("Established") {
        Some(established) if established.status == "True" => Assessment::HEALTHY,
        Some(established) if !matches!(&*established.reason, "" | "Installing" | "NotAccepted") => {
            Assessment::degraded(format!("not established: {}", established.words()))
        }
        _ => Assessment::progressing("not established yet"),
    })
}

pub(super) fn api_service(object: &Observed<'_>) -> Result<Assessment, Unreadable> {
    let status: Conditions<'_> = read(object.status, "status")?;
    Ok(match find(&status.conditions, "Available") {
        Some(available) if available.status == "True" => Assessment::HEALTHY,
        Some(available) => Assessment::progressing(available.words()),
        None => Assessment::progressing("not looked at yet"),
    })
}
