//! Checks who is told of news, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use skiff_shared::news::Trigger;
use skiff_shared::yaml;

use super::Check;
use super::source::check_url;
use crate::config::raw::{RawEndpoint, RawForge, RawOutbound, RawPagerDuty, RawReceiver, RawSlack};
use crate::config::{Destination, Receiver};
use crate::git::is_private_address;
use crate::notify::Template;

/// The keys of which a receiver has one.
const DESTINATIONS: &str = "slack, pagerDuty, webhook, cloudEvents, alertmanager, github and gitlab";

impl Check<'_> {
    pub(super) fn notifications(&mut self, items: &[Value]) -> Vec<Receiver> {
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        let mut receivers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("/notifications/{index}");
            let reading = yaml::read::<RawReceiver>(item);
            for mismatch in reading.mismatches {
                self.report(&format!("{at}{}", mismatch.pointer), mismatch.message);
            }
            let Some(receiver) = reading.value.and_then(|raw| self.receiver(raw, &at)) else { continue };
            let pointer = format!("{at}/name");
            match places.get(&receiver.name) {
                Some(first) => {
                    let name = &receiver.name;
                    let message = format!("receiver {name:?} is declared twice (first at {first})");
                    self.report(&pointer, message);
                }
                None => {
                    places.insert(receiver.name.clone(), self.layers.place(&pointer));
                }
            }
            receivers.push(receiver);
        }
        receivers
    }

    fn receiver(&mut self, raw: RawReceiver, at: &str) -> Option<Receiver> {
        let RawReceiver {
            name,
            triggers,
            apps,
            template,
            ca_file,
            proxy,
            slack,
            pager_duty,
            webhook,
            cloud_events,
            alertmanager,
            github,
            gitlab,
        } = raw;
        let named: Vec<Option<Destination>> = [
            slack.map(|raw| self.slack(raw, &format!("{at}/slack"))),
            pager_duty.map(|raw| self.pager_duty(raw, &format!("{at}/pagerDuty"))),
            webhook.map(|raw| self.outbound(raw, &format!("{at}/webhook"))),
            cloud_events.map(|raw| {
                let (url, token_file) = self.endpoint(raw, &format!("{at}/cloudEvents"))?;
                Some(Destination::CloudEvents { url, token_file })
            }),
            alertmanager.map(|raw| {
                let (url, token_file) = self.endpoint(raw, &format!("{at}/alertmanager"))?;
                Some(Destination::Alertmanager { url, token_file })
            }),
            github.map(|raw| {
                let (token_file, api_url) =
                    self.forge(raw, "https://api.github.com", &format!("{at}/github"))?;
                Some(Destination::Github { token_file, api_url })
            }),
            gitlab.map(|raw| {
                let (token_file, api_url) =
                    self.forge(raw, "https://gitlab.com/api/v4", &format!("{at}/gitlab"))?;
                Some(Destination::Gitlab { token_file, api_url })
            }),
        ]
        .into_iter()
        .flatten()
        .collect();
        if named.len() != 1 {
            self.report(at, format!("a receiver needs exactly one of {DESTINATIONS}"));
        }
        let proxy = proxy.and_then(|proxy| {
            if proxy.secret_ref.is_some() {
                let message = "the proxy of a receiver takes usernameFile and passwordFile, no secretRef";
                self.report(&format!("{at}/proxy/secretRef"), message.to_owned());
            }
            self.proxy(proxy, false, &format!("{at}/proxy"))
        });
        let template = template.and_then(|source| {
            let parsed = Template::parse(&source);
            parsed.map_err(|error| self.report(&format!("{at}/template"), error.to_string())).ok()
        });
        let Some(name) = name else {
            self.missing(at, "name");
            return None;
        };
        let written = self.layers.value.pointer(&format!("{at}/triggers"));
        if written.and_then(Value::as_array).is_some_and(Vec::is_empty) {
            let message = "triggers is empty: nothing would ever be told";
            self.report(&format!("{at}/triggers"), message.to_owned());
        }
        let destination = named.into_iter().next()??;
        if template.is_some() && !destination.takes_template() {
            self.report(
                &format!("{at}/template"),
                "nothing of this destination is a text of yours".to_owned(),
            );
        }
        let triggers = triggers.unwrap_or_else(|| destination.default_triggers());
        Some(Receiver { name, triggers, apps, template, ca_file, proxy, destination })
    }

    fn slack(&mut self, raw: RawSlack, at: &str) -> Option<Destination> {
        match raw {
            RawSlack { url_file: Some(url_file), token_file: None, channel: None, api_url: None } => {
                Some(Destination::SlackWebhook { url_file })
            }
            RawSlack { url_file: None, token_file: Some(token_file), channel: Some(channel), api_url } => {
                let api_url = api_url.unwrap_or_else(|| "https://slack.com/api".to_owned());
                self.private_url(&api_url, &format!("{at}/apiUrl"));
                Some(Destination::SlackBot { token_file, channel, api_url })
            }
            _ => {
                let message =
                    "slack needs urlFile for an incoming webhook, or tokenFile and channel for a bot";
                self.report(at, message.to_owned());
                None
            }
        }
    }

    fn pager_duty(&mut self, raw: RawPagerDuty, at: &str) -> Option<Destination> {
        let RawPagerDuty { routing_key_file, url } = raw;
        let url = url.unwrap_or_else(|| "https://events.pagerduty.com".to_owned());
        self.private_url(&url, &format!("{at}/url"));
        if routing_key_file.is_none() {
            self.missing(at, "routingKeyFile");
        }
        Some(Destination::PagerDuty { routing_key_file: routing_key_file?, url })
    }

    fn outbound(&mut self, raw: RawOutbound, at: &str) -> Option<Destination> {
        let RawOutbound { url, secret_file } = raw;
        let url = self.url(url, at)?;
        Some(Destination::Webhook { url, secret_file })
    }

    fn endpoint(&mut self, raw: RawEndpoint, at: &str) -> Option<(String, Option<PathBuf>)> {
        let RawEndpoint { url, token_file } = raw;
        let url = self.url(url, at)?;
        if token_file.is_some() {
            self.private_url(&url, &format!("{at}/url"));
        }
        Some((url, token_file))
    }

    fn forge(&mut self, raw: RawForge, default: &str, at: &str) -> Option<(PathBuf, String)> {
        let RawForge { token_file, api_url } = raw;
        let api_url = api_url.unwrap_or_else(|| default.to_owned());
        self.private_url(&api_url, &format!("{at}/apiUrl"));
        if token_file.is_none() {
            self.missing(at, "tokenFile");
        }
        Some((token_file?, api_url))
    }

    fn url(&mut self, url: Option<String>, at: &str) -> Option<String> {
        let Some(url) = url else {
            self.missing(at, "url");
            return None;
        };
        if let Err(message) = check_url(&url) {
            self.report(&format!("{at}/url"), message.to_owned());
        }
        Some(url)
    }

    /// Checks an address that a secret is sent to.
    fn private_url(&mut self, url: &str, pointer: &str) {
        match check_url(url) {
            Err(message) => self.report(pointer, message.to_owned()),
            Ok(()) if !is_private_address(url) => {
                self.report(pointer, "a secret is sent there: the URL must begin with https://".to_owned());
            }
            Ok(()) => {}
        }
    }
}

impl Destination {
    /// Returns what is told where the file does not say it.
    fn default_triggers(&self) -> Vec<Trigger> {
        let is_told: fn(&Trigger) -> bool = match self {
            Self::SlackWebhook { .. } | Self::SlackBot { .. } | Self::PagerDuty { .. } => |it| it.asks(),
            // Whoever gets these chooses by themselves.
            Self::Webhook { .. }
            | Self::CloudEvents { .. }
            | Self::Alertmanager { .. }
            | Self::Github { .. }
            | Self::Gitlab { .. } => |_| true,
        };
        Trigger::ALL.into_iter().filter(is_told).collect()
    }

    /// Whether there is a text in it that is ours to choose.
    fn takes_template(&self) -> bool {
        !matches!(self, Self::CloudEvents { .. })
    }
}
