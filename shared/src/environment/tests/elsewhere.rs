//! Apps whose files come from a source of their own.

use super::{errors, read};
use crate::environment::{AppSource, AppSpec, Renderer, RepoPath, Rewrites, Signed};

#[test]
fn an_app_may_be_a_chart_of_a_chart_repository() {
    let apps = read(
        "apps:
  - name: redis
    chart: {repository: https://charts.example/stable/, name: redis, version: ^18.1}
    helm: {valueFiles: [redis.yaml, ../base/redis.yaml], values: {replicas: 3}}
  - name: cache
    chart: {repository: 'oci://registry.example/charts', name: redis, version: 18.1.2}
",
    )
    .apps;
    let told = |app: &AppSpec| match &app.source {
        AppSource::Chart(chart) => format!("{} {} of {}", chart.name, chart.version, chart.repository),
        other => format!("{other:?}"),
    };
    assert_eq!(told(&apps[0]), "redis ^18.1 of https://charts.example/stable");
    assert_eq!(told(&apps[1]), "redis 18.1.2 of oci://registry.example/charts");
    let Renderer::Helm(options) = &apps[0].renderer else { unreachable!("it is a chart") };
    let files: Vec<&str> = options.value_files.iter().map(RepoPath::as_str).collect();
    assert_eq!(files, ["environments/production/redis.yaml", "environments/base/redis.yaml"]);
    assert!(matches!(apps[1].renderer, Renderer::Helm(_)));
}

#[test]
fn an_app_may_have_a_git_repository_of_its_own() {
    let apps = read(
        "apps:
  - name: blog
    source: {url: 'git@git.example:blog.git', ref: {semver: ^1}, path: deploy/chart}
    helm: {valueFiles: [../values.yaml]}
  - name: web
    source: {url: https://git.example/web, ref: {branch: main}}
",
    )
    .apps;
    assert_eq!((apps[0].path.as_str(), apps[1].path.as_str()), ("deploy/chart", ""));
    assert!(matches!(&apps[1].source, AppSource::Git(git) if git.url == "https://git.example/web"));
    let Renderer::Helm(options) = &apps[0].renderer else { unreachable!("it has options for helm") };
    assert_eq!(options.value_files[0].as_str(), "deploy/values.yaml");
}

#[test]
fn value_files_may_be_those_of_the_environment_wherever_the_chart_is() {
    let apps = read(
        "apps:
  - name: here
    path: ../../charts/web
    helm: {valueFiles: [a.yaml], environmentValueFiles: [b.yaml, '../${app.name}.yaml']}
  - name: redis
    chart: {repository: https://charts.example, name: redis, version: 18.1.2}
    helm: {environmentValueFiles: [b.yaml], valueFiles: [a.yaml]}
  - name: blog
    source: {url: 'git@git.example:blog.git', ref: {tag: v1}, path: chart}
    helm: {valueFiles: [a.yaml], environmentValueFiles: [b.yaml]}
",
    )
    .apps;
    let told = |app: &AppSpec| match &app.renderer {
        Renderer::Helm(options) => {
            let listed = |files: &[RepoPath]| {
                files.iter().map(|file| file.as_str().to_owned()).collect::<Vec<_>>().join(" ")
            };
            [listed(&options.value_files), listed(&options.environment_value_files)]
        }
        other => unreachable!("{other:?}"),
    };
    let here = "charts/web/a.yaml environments/production/b.yaml environments/here.yaml";
    assert_eq!(told(&apps[0]), [here, ""]);
    assert_eq!(told(&apps[1]), ["environments/production/a.yaml environments/production/b.yaml", ""]);
    assert_eq!(told(&apps[2]), ["chart/a.yaml", "environments/production/b.yaml"]);
    let outside = "apps:
  - name: blog
    source: {url: 'git@git.example:blog.git', ref: {tag: v1}}
    helm: {environmentValueFiles: [x.yaml, ../../../x.yaml]}
";
    insta::assert_snapshot!(errors(outside), @"environments/production/skiff.yaml:6: path \"../../../x.yaml\" leaves the repository");
}

#[test]
fn an_app_may_ask_for_signatures_and_for_branches_that_only_move_forward() {
    let id = "4f2c9a7d3b".repeat(4);
    let apps = read(&format!(
        "apps:
  - name: a
    source: {{url: https://git.example/a, ref: {{semver: ^1}}, verify: {{mode: TagAndHEAD}}}}
  - name: b
    source: {{url: https://git.example/b, ref: {{branch: main}}, verify: {{}}, refuseRewrites: true, acceptedRewrite: {id}}}
  - name: c
    source: {{url: https://git.example/c, ref: {{branch: main}}}}
"
    ))
    .apps;
    let asked = |app: &AppSpec| match &app.source {
        AppSource::Git(git) => (git.verify, git.rewrites.clone()),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(asked(&apps[0]), (Some(Signed::Both), Rewrites::Follow));
    assert_eq!(asked(&apps[1]), (Some(Signed::Commit), Rewrites::Refuse { accepted: Some(id) }));
    assert_eq!(asked(&apps[2]), (None, Rewrites::Follow));
    insta::assert_snapshot!(errors("apps:
  - name: a
    source: {url: https://git.example/a, ref: {branch: main}, verify: {mode: tag, secretRef: signers}}
  - name: b
    source: {url: https://git.example/b, ref: {tag: v1}, refuseRewrites: true}
  - name: c
    source: {url: https://git.example/c, ref: {branch: main}, acceptedRewrite: main}
  - name: d
    source: {url: https://git.example/d, ref: {branch: main}, refuseRewrites: true, acceptedRewrite: main}
"), @r#"
    environments/production/skiff.yaml:5: this mode is about tags: ref has to be a tag or semver, or mode commit
    environments/production/skiff.yaml:5: unknown key "secretRef": expected mode
    environments/production/skiff.yaml:7: refuseRewrites is about branches: a tag is moved on purpose, a commit never
    environments/production/skiff.yaml:9: acceptedRewrite needs refuseRewrites
    environments/production/skiff.yaml:11: acceptedRewrite is not a full commit id in lower case
    "#);
}

#[test]
fn what_an_own_source_cannot_be_is_told() {
    insta::assert_snapshot!(errors("apps:
  - name: a
    chart: {repository: charts.example, name: ../a, version: newest}
  - name: b
    path: b
    chart: {repository: https://ada:secret@charts.example, name: b, version: '1'}
    renderer: kustomize
  - name: c
    source: {url: git.example/c, ref: {branch: main, tag: v1}, path: ../c}
  - name: d
    source: {url: https://git.example/d, ref: {branch: 'a b'}}
    chart: {repository: https://charts.example, name: d, version: 1.0.0}
  - name: e
    chart: {repository: https://charts.example, name: e, version: 1.0.0}
    kustomize: {}
  - name: f
    path: f
    source: {url: https://git.example/f, ref: {}}
"), @r#"
    environments/production/skiff.yaml:5: "../a" is no name of a chart: letters, digits, "-", "_" and "."
    environments/production/skiff.yaml:5: "newest" is no range of versions: nothing can be made of "newest"; write it as in ">=1.2 <2", "~1.4" or "1.x || 2.1 - 2.4"
    environments/production/skiff.yaml:5: the URL must begin with https://, http:// or oci://
    environments/production/skiff.yaml:7: path cannot stand beside chart: a chart is taken as a whole
    environments/production/skiff.yaml:8: the URL must not hold a user name or password: they stand in the agent's file
    environments/production/skiff.yaml:11: path "../c" leaves the repository
    environments/production/skiff.yaml:11: ref needs exactly one of branch, tag, semver and commit
    environments/production/skiff.yaml:11: the URL must begin with https://, http:// or ssh://, or be written as git@host:path
    environments/production/skiff.yaml:12: an app has a source or a chart, not both
    environments/production/skiff.yaml:15: a chart is rendered by helm: leave out renderer and kustomize
    environments/production/skiff.yaml:19: path cannot stand beside source: write it as source.path
    environments/production/skiff.yaml:20: ref needs exactly one of branch, tag, semver and commit
    "#);
}
