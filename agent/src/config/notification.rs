//! Who is told of news, and how: the checked part of the configuration.

use std::path::PathBuf;

use skiff_shared::news::Trigger;

use super::Proxy;
use crate::notify::Template;

/// One who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Unique; what the log calls it.
    pub name: String,
    /// At least one.
    pub triggers: Vec<Trigger>,
    /// Patterns of the apps' names; all where it is empty.
    pub apps: Vec<String>,
    pub template: Option<Template>,
    /// Instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Without one the usual variables decide. It names no Secret.
    pub proxy: Option<Proxy>,
    pub destination: Destination,
}

/// Where notifications go. Files are read for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The file holds the URL, which is the secret.
    SlackWebhook {
        url_file: PathBuf,
    },
    /// A bot that writes into a channel.
    SlackBot {
        token_file: PathBuf,
        channel: String,
        api_url: String,
    },
    PagerDuty {
        routing_key_file: PathBuf,
        url: String,
    },
    /// JSON over HTTP, signed where there is a secret.
    Webhook {
        url: String,
        secret_file: Option<PathBuf>,
    },
    CloudEvents {
        url: String,
        token_file: Option<PathBuf>,
    },
    Alertmanager {
        url: String,
        token_file: Option<PathBuf>,
    },
    /// The status of a commit.
    Github {
        token_file: PathBuf,
        api_url: String,
    },
    Gitlab {
        token_file: PathBuf,
        api_url: String,
    },
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn told(notifications: &str) -> String {
        let file = format!(
            "cluster: {{name: eu-1}}\nenvironments:\n- {{name: a, source: {{url: 'https://git.example/a', ref: {{branch: main}}}}}}\nnotifications:\n{notifications}"
        );
        match Config::parse(file.as_bytes(), "config.yaml", []) {
            Ok(config) => format!("{:?}", config.notifications),
            Err(errors) => errors.to_string(),
        }
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let lines = told(
            "- {name: a, slack: {urlFile: /u, channel: C1}}
- {name: b, slack: {tokenFile: /t, channel: C1, apiUrl: 'http://slack.example'}}
- {name: b, pagerDuty: {}, triggers: []}
- {name: c, triggers: [on-sync-faild], webhook: {url: 'https://a'}}
- {name: d, webhook: {url: 'https://a'}, template: '{{ ap.name }}'}
- {name: e, github: {tokenFile: /t}, gitlab: {tokenFile: /t}}
- {cloudEvents: {url: 'http://broker', tokenFile: /t}, template: x}
- {name: g, alertmanager: {}, proxy: {url: 'http://p', secretRef: s}}
",
        );
        insta::assert_snapshot!(lines, @r#"
        config.yaml:5: slack needs urlFile for an incoming webhook, or tokenFile and channel for a bot
        config.yaml:6: a secret is sent there: the URL must begin with https://
        config.yaml:7: missing key notifications.2.pagerDuty.routingKeyFile
        config.yaml:7: triggers is empty: nothing would ever be told
        config.yaml:8: triggers[0]: expected one of on-created, on-deleted, on-sync-running, on-sync-succeeded, on-deployed, on-sync-failed, on-sync-status-unknown, on-health-degraded, on-health-recovered, on-approval-waiting, on-approved, on-held, on-drifted, on-healed, on-contested, on-agent-trouble: did you mean "on-sync-failed"?
        config.yaml:9: the template cannot be used, line 1 of it: it uses a name that there is not
        config.yaml:10: a receiver needs exactly one of slack, pagerDuty, webhook, cloudEvents, alertmanager, github and gitlab
        config.yaml:11: a secret is sent there: the URL must begin with https://
        config.yaml:11: missing key notifications.6.name
        config.yaml:12: missing key notifications.7.alertmanager.url
        config.yaml:12: the proxy of a receiver takes usernameFile and passwordFile, no secretRef
        "#);
    }

    #[test]
    fn what_a_receiver_is_told_follows_from_what_it_is() {
        let all = told(
            "- {name: a, pagerDuty: {routingKeyFile: /k}}
- {name: b, alertmanager: {url: 'http://alertmanager.monitoring:9093'}}
- {name: c, slack: {urlFile: /u}, triggers: [on-deployed]}
",
        );
        let counts: Vec<usize> =
            all.split("Receiver {").skip(1).map(|it| it.matches(" On").count() + 1).collect();
        assert_eq!(counts, [7, 16, 1], "{all}");
        assert!(
            all.contains("[OnSyncFailed, OnSyncStatusUnknown, OnHealthDegraded, OnApprovalWaiting,"),
            "{all}"
        );
    }
}
