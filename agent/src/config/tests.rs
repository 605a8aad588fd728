use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use skiff_shared::environment::Fact;
use skiff_shared::policy::{Adopt, ApprovalPolicy, Binds, Mode, OnInvalid, Policy, PruneWhen};

use super::{Config, Detail, OnDuplicate, Reference, Secret, process_variables, watch};
use crate::git::{Limits, Rewrites, Signed};
use crate::sandbox::Demand;

const EXAMPLE: &str = include_str!("example.yaml");

const MINIMAL: &str = "cluster: {name: eu-1}
environments:
- name: development
  source: {url: https://git.example/shop.git, ref: {branch: main}}
";

fn load(text: &str) -> Config {
    Config::parse(text.as_bytes(), "config.yaml", []).unwrap()
}

fn errors(text: &str) -> String {
    errors_with(text, &[])
}

fn errors_with(text: &str, variables: &[(&str, &str)]) -> String {
    Config::parse(text.as_bytes(), "config.yaml", owned(variables)).unwrap_err().to_string()
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_documented_example_is_valid_and_shows_the_defaults() {
    let example = load(EXAMPLE);
    let mut minimal = load(&MINIMAL.replace("development", "production"));
    assert_eq!(example.agent, minimal.agent);
    assert_eq!(example.http, minimal.http);
    assert_eq!(example.render, minimal.render);
    assert_eq!(example.state, minimal.state);
    assert_eq!(example.lease, minimal.lease);
    assert_eq!(example.telemetry.detail, minimal.telemetry.detail);
    let (shown, default) = (&example.environments[0], minimal.environments.remove(0));
    // There is no window by default, and nobody's tag approves: the example shows one and some.
    assert_eq!(shown.policy.windows.len(), 1);
    assert!(shown.policy.approval.by_tag && shown.approvals.is_some() && default.approvals.is_none());
    let approval = ApprovalPolicy { by_tag: false, ..shown.policy.approval };
    assert_eq!(Policy { windows: Vec::new(), approval, ..shown.policy.clone() }, default.policy);
    assert_eq!(shown.interval, default.interval);
    assert_eq!(shown.fetch, default.fetch);
    assert_eq!(shown.on_duplicate, default.on_duplicate);
    assert_eq!(shown.source.reference, Reference::Branch("main".to_owned()));
    assert_eq!(
        example.cluster.vars,
        BTreeMap::from([("domain".to_owned(), Fact::Text("eu-1.example.org".to_owned()))])
    );
}

#[test]
fn defaults_depend_on_the_environments_name() {
    let shown = |name: &str| {
        let policy = &load(&MINIMAL.replace("development", name)).environments[0].policy;
        (policy.mode, policy.prune.enabled, policy.self_heal, policy.prune.sensitive_kinds)
    };
    assert_eq!(shown("development"), (Mode::Auto, true, true, true));
    assert_eq!(shown("staging"), (Mode::Auto, true, true, false));
    assert_eq!(shown("production"), (Mode::Manual, true, false, false));
    assert_eq!(shown("eu-west"), (Mode::Manual, true, false, false));
}

#[test]
fn every_default_can_be_overridden() {
    let config = load(&format!(
        "{MINIMAL}  sync: {{mode: manual, selfHeal: no, adopt: never, onInvalid: skip, interval: 1h30m, prune: {{when: applied, maxShare: 5}}}}
  onDuplicate: lastWins
agent: {{namespace: gitops, instance: blue}}
telemetry: {{detail: app}}
render: {{sandbox: required, limits: {{memory: 1Gi, output: 1000}}}}
"
    ));
    let environment = &config.environments[0];
    let policy = &environment.policy;
    assert_eq!((policy.mode, policy.self_heal, policy.adopt), (Mode::Manual, false, Adopt::Never));
    assert_eq!((policy.on_invalid, policy.prune.when), (OnInvalid::Skip, PruneWhen::Applied));
    assert_eq!((policy.prune.enabled, policy.prune.max_share), (true, 5));
    assert_eq!(
        (environment.interval, environment.on_duplicate),
        (Duration::from_secs(5400), OnDuplicate::LastWins)
    );
    assert_eq!((config.agent.namespace.as_str(), config.agent.instance.as_str()), ("gitops", "blue"));
    assert_eq!(config.telemetry.detail, Detail::App);
    assert_eq!((config.render.limits.memory, config.render.limits.output), (1 << 30, 1000));
    assert_eq!(config.render.sandbox, Demand::Required);
}

#[test]
fn tags_approve_only_where_it_is_said_whose() {
    let with = |tags: &str, instance: &str| {
        format!(
            "{MINIMAL}  sync: {{approval: {{binds: live, tags: {tags}}}}}\nagent: {{instance: {instance}}}\n"
        )
    };
    let config = load(&with("{secretRef: approvers}", "blue"));
    let environment = &config.environments[0];
    let approvals = environment.approvals.as_ref().expect("tags approve");
    assert_eq!(
        (approvals.instance.as_str(), approvals.signers.secret.as_deref()),
        ("blue", Some("approvers"))
    );
    assert_eq!(environment.policy.approval, ApprovalPolicy { binds: Binds::Live, by_tag: true });
    insta::assert_snapshot!(errors(&with("{}", "blue")), @"config.yaml:5: tags needs allowedSignersFile, publicKeysFile or secretRef: who may approve");
    insta::assert_snapshot!(errors(&with("{secretRef: approvers}", "blue..1")), @r#"config.yaml:6: instance "blue..1" cannot be part of a tag's name, and sync.approval.tags needs it to be"#);
}

#[test]
fn a_range_of_versions_may_be_followed() {
    let followed = |range: &str| MINIMAL.replace("branch: main", &format!("semver: {range:?}"));
    let config = load(&followed(">=1.2 <2 || 3.x"));
    let Reference::Versions(range) = &config.environments[0].source.reference else { unreachable!() };
    assert_eq!(range.to_string(), ">=1.2 <2 || 3.x");
    insta::assert_snapshot!(errors(&followed("newest")), @r#"config.yaml:4: "newest" is no range of versions: nothing can be made of "newest"; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4""#);
}

const OVER_SSH: &str = "cluster: {name: eu-1}
environments:
- name: development
  source:
    url: git@git.example:shop.git
    ref: {branch: main}
    credentials: {sshKeyFile: /etc/ssh/key, knownHostsFile: /etc/ssh/known}
";

#[test]
fn a_repository_or_commit_that_nobody_can_fetch_is_refused() {
    let port = MINIMAL.replace("git.example/", "git.example:99999/");
    insta::assert_snapshot!(errors(&port), @"config.yaml:4: not a URL: invalid port number; write it as in https://git.example/shop or git@git.example:shop");
    let commit = |id: &str| MINIMAL.replace("branch: main", &format!("commit: {id}"));
    let Reference::Commit(id) = load(&commit(&"4f2c9a7d3b".repeat(4))).environments[0].source.reference
    else {
        unreachable!()
    };
    assert_eq!(id.to_string(), format!("sha1:{}", "4f2c9a7d3b".repeat(4)));
    for wrong in ["4f2c9a7d3b", &"4F2C9A7D3B".repeat(4), &format!("sha1:{}", "4f2c9a7d3b".repeat(4))] {
        assert!(errors(&commit(wrong)).ends_with("commit is not a full commit id in lower case"), "{wrong}");
    }
}

#[test]
fn repositories_over_ssh_need_a_key_and_known_hosts() {
    let credentials = &load(OVER_SSH).environments[0].source.credentials;
    assert_eq!(credentials.ssh_key_file.as_deref(), Some(Path::new("/etc/ssh/key")));
    assert_eq!(credentials.known_hosts_file.as_deref(), Some(Path::new("/etc/ssh/known")));
    let rewritten = |from: &str, to: &str| errors(&OVER_SSH.replace(from, to));
    insta::assert_snapshot!(rewritten("sshKeyFile: /etc/ssh/key, ", ""), @"config.yaml:7: SSH needs sshKeyFile and knownHostsFile, or secretRef with a Secret that has them");
    insta::assert_snapshot!(rewritten("sshKeyFile", "passwordFile"), @r"
    config.yaml:7: over SSH only sshKeyFile, knownHostsFile, sshPassphraseFile and secretRef count
    config.yaml:7: SSH needs sshKeyFile and knownHostsFile, or secretRef with a Secret that has them
    ");
    insta::assert_snapshot!(rewritten("git@git.example:", "https://git.example/"), @"config.yaml:7: sshKeyFile, knownHostsFile and sshPassphraseFile are for ssh:// URLs");
    insta::assert_snapshot!(rewritten("git@git.example:", "ssh://git:secret@git.example/"), @"config.yaml:5: the URL of git.example holds a password; put it into a file and name that under credentials");
    insta::assert_snapshot!(rewritten("    ref:", "    proxy: {url: http://proxy.example:3128}\n    ref:"), @"config.yaml:6: a proxy is for http:// and https:// URLs");
}

#[test]
fn a_secret_may_hold_what_no_file_does() {
    let with = |credentials: &str| MINIMAL.replace("ref:", &format!("credentials: {credentials}, ref:"));
    let config = load(&with("{secretRef: shop-git, caFile: /ca}"));
    assert_eq!(config.environments[0].source.credentials.secret_ref.as_deref(), Some("shop-git"));
    assert_eq!(config.secrets(), BTreeSet::from(["shop-git"]));
    load(&with("{secretRef: shop-git, githubApp: {appId: 1, installationId: 2}}"));
    load(&OVER_SSH.replace("sshKeyFile: /etc/ssh/key", "secretRef: shop.git"));
    for name in ["Shop", "shop/git", "-shop", "shop.", "", "../x"] {
        assert!(
            errors(&with(&format!("{{secretRef: {name:?}}}"))).contains("not a name that a Secret"),
            "{name}"
        );
    }
    insta::assert_snapshot!(errors(&with("{secretRef: {name: shop-git}}")), @"config.yaml:4: secretRef: expected text, found a mapping");
}

#[test]
fn signatures_are_asked_for_by_naming_who_may_sign() {
    let with = |verify: &str| MINIMAL.replace("ref:", &format!("verify: {verify}, ref:"));
    let config = load(&with("{allowedSignersFile: /a, publicKeysFile: /p, secretRef: s}"));
    let verify = config.environments[0].source.verify.as_ref().unwrap();
    assert_eq!(verify.signed, Signed::Commit);
    assert_eq!(verify.allowed_signers.as_deref(), Some(Path::new("/a")));
    assert_eq!(verify.public_keys.as_deref(), Some(Path::new("/p")));
    assert_eq!(config.secrets(), BTreeSet::from(["s"]));
    for (word, signed) in [
        ("HEAD", Signed::Commit),
        ("tag", Signed::Tag),
        ("Tag", Signed::Tag),
        ("either", Signed::Either),
        ("TagAndHEAD", Signed::Both),
    ] {
        let config =
            load(&with(&format!("{{mode: {word}, secretRef: s}}")).replace("branch: main", "tag: v1"));
        assert_eq!(config.environments[0].source.verify.as_ref().unwrap().signed, signed, "{word}");
    }
    insta::assert_snapshot!(errors(&with("{mode: both}")), @r"
    config.yaml:4: verify needs allowedSignersFile, publicKeysFile or secretRef: who may sign
    config.yaml:4: this mode is about tags: ref has to be a tag or semver, or mode commit
    ");
    insta::assert_snapshot!(errors(&with("{secretRef: S}")), @"config.yaml:4: secretRef is not a name that a Secret can have");
    // Flux's words are listed among ours.
    let unknown = errors(&with("{mode: signed, secretRef: s}"));
    assert!(unknown.starts_with("config.yaml:4: mode: expected one of "), "{unknown}");
    assert!(unknown.contains("commit") && unknown.contains("TagAndHEAD"), "{unknown}");
}

#[test]
fn rewritten_branches_may_be_refused() {
    let with = |keys: &str| MINIMAL.replace("ref:", &format!("{keys}, ref:"));
    let rewrites = |text: &str| load(text).environments.remove(0).source.rewrites;
    assert_eq!(rewrites(MINIMAL), Rewrites::Follow);
    assert_eq!(rewrites(&with("refuseRewrites: true")), Rewrites::Refuse { accepted: None });
    let id = "4f2c9a".repeat(7)[..40].to_owned();
    let accepted = rewrites(&with(&format!("refuseRewrites: true, acceptedRewrite: {id}")));
    assert_eq!(accepted, Rewrites::Refuse { accepted: id.parse().ok() });
    insta::assert_snapshot!(errors(&with("refuseRewrites: true, acceptedRewrite: main")), @"config.yaml:4: acceptedRewrite is not a full commit id in lower case");
    insta::assert_snapshot!(errors(&with(&format!("acceptedRewrite: {id}"))), @"config.yaml:4: acceptedRewrite needs refuseRewrites");
    insta::assert_snapshot!(errors(&with("refuseRewrites: true").replace("branch: main", "tag: v1")), @"config.yaml:4: refuseRewrites is about branches: a tag is moved on purpose, a commit never");
}

#[test]
fn a_github_app_is_named_by_its_ids_and_its_key() {
    let with = |app: &str| MINIMAL.replace("ref:", &format!("credentials: {{githubApp: {app}}}, ref:"));
    let config = load(&with("{appId: 4711, installationId: 815, privateKeyFile: /k}"));
    let app = config.environments[0].source.credentials.github_app.as_ref().unwrap();
    assert_eq!((app.app_id, app.installation_id), (4711, 815));
    assert_eq!(app.api_url, "https://api.github.com");
    insta::assert_snapshot!(errors(&with("{appId: shop, apiUrl: api.example}")), @r"
    config.yaml:4: appId: expected a whole number from 0 to 18446744073709551615
    config.yaml:4: missing key environments.0.source.credentials.githubApp.installationId
    config.yaml:4: missing key environments.0.source.credentials.githubApp.privateKeyFile
    config.yaml:4: the URL must begin with https:// or http://
    ");
    let both = with("{appId: 1, installationId: 2, privateKeyFile: /k}, tokenFile: /t");
    insta::assert_snapshot!(errors(&both), @"config.yaml:4: githubApp stands instead of a password or token, not beside them");
}

#[test]
fn a_proxy_has_an_address_and_credentials_of_its_own() {
    let with = |proxy: &str| MINIMAL.replace("ref:", &format!("proxy: {proxy}, ref:"));
    let proxy = load(&with("{url: 'http://proxy.example:3128', usernameFile: /u, passwordFile: /p}"));
    let proxy = proxy.environments[0].source.proxy.as_ref().unwrap();
    assert_eq!(proxy.url, "http://proxy.example:3128");
    assert_eq!(proxy.username_file.as_deref(), Some(Path::new("/u")));
    let named = load(&with("{url: 'http://proxy.example:3128', usernameFile: /u, secretRef: proxy}"));
    assert_eq!(named.secrets(), BTreeSet::from(["proxy"]));
    assert!(
        errors(&with("{url: 'http://proxy.example', secretRef: Proxy}")).contains("not a name that a Secret")
    );
    insta::assert_snapshot!(errors(&with("{url: 'http://ada:secret@proxy.example', passwordFile: /p}")), @r"
    config.yaml:4: passwordFile needs usernameFile
    config.yaml:4: the URL must not hold a user name or password: name files with them instead
    ");
    insta::assert_snapshot!(errors(&with("{url: 'socks5://proxy.example'}")), @"config.yaml:4: the URL must begin with https:// or http://");
    insta::assert_snapshot!(errors(&with("{}")), @"config.yaml:4: missing key environments.0.source.proxy.url");
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let windows = r#"  sync:
    windows:
    - {kind: allow, schedule: "0 25 * * *", duration: 1h, timeZone: Mars/Olympus}
    - {kind: deny, schedule: "@daily"}
    - {kind: deny, schedule: "@daily", duration: 800h}
"#;
    insta::assert_snapshot!(errors(&format!("{MINIMAL}{windows}")), @r#"
    config.yaml:7: "25" is no hour: expected 0 to 23, a range such as 1-5, a step such as */15, or a list of them
    config.yaml:7: there is no time zone "Mars/Olympus": expected a name such as Europe/Berlin or UTC
    config.yaml:8: missing key environments.0.sync.windows.1.duration
    config.yaml:9: duration must be more than zero and at most 31 days (744h)
    "#);
}

#[test]
fn what_a_transfer_may_take_holds_for_every_environment() {
    let other = "- name: staging\n  source: {url: https://git.example/x, ref: {branch: main}}\n";
    let keys = "fetch: {timeout: 5m, limits: {transfer: 2Gi, file: 100Mi}}\n";
    let wanted = Limits { deadline: Duration::from_secs(300), transfer: 2 << 30, file: 100 << 20 };
    let told: Vec<_> =
        load(&format!("{MINIMAL}{other}{keys}")).environments.iter().map(|it| it.fetch).collect();
    assert_eq!(told, [wanted, wanted]);
    insta::assert_snapshot!(errors(&format!("{MINIMAL}fetch: {{timeout: 2h, limits: {{transfer: 17Gi, file: 1000}}}}\n")), @"
    config.yaml:5: timeout must be at least 1s and at most 1h
    config.yaml:5: transfer must be at least 1Mi and at most 16Gi
    config.yaml:5: file must be at least 1Mi and at most 2Gi
    ");
    insta::assert_snapshot!(errors(&format!("{MINIMAL}fetch: {{timeout: 500ms, limits: {{transfer: 0, file: 3Gi}}}}\n")), @"
    config.yaml:5: timeout must be at least 1s and at most 1h
    config.yaml:5: transfer must be at least 1Mi and at most 16Gi
    config.yaml:5: file must be at least 1Mi and at most 2Gi
    ");
    insta::assert_snapshot!(errors(&format!("{MINIMAL}fetch: {{limits: {{transfer: 100 MB}}}}\n")), @"config.yaml:5: transfer: expected a number of bytes such as 512Mi or 1Gi");
}

#[test]
fn prune_may_be_written_as_a_boolean() {
    let policy = &load(&format!("{MINIMAL}  sync: {{prune: off}}\n")).environments[0].policy;
    assert!(!policy.prune.enabled);
}

#[test]
fn the_instance_is_the_cluster_unless_named() {
    assert_eq!(load(MINIMAL).agent.instance, "eu-1");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    insta::assert_snapshot!(errors(
        "cluster:
  name: -eu
  labels: {region: 5}
agnet: {}
environments:
- name: Production
  source:
    url: https://user:hunter2@git.example/shop.git
    ref: {branch: main, tag: v1}
    path: ../elsewhere
    credentials: {usernameFile: /u, tokenFile: /t}
- name: staging
  source:
    url: git@git.example:shop.git
    ref: {commit: 4f2c9a}
  sync:
    mode: automatic
    self_heal: true
    interval: 60
    prune: {maxShare: 200}
- name: staging
  source: {url: https://git.example/x, ref: {branch: a..b}}
  sync: {interval: soon, prune: maybe}
- {}
telemetry: {otlp: {endpoint: collector:4317}, detail: everything}
http: {listen: 9090}
render: {timeout: 0s, limits: {memory: 1 GB, cpuTime: 5 minutes}}
lease: {duration: 1500ms, renewInterval: 1s}
"
    ), @r#"
    config.yaml:2: name "-eu" cannot be a label's value: at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends
    config.yaml:3: region: expected text (put it in quotes), found a number
    config.yaml:4: unknown key "agnet": did you mean "agent"?
    config.yaml:6: name: "Production" is not a DNS label: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends
    config.yaml:8: the URL must not hold a user name or password: name files with them instead
    config.yaml:9: ref needs exactly one of branch, tag, semver and commit
    config.yaml:10: path "../elsewhere" leaves the repository
    config.yaml:11: usernameFile needs passwordFile
    config.yaml:11: tokenFile stands instead of usernameFile and passwordFile, not beside them
    config.yaml:13: SSH needs sshKeyFile and knownHostsFile, or secretRef with a Secret that has them
    config.yaml:15: commit is not a full commit id in lower case
    config.yaml:17: mode: expected one of auto, manual
    config.yaml:18: unknown key "self_heal": did you mean "selfHeal"?
    config.yaml:19: interval: expected a duration such as 500ms, 60s, 5m or 1h30m, found a number
    config.yaml:20: maxShare is a percentage: at most 100
    config.yaml:21: environment "staging" is declared twice (first at config.yaml:12)
    config.yaml:22: branch is not a name that Git allows
    config.yaml:23: interval: expected a duration such as 500ms, 60s, 5m or 1h30m
    config.yaml:23: prune: expected a mapping, found text
    config.yaml:24: ref needs exactly one of branch, tag, semver and commit
    config.yaml:24: missing key environments.3.source.url
    config.yaml:24: missing key environments.3.name
    config.yaml:25: detail: expected one of full, app
    config.yaml:25: the URL must begin with https:// or http://
    config.yaml:26: listen: expected text (put it in quotes), found a number
    config.yaml:27: cpuTime: expected a duration such as 500ms, 60s, 5m or 1h30m
    config.yaml:27: memory: expected a number of bytes such as 512Mi or 1Gi
    config.yaml:27: timeout must be more than zero
    config.yaml:28: duration must be whole seconds
    config.yaml:28: renewInterval must be at most a third of the lease's duration
    "#);
}

#[test]
fn an_empty_configuration_says_what_it_needs() {
    insta::assert_snapshot!(errors("{}"), @r#"
    config.yaml:1: missing key cluster.name
    config.yaml:1: no environment: an agent needs at least one
    "#);
    insta::assert_snapshot!(errors(""), @"config.yaml:1: the file holds no document");
    insta::assert_snapshot!(errors("- a\n"), @"config.yaml:1: expected a mapping");
    insta::assert_snapshot!(errors("cluster:\n  name: [a\n"), @"config.yaml:2:9: unclosed bracket '['");
    insta::assert_snapshot!(errors("cluster: {}\ncluster: {}\n"), @r#"config.yaml:2:1: duplicate key "cluster" (first at line 1)"#);
    insta::assert_snapshot!(Config::load(Path::new("/nowhere/config.yaml"), []).unwrap_err(), @"/nowhere/config.yaml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn variables_lie_over_the_file() {
    let config = Config::parse(
        MINIMAL.as_bytes(),
        "config.yaml",
        owned(&[
            ("SKIFF__CLUSTER__NAME", "us-2"),
            ("SKIFF__ENVIRONMENTS__0__SYNC__SELF_HEAL", "false"),
            ("SKIFF__ENVIRONMENTS__0__SOURCE__CREDENTIALS__CA_FILE", "/etc/ca.crt"),
            ("SKIFF__LEASE__RENEW_INTERVAL", "2s"),
            ("SKIFF__HTTP__LISTEN", ""),
            ("SKIFF_PORT", "tcp://10.0.0.1:9090"),
            ("PATH", "/bin"),
        ]),
    )
    .unwrap();
    assert_eq!((config.cluster.name.as_str(), config.agent.instance.as_str()), ("us-2", "us-2"));
    assert!(!config.environments[0].policy.self_heal);
    assert_eq!(config.environments[0].source.url.to_string(), "https://git.example/shop.git");
    assert_eq!(config.environments[0].source.credentials.ca_file.as_deref(), Some(Path::new("/etc/ca.crt")));
    assert_eq!(config.lease.renew_interval, Duration::from_secs(2));
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    insta::assert_snapshot!(errors_with(
        MINIMAL,
        &[
            ("SKIFF__", "x"),
            ("SKIFF__AGENT__NAMESPACE", "Upper"),
            ("SKIFF__AGENT__NAME", "x"),
            ("SKIFF__CLUSTER__LABELS__REGION", "eu"),
            ("SKIFF__CLUSTER__NAME", "12"),
            ("SKIFF__ENVIRONMENTS__0__SYNC__MODE", "automatic"),
            ("SKIFF__ENVIRONMENTS__5000__NAME", "x"),
            ("SKIFF__LEASE__DURATION", "[1"),
        ]
    ), @r#"
    variable SKIFF__AGENT__NAME: unknown key "name": expected one of namespace, namespaces, instance
    variable SKIFF__AGENT__NAMESPACE: namespace: "Upper" is not a DNS label: at most 63 lower-case letters, digits and "-", with a letter or digit at both ends
    variable SKIFF__CLUSTER__NAME: name: expected text (put it in quotes), found a number
    variable SKIFF__ENVIRONMENTS__0__SYNC__MODE: mode: expected one of auto, manual
    variable SKIFF__: names no key: it should read like SKIFF__AGENT__NAMESPACE
    variable SKIFF__CLUSTER__LABELS__REGION: cluster.labels can be set in the file alone: variables know no lower case
    variable SKIFF__ENVIRONMENTS__5000__NAME: 5000 is no place in a list
    variable SKIFF__LEASE__DURATION: unclosed bracket '['
    "#);
}

#[test]
fn a_key_with_dots_is_no_path() {
    insta::assert_snapshot!(errors(&format!("{MINIMAL}agent.namespace: x\n")), @r#"config.yaml:5: unknown key "agent.namespace""#);
}

#[test]
fn only_our_variables_are_taken_from_the_process() {
    assert!(process_variables().iter().all(|(name, _)| name.starts_with("SKIFF__")));
}

#[test]
fn a_secret_is_read_anew_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "hunter2\r\n").unwrap();
    let secret = Secret::read(&path).unwrap();
    assert_eq!(secret.expose(), "hunter2");
    assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[redacted] [redacted] Some([redacted])");
    fs::write(&path, "\n").unwrap();
    assert!(Secret::read(&path).unwrap_err().to_string().ends_with("is empty"));
    fs::write(&path, b"\xff").unwrap();
    assert!(Secret::read(&path).unwrap_err().to_string().ends_with("is not UTF-8 text"));
    assert!(Secret::read(&folder.path().join("missing")).is_err());
}

/// A ConfigMap volume as the kubelet lays it out and changes it.
struct Volume {
    folder: tempfile::TempDir,
    version: u32,
}

impl Volume {
    fn new(content: &str) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().unwrap(), version: 0 };
        volume.swap(content);
        symlink("..data/config.yaml", volume.file()).unwrap();
        volume
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("config.yaml")
    }

    fn swap(&mut self, content: &str) {
        let root = self.folder.path();
        let old = root.join(format!("..version_{}", self.version));
        self.version += 1;
        let name = format!("..version_{}", self.version);
        fs::create_dir(root.join(&name)).unwrap();
        fs::write(root.join(&name).join("config.yaml"), content).unwrap();
        symlink(&name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if old.exists() {
            fs::remove_dir_all(old).unwrap();
        }
    }
}

async fn next(watched: &mut super::Watched) -> Result<Config, super::ConfigErrors> {
    // Far below the interval of the timer, so what comes was seen by an event.
    tokio::time::timeout(Duration::from_secs(20), watched.changes.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn every_swap_of_a_config_map_is_seen_and_an_invalid_one_is_an_error() {
    let mut volume = Volume::new(MINIMAL);
    let mut watched = watch(volume.file(), Vec::new()).unwrap();
    assert_eq!(watched.config.cluster.name, "eu-1");

    volume.swap(&MINIMAL.replace("eu-1", "eu-2"));
    assert_eq!(next(&mut watched).await.unwrap().cluster.name, "eu-2");

    volume.swap("cluster: {nmae: eu-3}\n");
    let errors = next(&mut watched).await.unwrap_err().to_string();
    assert!(errors.contains("config.yaml:1: unknown key \"nmae\": did you mean \"name\"?"), "{errors}");

    volume.swap(&MINIMAL.replace("eu-1", "eu-4"));
    assert_eq!(next(&mut watched).await.unwrap().cluster.name, "eu-4");
}

#[tokio::test]
async fn the_same_content_again_is_no_change() {
    let mut volume = Volume::new(MINIMAL);
    let mut watched = watch(volume.file(), Vec::new()).unwrap();
    volume.swap(MINIMAL);
    volume.swap(&MINIMAL.replace("eu-1", "eu-2"));
    assert_eq!(next(&mut watched).await.unwrap().cluster.name, "eu-2");
}

#[tokio::test]
async fn a_file_that_goes_away_is_an_error_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, MINIMAL).unwrap();
    let mut watched = watch(path.clone(), Vec::new()).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(next(&mut watched).await.unwrap_err().to_string().contains("cannot be read"));
    fs::write(folder.path().join("new"), MINIMAL).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(next(&mut watched).await.unwrap(), watched.config);
}

#[tokio::test]
async fn an_invalid_file_at_the_start_is_refused() {
    let volume = Volume::new("cluster: {}\n");
    assert!(watch(volume.file(), Vec::new()).is_err());
    assert!(watch(volume.folder.path().join("missing"), Vec::new()).is_err());
}

#[test]
fn limits_are_read_and_what_they_refuse_is_refused_here_already() {
    let limits = "  limits: {namespaces: [shop], kinds: [apps/*, \"!Secret\"], clusterScoped: no}\n";
    let environment = &load(&format!("{MINIMAL}{limits}")).environments[0];
    let kind = skiff_shared::object::GroupKind::new("apps", "Deployment");
    let address = |namespace| skiff_shared::limits::Address { kind: &kind, namespace, name: "web" };
    assert_eq!(environment.limits.object(address(Some("shop"))), []);
    assert_eq!(environment.limits.object(address(Some("bank"))).len(), 1);
    assert_eq!(environment.limits.object(address(None)).len(), 1);
    insta::assert_snapshot!(errors(&format!(
        "{MINIMAL}  limits:
    repositories: [https://git.example/other/*]
    kinds: [apps/v1/Deployment]
    namespaces: [\"\"]
    clusterscoped: true
"
    )), @r#"
    config.yaml:4: repository https://git.example/shop.git is outside of limits.repositories of environment "development" in the agent's file
    config.yaml:7: "apps/v1/Deployment" is no kind: write group/Kind, or Kind alone for the core group
    config.yaml:8: a pattern must not be empty
    config.yaml:9: unknown key "clusterscoped": did you mean "clusterScoped"?
    "#);
}
