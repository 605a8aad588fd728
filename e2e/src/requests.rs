//! What the agent asked of the apiserver, as the audit log tells it: the measure that no clock disturbs.

use skiff_harness::audit::{AuditEntry, Mark};
use skiff_harness::git_server::RequestKind;

use crate::site::Site;

impl Site {
    /// Returns the present moment of the audit log.
    pub fn mark(&self) -> anyhow::Result<Mark> {
        self.cluster.audit().mark()
    }

    /// Returns the agent's requests since `mark`, in their order; those for its Lease and watches apart.
    pub fn requests(&self, mark: Mark) -> anyhow::Result<Vec<AuditEntry>> {
        let mut entries = self.cluster.audit().since(mark, &self.identity.username())?;
        entries.retain(|entry| entry.resource != "leases" && entry.verb != "watch");
        Ok(entries)
    }

    /// Returns those of [`Site::requests`] that are no reads; dry runs are among them.
    pub fn writes(&self, mark: Mark) -> anyhow::Result<Vec<AuditEntry>> {
        let mut entries = self.requests(mark)?;
        entries.retain(|entry| !matches!(entry.verb.as_str(), "get" | "list"));
        Ok(entries)
    }

    /// Waits until the source was asked `count` more times: whatever the agent does by itself, it has done.
    pub async fn polls(&self, count: u64) -> anyhow::Result<()> {
        let before = self.git.count(RequestKind::Listing).requests;
        // The request under way may have been answered before whatever was done just now.
        let enough = before + count + 1;
        self.until("the source was asked some more times", async || {
            Ok(self.git.count(RequestKind::Listing).requests >= enough)
        })
        .await
    }
}

/// Returns one line for each request, sorted; requests that were refused carry their code.
pub fn lines(entries: &[AuditEntry]) -> String {
    let mut lines: Vec<String> = entries.iter().map(line).collect();
    lines.sort();
    lines.join("\n")
}

/// Returns a request in words, such as `patch (dry run) deployments.apps shop/web`.
pub fn line(entry: &AuditEntry) -> String {
    let AuditEntry { verb, group, resource, subresource, namespace, name, dry_run, code, .. } = entry;
    let dry_run = if *dry_run { " (dry run)" } else { "" };
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let refused = if *code < 300 { String::new() } else { format!(" {code}") };
    format!("{verb}{dry_run} {resource}{group}{subresource} {place}{name}{refused}").trim_end().to_owned()
}
