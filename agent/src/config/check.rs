//! Turns what was written into a checked [`Config`], or says everything that is wrong with it.

mod approval;
mod fetch;
mod notification;
mod source;
mod webhooks;
mod window;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use skiff_shared::desired::Problem;
use skiff_shared::environment::{AppName, Namespace};
use skiff_shared::limits::{Allowed, ClusterScoped, Limits, PatternError};
use skiff_shared::policy::{ApprovalPolicy, Mode, Policy, Prune};
use skiff_shared::yaml;

use super::layers::Layers;
use super::raw::{
    RawAgent, RawCluster, RawConfig, RawDemand, RawEnvironment, RawHttp, RawLease, RawLimits, RawOtlp,
    RawPrune, RawReach, RawRender, RawState, RawSync, RawTelemetry,
};
use super::units::{Bytes, Span};
use super::{
    Agent, Cluster, Config, ConfigErrors, EnvironmentConfig, Http, Lease, Otlp, Render, RenderLimits, State,
    Telemetry,
};
use crate::git;
use crate::sandbox::Demand;
use source::check_url;

const MEBIBYTE: u64 = 1 << 20;

/// Reads the patterns of a limit.
type CheckPatterns = fn(Vec<String>) -> Result<Allowed, PatternError>;

/// Checks the merged settings. Fails with all mistakes at once.
pub(super) fn check(layers: &Layers) -> Result<Config, ConfigErrors> {
    let mut check = Check { layers, found: Vec::new() };
    let reading = yaml::read::<RawConfig>(&layers.value);
    for mismatch in reading.mismatches {
        check.report(&mismatch.pointer, mismatch.message);
    }
    let config = reading.value.and_then(|raw| check.config(raw));
    check.found.sort_by_key(|(line, _)| *line);
    let found = check.found.into_iter().map(|(_, problem)| problem);
    let problems: Vec<Problem> = found.chain(layers.problems.iter().cloned()).collect();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors { problems }),
    }
}

struct Check<'a> {
    layers: &'a Layers,
    found: Vec<(u32, Problem)>,
}

