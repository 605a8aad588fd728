//! The apps of an environment: what `skiff.yaml` lists, or the one app that a folder is.
//!
//! Between source and render: the files of one revision in, app specs out. Reads no files itself and renders nothing.
//!
//! # `skiff.yaml`
//!
//! Lies in the folder that the agent's configuration names as the environment's path.
//!
//! ```yaml
//! apiVersion: skiff.dev/v1alpha1
//! kind: Environment
//! apps:
//!   - name: web                    # unique; a DNS label
//!     path: ../../apps/web         # from this folder, within the repository; default: the app's name
//!     clusters:                    # a label selector over the cluster's labels; default: every cluster
//!       matchLabels: {region: eu}
//!     namespace: shop              # for namespaced objects that name none
//!     createNamespace: true        # default: false
//!     managedNamespaceMetadata:    # of that namespace
//!       labels: {team: shop}
//!       annotations: {}
//!     renderer: helm               # auto (default), plain, kustomize or helm
//!     helm:
//!       releaseName: web           # default: the app's name
//!       valueFiles:                # from the app's folder, within the repository
//!         - values-production.yaml
//!       values:                    # over the value files
//!         replicas: 3
//!       parameters:                # over the values, as `helm --set`
//!         - name: image.tag
//!           value: "1.10"
//!           forceString: true      # as `helm --set-string`; default: false
//!       skipCrds: false
//!     substitute: true             # complete ${…} in the rendered objects too; default: false
//!     ignoreDifferences:           # fields that others decide once the object exists; `*` for any characters
//!       - group: apps              # default: the core group
//!         kind: Deployment
//!         name: web                # default: every name
//!         namespace: shop          # default: every namespace
//!         jsonPointers: [/spec/template/spec/containers/0/image]
//!         jqPathExpressions: ['.metadata.annotations["a/b"]']    # plain paths only
//!         managedFieldsManagers: [injector]                      # what they own
//!     healthCheckExprs:            # how kinds say how they are, in CEL, as Flux has it
//!       - apiVersion: example.com/v1
//!         kind: Database
//!         current: status.phase == 'Ready'
//!         inProgress: status.phase == 'Creating'  # default: never
//!         failed: status.phase == 'Failed'        # default: never
//!     dependsOn: [db]              # apps of this file
//!     sync:                        # may only be stricter than the environment's policy
//!       mode: manual               # auto or manual
//!       prune: false
//!       selfHeal: false
//!       prunePropagation: foreground    # background (default), foreground or orphan
//!       failOnSharedResource: true # an object that another app has blocks the app; default: false
//!   - each: ../../apps/*           # one app per folder, named after it, instead of name and path
//!     except: [web]
//!     namespace: ${app.name}
//!   - name: blog
//!     source:                      # a Git repository of its own, instead of path
//!       url: https://git.example/blog.git
//!       ref: {tag: v1.4.0}         # as in the agent's configuration
//!       path: deploy               # from that repository's root, which is the default
//!       verify: {mode: tag}        # what has to be signed, beside what the agent's configuration asks for
//!       refuseRewrites: false      # of branches; with acceptedRewrite, as in the agent's configuration
//!   - name: redis
//!     chart:                       # a chart of a chart repository, instead of path
//!       repository: https://charts.example/stable     # or oci://registry.example/charts
//!       name: redis
//!       version: ^18.1             # a version, or a range of versions
//!     helm:
//!       valueFiles: [redis.yaml]   # from this folder
//! ```
//!
//! Keys that are not listed here are refused. `auto` takes the folder for a chart if it has a `Chart.yaml`, for a
//! kustomization if it has a `kustomization.yaml`, `kustomization.yml` or `Kustomization`, else for plain manifests.
//!
//! `${vars.NAME}`, `${labels.NAME}`, `${cluster.name}` and `${app.name}` may stand in every field: see [`substitute`].
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use skiff_shared::environment::{self, Facts, RepoPath, Setting};
//! use skiff_shared::policy::Policy;
//!
//! let text = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- name: web\n- nmae: db\n";
//! let folder = RepoPath::parse("environments/production").expect("it is within the repository");
//! let (policy, facts, folders) = (Policy::default(), Facts::default(), BTreeMap::new());
//! let setting = Setting { folder: &folder, policy: &policy, facts: &facts, folders: &folders };
//! let problems = environment::parse(text, &setting).expect_err("a key is mistyped");
//! assert_eq!(
//!     problems.to_string(),
//!     "environments/production/skiff.yaml:5: missing key \"name\"\n\
//!      environments/production/skiff.yaml:5: unknown key \"nmae\": did you mean \"name\"?"
//! );
//! ```

