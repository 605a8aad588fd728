//! Apps that come from elsewhere: charts of chart repositories, Git repositories of their own.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use skiff_e2e::manifests::{config_map, in_namespace};
use skiff_e2e::site::Site;
use skiff_e2e::words::says;
use skiff_harness::chart_repository::{ChartRepository, package};
use skiff_harness::cluster::{Options, User};
use skiff_harness::git_server::{self, Access, GitServer, Repository, RequestKind};
use skiff_harness::registry::Registry;
use skiff_shared::api::v1alpha1::App;

const TEMPLATE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  version: {{ .Chart.Version | quote }}
  colour: {{ .Values.colour }}
";

fn apps(list: &str) -> String {
    format!("apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n{list}")
}

async fn data(site: &Site, name: &str) -> anyhow::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(site.admin()?, "default");
    let data = maps.get_opt(name).await?.and_then(|map| map.data).unwrap_or_default();
    Ok(data.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
}

async fn shows(site: &Site, name: &str, expected: &str) -> anyhow::Result<()> {
    site.until(&format!("{name} is {expected:?}"), async || Ok(data(site, name).await? == expected)).await
}

/// Changes a value behind the agent's back.
async fn meddle(site: &Site, name: &str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(site.cluster.client(User::Dev)?, "default");
    let patch = Patch::Merge(json!({"data": {"colour": "meddled"}}));
    maps.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chart_of_a_range_is_rolled_out_and_healed_while_its_repository_is_away() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let charts = ChartRepository::start()?;
    let files = [("templates/map.yaml", TEMPLATE), ("values.yaml", "colour: none\n")];
    charts.publish("web", "1.0.0", &files)?;
    charts.publish("web", "2.0.0", &files)?;
    let mut fleet = site.repository("fleet")?;
    let list = format!(
        "\
- name: web
  namespace: default
  chart: {{repository: {}, name: web, version: ^1}}
  helm: {{valueFiles: [values/web.yaml]}}
- name: shop
  namespace: default
  path: ../charts/shop
  helm: {{valueFiles: [../../lab/values/shop.yaml]}}
",
        charts.url()
    );
    let dependency =
        format!("dependencies:\n- {{name: web, version: 1.x, repository: '{}'}}\n", charts.url());
    fleet
        .write("lab/skiff.yaml", apps(&list))
        .write("lab/values/web.yaml", "colour: red\n")
        .write("lab/values/shop.yaml", "web: {colour: green}\n")
        .write("charts/shop/Chart.yaml", format!("apiVersion: v2\nname: shop\nversion: 0.1.0\n{dependency}"))
        .write("charts/shop/Chart.lock", dependency.replace("1.x", "1.0.0"));
    site.set_variable("SKIFF__RENDER__FETCH_DEPENDENCIES", "true");
    let first = fleet.commit("A chart of a range")?;
    site.start_agent(json!([Site::environment("development", fleet.url(), "lab")]))?;
    site.synced("shop", &first).await?;
    shows(&site, "shop", "colour=green version=1.0.0").await?;
    let app = site.synced("web", &first).await?;
    assert_eq!(data(&site, "web").await?, "colour=red version=1.0.0");
    let chart = app.status.and_then(|status| status.applied).and_then(|applied| applied.chart);
    assert_eq!(chart.map(|chart| chart.version), Some("1.0.0".to_owned()));

    let digest = charts.publish("web", "1.1.0", &files)?;
    shows(&site, "web", "colour=red version=1.1.0").await?;
    let app = site
        .app("web", "the status names the new version", |app| {
            let applied = app.status.as_ref().and_then(|status| status.applied.as_ref());
            applied
                .is_some_and(|applied| applied.chart.as_ref().is_some_and(|chart| chart.version == "1.1.0"))
        })
        .await?;
    let applied = app.status.and_then(|status| status.applied).unwrap_or_default();
    assert!(applied.name.ends_with(" with web 1.1.0"), "{}", applied.name);
    assert_eq!(applied.chart.unwrap_or_default().digest, format!("sha256:{digest}"));

    charts.refuse(Some(503));
    let away = |app: &App| says(app, "SourceReady", "ServerError", "the server answered 503");
    site.app("web", "the status says that the repository cannot be read", away).await?;
    meddle(&site, "web").await?;
    shows(&site, "web", "colour=red version=1.1.0").await?;
    fleet.write("lab/values/web.yaml", "colour: blue\n");
    let second = fleet.commit("Values change while the repository is away")?;
    site.synced("web", &second).await?;
    shows(&site, "web", "colour=blue version=1.1.0").await?;

    site.end_agent().await?;
    site.restart_agent()?;
    site.app("web", "the new agent has not read the repository", away).await?;
    meddle(&site, "web").await?;
    shows(&site, "web", "colour=blue version=1.1.0").await?;
    fleet.write("lab/values/shop.yaml", "web: {colour: yellow}\n");
    let third = fleet.commit("A chart is rendered with a dependency that was kept")?;
    site.synced("shop", &third).await?;
    shows(&site, "shop", "colour=yellow version=1.0.0").await?;
    charts.refuse(None);
    site.synced("web", &third).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_follow_repositories_of_their_own_as_far_as_the_agents_file_allows() -> anyhow::Result<()> {
    let mut site = Site::start(Options::default()).await?;
    let secrets = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = secrets.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let credentials =
        json!({"usernameFile": file("username", "ada")?, "passwordFile": file("password", "swordfish")?});
    let address = Ipv4Addr::new(127, 79, 0, 7).into();
    let team = GitServer::start_with(git_server::Options { address, ..git_server::Options::default() })?;
    team.demand(Access::Basic { username: "ada".into(), password: "swordfish".into() });
    let mut blog = Repository::create(&team, "blog")?;
    blog.write("deploy/one.yaml", in_namespace("default", &config_map("one", "first")))
        .write("deploy/two.yaml", in_namespace("default", &config_map("two", "first")))
        .write("docs/three.yaml", in_namespace("default", &config_map("three", "first")))
        .write("chart/Chart.yaml", "apiVersion: v2\nname: wiki\nversion: 1.0.0\n")
        .write("chart/templates/map.yaml", TEMPLATE);
    let first = blog.commit("A blog")?;
    let registry = Registry::start()?;
    registry.demand("ada", "swordfish");
    let chart = |version: &str| {
        let chart = format!("apiVersion: v2\nname: web\nversion: {version}\n");
        let values = "colour: green\n";
        package("web", &[("Chart.yaml", &chart), ("values.yaml", values), ("templates/map.yaml", TEMPLATE)])
    };
    registry.push("charts/web", "1.0.0", chart("1.0.0")?);
    let mut fleet = site.repository("fleet")?;
    let list = format!(
        "\
- name: blog
  source: {{url: {url}, ref: {{branch: main}}, path: deploy}}
- name: docs
  source: {{url: {url}.git, ref: {{branch: main}}, path: docs}}
- name: wiki
  namespace: default
  source: {{url: {url}, ref: {{branch: main}}, path: chart}}
  helm: {{environmentValueFiles: [wiki.yaml]}}
- name: web
  namespace: default
  chart: {{repository: '{registry}', name: web, version: 1.x}}
- name: refused
  source: {{url: {elsewhere}, ref: {{branch: main}}}}
",
        url = blog.url(),
        registry = registry.url("charts"),
        elsewhere = site.git.url("elsewhere"),
    );
    fleet.write("lab/skiff.yaml", apps(&list)).write("lab/wiki.yaml", "colour: red\n");
    let listed = fleet.commit("Apps from elsewhere")?;
    let mut environment = Site::environment("development", fleet.url(), "lab");
    environment["repositories"] = json!([
        {"url": team.base(), "credentials": credentials},
        {"url": registry.url("charts"), "credentials": credentials},
    ]);
    environment["limits"] = json!({"repositories": [format!("{}/*", team.base()), fleet.url(), "oci://*"]});
    site.start_agent(json!([environment]))?;

    let app = site.synced("blog", &first).await?;
    let revision = app.status.and_then(|status| status.revision).unwrap_or_default();
    assert_eq!(revision.url, blog.url(), "the app's revision is its own repository's");
    site.synced("docs", &first).await?;
    site.synced("web", &listed).await?;
    shows(&site, "web", "colour=green version=1.0.0").await?;
    site.synced("wiki", &first).await?;
    shows(&site, "wiki", "colour=red version=1.0.0").await?;
    fleet.write("lab/wiki.yaml", "colour: blue\n");
    fleet.commit("Other values for a chart that is elsewhere")?;
    shows(&site, "wiki", "colour=blue version=1.0.0").await?;
    let refused = |app: &App| says(app, "Rendered", "OutsideLimits", "is outside of limits.repositories");
    site.app("refused", "the app may not have its source", refused).await?;
    assert_eq!(team.count(RequestKind::Fetch).requests, 1, "apps of one repository share what is fetched");

    // An app that cannot be rendered may want what leaves the others.
    let (allowed, _) = list.split_once("- name: refused").unwrap_or_default();
    fleet.write("lab/skiff.yaml", apps(allowed));
    fleet.commit("The refused app goes")?;
    blog.write("deploy/one.yaml", in_namespace("default", &config_map("one", "second")))
        .remove("deploy/two.yaml");
    let second = blog.commit("Less of it")?;
    site.synced("blog", &second).await?;
    shows(&site, "one", "value=second").await?;
    shows(&site, "two", "").await?;
    site.synced("docs", &second).await?;
    registry.push("charts/web", "1.1.0", chart("1.1.0")?);
    shows(&site, "web", "colour=green version=1.1.0").await?;
    assert!(!site.log().contains("swordfish"));
    Ok(())
}