impl Check<'_> {
    fn report(&mut self, pointer: &str, message: String) {
        let problem = Problem { place: self.layers.place(pointer), message };
        self.found.push((self.layers.line(pointer), problem));
    }

    /// Reports a required key that nobody wrote. One that is there but wrong was reported when it was read.
    fn missing(&mut self, pointer: &str, key: &str) {
        let key_pointer = format!("{pointer}/{key}");
        if self.layers.value.pointer(&key_pointer).is_none_or(Value::is_null) {
            let keys = key_pointer.split('/').filter(|key| !key.is_empty());
            let path = keys.collect::<Vec<_>>().join(".");
            self.report(pointer, format!("missing key {path}"));
        }
    }

    fn config(&mut self, raw: RawConfig) -> Option<Config> {
        let RawConfig {
            cluster,
            agent,
            environments,
            notifications,
            webhooks,
            fetch,
            telemetry,
            http,
            render,
            state,
            lease,
        } = raw;
        let cluster = self.cluster(cluster);
        let agent = self.agent(agent, cluster.as_ref());
        let mut environments = self.environments(&environments);
        let fetch = self.fetch(fetch);
        environments.iter_mut().for_each(|environment| environment.fetch = fetch);
        if let Some(Agent { namespaces, .. }) = agent.as_ref().filter(|agent| !agent.namespaces.is_empty()) {
            let reach: Vec<String> = namespaces.iter().map(|name| name.as_str().to_owned()).collect();
            let reach = Allowed::only(reach).expect("a namespace's name is not empty");
            environments.iter_mut().for_each(|environment| environment.limits.reach = reach.clone());
        }
        if let Some(agent) = &agent {
            self.approvals_for(&agent.instance, &mut environments);
        }
        let notifications = self.notifications(&notifications);
        let webhooks = self.webhooks(webhooks);
        let telemetry = self.telemetry(telemetry);
        let http = self.http(http);
        let render = self.render(render);
        let lease = self.lease(lease);
        let RawState { directory, renders } = state;
        let state = State {
            directory: directory.unwrap_or_else(|| PathBuf::from("/var/lib/skiff")),
            renders: renders.map_or(64 * MEBIBYTE, |Bytes(bytes)| bytes),
        };
        Some(Config {
            cluster: cluster?,
            agent: agent?,
            environments,
            notifications,
            webhooks,
            telemetry,
            http: http?,
            render,
            state,
            lease,
        })
    }

    fn cluster(&mut self, raw: RawCluster) -> Option<Cluster> {
        let RawCluster { name, labels, vars } = raw;
        let Some(name) = name else {
            self.missing("/cluster", "name");
            return None;
        };
        self.label_value("/cluster/name", "name", &name);
        Some(Cluster { name, labels, vars })
    }

    fn agent(&mut self, raw: RawAgent, cluster: Option<&Cluster>) -> Option<Agent> {
        let RawAgent { namespace, namespaces, instance } = raw;
        if let Some(instance) = &instance {
            self.label_value("/agent/instance", "instance", instance);
        }
        let namespace = namespace
            .unwrap_or_else(|| Namespace::parse("skiff").expect("the default namespace is a DNS label"));
        let instance = instance.or_else(|| cluster.map(|cluster| cluster.name.clone()))?;
        Some(Agent { namespace, namespaces, instance })
    }

    fn label_value(&mut self, pointer: &str, what: &str, value: &str) {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = value.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner);
        if !valid {
            self.report(
                pointer,
                format!("{what} {value:?} cannot be a label's value: at most 63 letters, digits, \"-\", \"_\" and \".\", with a letter or digit at both ends"),
            );
        }
    }

    fn environments(&mut self, items: &[Value]) -> Vec<EnvironmentConfig> {
        if items.is_empty() && self.layers.value["environments"].as_array().is_none_or(Vec::is_empty) {
            self.report("/environments", "no environment: an agent needs at least one".to_owned());
        }
        let mut places: HashMap<AppName, String> = HashMap::new();
        let mut environments = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("/environments/{index}");
            environments.extend(self.environment(item, &at, &mut places));
        }
        environments
    }

    /// Checks one environment; `places` says where each name was first declared.
    fn environment(
        &mut self,
        item: &Value,
        at: &str,
        places: &mut HashMap<AppName, String>,
    ) -> Option<EnvironmentConfig> {
        let reading = yaml::read::<RawEnvironment>(item);
        for mismatch in reading.mismatches {
            self.report(&format!("{at}{}", mismatch.pointer), mismatch.message);
        }
        let RawEnvironment { name, source, repositories, sync, on_duplicate, limits } = reading.value?;
        let source = self.source(source, &format!("{at}/source"));
        let repositories = self.repositories(repositories, &format!("{at}/repositories"));
        let Some(name) = name else {
            self.missing(at, "name");
            return None;
        };
        let pointer = format!("{at}/name");
        if let Some(first) = places.get(&name) {
            let message = format!("environment {:?} is declared twice (first at {first})", name.as_str());
            self.report(&pointer, message);
        } else {
            places.insert(name.clone(), self.layers.place(&pointer));
        }
        let interval = self.positive(sync.interval, Duration::from_secs(60), &format!("{at}/sync/interval"));
        let approvals = self.approvals(&sync.approval, &format!("{at}/sync/approval"));
        let policy = self.policy(&name, sync, &format!("{at}/sync"));
        let limits = self.limits(&name, limits, &format!("{at}/limits"));
        let source = source?;
        if let Err(refusal) = limits.repository(&source.url.to_string()) {
            self.report(&format!("{at}/source/url"), refusal.to_string());
        }
        let fetch = git::Limits::default();
        Some(EnvironmentConfig {
            name,
            source,
            repositories,
            policy,
            approvals,
            interval,
            fetch,
            on_duplicate,
            limits,
        })
    }

    fn limits(&mut self, name: &AppName, raw: RawReach, at: &str) -> Limits {
        let RawReach { repositories, namespaces, kinds, cluster_scoped } = raw;
        let mut allowed = |key: &str, patterns: Option<Vec<String>>, check: CheckPatterns| {
            let checked = patterns.map(check).transpose();
            let checked = checked.map_err(|error| self.report(&format!("{at}/{key}"), error.to_string()));
            checked.ok().flatten().unwrap_or_default()
        };
        Limits {
            environment: name.to_string(),
            repositories: allowed("repositories", repositories, Allowed::only),
            namespaces: allowed("namespaces", namespaces, Allowed::only),
            kinds: allowed("kinds", kinds, Allowed::only_kinds),
            cluster_scoped: match cluster_scoped {
                Some(false) => ClusterScoped::Refused,
                Some(true) | None => ClusterScoped::Allowed,
            },
            reach: Allowed::default(),
        }
    }

    fn policy(&mut self, name: &AppName, sync: RawSync, at: &str) -> Policy {
        let default = default_policy(name);
        let RawSync { mode, approval, prune, self_heal, adopt, on_invalid, timeout, interval: _, windows } =
            sync;
        let RawPrune { enabled, when, max_share, sensitive_kinds } = prune;
        let max_share = max_share.unwrap_or(default.prune.max_share);
        if max_share > 100 {
            self.report(&format!("{at}/prune/maxShare"), "maxShare is a percentage: at most 100".to_owned());
        }
        Policy {
            mode: mode.unwrap_or(default.mode),
            approval: ApprovalPolicy { binds: approval.binds, by_tag: approval.tags.is_some() },
            self_heal: self_heal.unwrap_or(default.self_heal),
            adopt: adopt.unwrap_or(default.adopt),
            on_invalid: on_invalid.unwrap_or(default.on_invalid),
            timeout: timeout
                .and_then(|Span(timeout)| SignedDuration::try_from(timeout).ok())
                .unwrap_or(default.timeout),
            fail_on_shared: default.fail_on_shared,
            prune: Prune {
                enabled: enabled.unwrap_or(default.prune.enabled),
                when: when.unwrap_or(default.prune.when),
                max_share,
                sensitive_kinds: sensitive_kinds.unwrap_or(default.prune.sensitive_kinds),
                propagation: default.prune.propagation,
            },
            windows: self.windows(windows, &format!("{at}/windows")),
        }
    }

    fn telemetry(&mut self, raw: RawTelemetry) -> Telemetry {
        let RawTelemetry { otlp: RawOtlp { endpoint, headers_file }, detail } = raw;
        if let Some(endpoint) = &endpoint
            && let Err(message) = check_url(endpoint)
        {
            self.report("/telemetry/otlp/endpoint", message.to_owned());
        }
        Telemetry { otlp: Otlp { endpoint, headers_file }, detail }
    }

    fn http(&mut self, raw: RawHttp) -> Option<Http> {
        let RawHttp { listen } = raw;
        let listen = match listen {
            None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)),
            Some(listen) => match listen.parse() {
                Ok(address) => address,
                Err(_) => {
                    self.report(
                        "/http/listen",
                        "listen must be an address and a port, such as 0.0.0.0:9090".to_owned(),
                    );
                    return None;
                }
            },
        };
        Some(Http { listen })
    }

    fn render(&mut self, raw: RawRender) -> Render {
        let RawRender { helm, kustomize, timeout, fetch_dependencies, sandbox, limits } = raw;
        let RawLimits { memory, cpu_time, output } = limits;
        let bytes = |bytes: Option<Bytes>, default: u64| bytes.map_or(default, |Bytes(bytes)| bytes);
        Render {
            helm: helm.unwrap_or_else(|| PathBuf::from("/usr/local/bin/helm")),
            kustomize: kustomize.unwrap_or_else(|| PathBuf::from("/usr/local/bin/kustomize")),
            timeout: self.positive(timeout, Duration::from_secs(60), "/render/timeout"),
            fetch_dependencies,
            sandbox: match sandbox {
                RawDemand::BestEffort => Demand::BestEffort,
                RawDemand::Required => Demand::Required,
            },
            limits: RenderLimits {
                memory: bytes(memory, 512 * MEBIBYTE),
                cpu_time: self.positive(cpu_time, Duration::from_secs(30), "/render/limits/cpuTime"),
                output: bytes(output, 64 * MEBIBYTE),
            },
        }
    }

    fn lease(&mut self, raw: RawLease) -> Lease {
        let RawLease { name, duration, renew_interval } = raw;
        let duration = self.positive(duration, Duration::from_secs(30), "/lease/duration");
        let renew_interval = self.positive(renew_interval, Duration::from_secs(5), "/lease/renewInterval");
        if duration.subsec_nanos() != 0 {
            self.report("/lease/duration", "duration must be whole seconds".to_owned());
        }
        if renew_interval * 3 > duration {
            self.report(
                "/lease/renewInterval",
                "renewInterval must be at most a third of the lease's duration".to_owned(),
            );
        }
        Lease { name: name.unwrap_or_else(|| "skiff".to_owned()), duration, renew_interval }
    }

    fn positive(&mut self, span: Option<Span>, default: Duration, pointer: &str) -> Duration {
        let Span(duration) = span.unwrap_or(Span(default));
        if duration.is_zero() {
            let key = pointer.rsplit('/').next().unwrap_or_default();
            self.report(pointer, format!("{key} must be more than zero"));
        }
        duration
    }
}

/// Returns the policy of an environment whose file says nothing.
fn default_policy(name: &AppName) -> Policy {
    let (mode, self_heal, sensitive_kinds) = match name.as_str() {
        "development" => (Mode::Auto, true, true),
        "staging" => (Mode::Auto, true, false),
        // Production, and any name that is unknown: forgetting to choose must not delete anything.
        _ => (Mode::Manual, false, false),
    };
    let base = Policy::default();
    let prune = Prune { sensitive_kinds, ..base.prune };
    Policy { mode, self_heal, prune, ..base }
}
