//! The time after the story: what to try in a second terminal, and what the agent does about it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use skiff_harness::cluster::User;
use skiff_harness::git_server::Repository;

use super::ui::{Style, Terminal};
use crate::site::{NAMESPACE, Site};

/// Words by which the agent's notices begin.
const NOTICES: [&str; 9] =
    ["healed ", "drift of ", "pruned ", "sync ", "held ", "failed ", "created ", "configured ", "recreated "];

/// Stays until the demo is dropped; an agent that ends is an error.
pub(super) async fn stay(
    site: &mut Site,
    shop: &Repository,
    program: &Path,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    invite(site, shop, program, terminal);
    let mut log = Follower::at_end(&site.log_file())?;
    loop {
        for line in log.new_lines()? {
            if let Some((time, words)) = notice(&line) {
                terminal.line(&format!("  {} {words}", terminal.paint(time, Style::Faint)));
            }
        }
        if !site.agent().is_running() {
            bail!("the agent has ended; its last words:\n{}", site.agent().log_tail(20));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn invite(site: &Site, shop: &Repository, program: &Path, terminal: &Terminal) {
    let kubectl = site.cluster.lab().kubectl.display().to_string();
    let kubeconfig = site.cluster.kubeconfig(User::Dev).display().to_string();
    let url = shop.url();
    terminal.chapter(8, "Your turn");
    terminal.prose("In a second terminal (you are the person `dev`):");
    terminal.gap();
    terminal.command(&format!("export KUBECONFIG={kubeconfig}"));
    terminal.command(&format!("alias kubectl={kubectl}"));
    terminal.command(&format!("kubectl get apps -n {NAMESPACE} -o wide"));
    terminal.command("kubectl -n storefront scale deployment/web --replicas=7");
    terminal.command("kubectl -n payments delete service payments");
    terminal.command("kubectl -n search label configmap search-settings mine=yes   # not ours: left alone");
    terminal.command("kubectl get deployments -A");
    if knows_get(program) {
        terminal.command(&format!("{} get", program.display()));
    }
    terminal.gap();
    terminal.command(&format!("git clone {url} /tmp/shop && cd /tmp/shop"));
    terminal.command("sed -i 's/web:2/web:3/' development/storefront/web.yaml");
    terminal
        .command("git -c user.name=you -c user.email=you@example.com commit -am 'Storefront 3' && git push");
    terminal.gap();
    terminal.command(&format!("less +F {}", site.log_file().display()));
    terminal.gap();
    terminal
        .prose("Below is what the agent says meanwhile. Ctrl-C ends everything and leaves nothing behind.");
    terminal.gap();
}

/// Whether this build of the program has the verb `get`.
fn knows_get(program: &Path) -> bool {
    let asked = std::process::Command::new(program).args(["get", "--help"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Reads what is added to a file.
struct Follower {
    path: PathBuf,
    at: u64,
    rest: String,
}

impl Follower {
    fn at_end(path: &Path) -> anyhow::Result<Self> {
        let length =
            std::fs::metadata(path).with_context(|| format!("failed to read {}", path.display()))?.len();
        Ok(Self { path: path.to_owned(), at: length, rest: String::new() })
    }

    /// Returns the whole lines that came since the last call.
    fn new_lines(&mut self) -> anyhow::Result<Vec<String>> {
        let failed = || format!("failed to read {}", self.path.display());
        let mut file = std::fs::File::open(&self.path).with_context(failed)?;
        file.seek(SeekFrom::Start(self.at)).with_context(failed)?;
        let mut bytes = Vec::new();
        self.at += file.read_to_end(&mut bytes).with_context(failed)? as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some((whole, rest)) = self.rest.rsplit_once('\n') else { return Ok(Vec::new()) };
        let lines = whole.lines().map(str::to_owned).collect();
        self.rest = rest.to_owned();
        Ok(lines)
    }
}

/// Returns the time of day and the words of a log line, if it is a notice for people.
fn notice(line: &str) -> Option<(&str, String)> {
    let (time, rest) = line.split_once(' ')?;
    let (_, words) = rest.trim_start().split_once(' ')?;
    // The fields behind the words are for programs.
    let words = words.trim_start().split(" app=\"").next()?;
    if !NOTICES.iter().any(|notice| words.starts_with(notice)) {
        return None;
    }
    let time = time.get(11..19)?;
    Some((time, words.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_shown_with_the_time_of_day() {
        let line =
            "2026-11-23T08:45:13.000001Z  INFO healed Service/a/b in 9 ms: somebody deleted it app=\"b\"";

        assert_eq!(
            notice(line),
            Some(("08:45:13", "healed Service/a/b in 9 ms: somebody deleted it".to_owned()))
        );
        assert_eq!(notice("2026-11-23T08:45:13.000001Z  INFO the lease is ours"), None);
    }
}