mod depend;
mod each;
mod facts;
mod healthy;
mod ignore;
mod name;
mod path;
mod renderer;
mod selector;
mod skiff;
mod source;
pub mod substitute;
mod trust;

pub use each::{Pattern, PatternError};
pub use facts::{Fact, Facts, NAME_LABEL};
pub use healthy::HealthCheckExprs;
pub use ignore::IgnoreDifferences;
pub use name::{AppName, InvalidName, Namespace};
pub use path::{PathError, RepoPath};
pub use renderer::{HelmOptions, KustomizeOptions, Parameter, Renderer, RendererKind, detect_renderer};
pub use selector::{Operator, Requirement, RequirementError, Selector};
pub use skiff::{EnvironmentErrors, FILE_NAME, ListReason, Setting, parse, patterns, schema};
pub use source::{
    AppSource, ChartSource, ChartVersion, GitSource, RawReference, Reference, ReferenceError,
    RepositoryError, spelled,
};
pub use trust::{RawRewrites, Rewrites, Signed, TrustError};

use crate::desired::Problem;
use crate::desired::manifest::NamespaceMetadata;
use crate::policy::Policy;

/// What an environment consists of at one revision, for one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The apps, in the order of the file. No name twice.
    pub apps: Vec<AppSpec>,
    /// Apps that the file lists for other clusters only.
    pub elsewhere: Vec<AppName>,
    /// What is probably not meant, though it can be read.
    pub warnings: Vec<Problem>,
}

/// One app: what is rendered, and how it is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// Unique within the environment.
    pub name: AppName,
    /// Where its files are.
    pub source: AppSource,
    /// The folder to render, from the root of its repository; for a chart of a chart repository its name.
    pub path: RepoPath,
    /// The namespace of namespaced objects that name none.
    pub namespace: Option<Namespace>,
    /// Whether the namespace is created if it is not there.
    pub create_namespace: bool,
    /// What that namespace gets.
    pub namespace_metadata: NamespaceMetadata,
    /// How the folder is rendered.
    pub renderer: Renderer,
    /// Whether `${…}` is completed in the rendered objects.
    pub substitute: bool,
    /// How its own kinds say how they are; the expressions are not compiled here.
    pub health_checks: Vec<HealthCheckExprs>,
    /// Fields of its objects that are left to others.
    pub ignore_differences: Vec<IgnoreDifferences>,
    /// Apps of this cluster that this one asks to come first, sorted.
    pub depends_on: Vec<AppName>,
    /// The environment's policy, made stricter where the app asks for it.
    pub policy: Policy,
    /// Where the app is written, `environments/production/skiff.yaml:12`, or the folder that it is.
    pub place: String,
}

/// Returns the one app that a folder without `skiff.yaml` is, named after the environment.
pub fn single_app(environment: AppName, folder: RepoPath, policy: &Policy) -> Environment {
    let place = folder.to_string();
    let app = AppSpec {
        name: environment,
        source: AppSource::Environment,
        path: folder,
        namespace: None,
        create_namespace: false,
        namespace_metadata: NamespaceMetadata::default(),
        renderer: Renderer::Auto,
        substitute: false,
        health_checks: Vec::new(),
        ignore_differences: Vec::new(),
        depends_on: Vec::new(),
        policy: policy.clone(),
        place,
    };
    Environment { apps: vec![app], elsewhere: Vec::new(), warnings: Vec::new() }
}

#[cfg(test)]
mod tests;
