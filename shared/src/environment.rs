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
//!     namespace: shop              # for namespaced objects that name none
//!     createNamespace: true        # default: false
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
//!     sync:                        # may only be stricter than the environment's policy
//!       mode: manual               # auto or manual
//!       prune: false
//!       selfHeal: false
//! ```
//!
//! Keys that are not listed here are refused. `auto` takes the folder for a chart if it has a `Chart.yaml`, for a
//! kustomization if it has a `kustomization.yaml`, `kustomization.yml` or `Kustomization`, else for plain manifests.
//!
//! ```
//! use skiff_shared::environment::{self, RepoPath};
//! use skiff_shared::policy::Policy;
//!
//! let text = "apiVersion: skiff.dev/v1alpha1\nkind: Environment\napps:\n- name: web\n- nmae: db\n";
//! let folder = RepoPath::parse("environments/production").expect("it is within the repository");
//! let problems = environment::parse(text, &folder, &Policy::default()).expect_err("a key is mistyped");
//! assert_eq!(
//!     problems.to_string(),
//!     "environments/production/skiff.yaml:5: missing key \"name\"\n\
//!      environments/production/skiff.yaml:5: unknown key \"nmae\": did you mean \"name\"?"
//! );
//! ```

mod name;
mod path;
mod renderer;
mod skiff;

pub use name::{AppName, InvalidName, Namespace};
pub use path::{PathError, RepoPath};
pub use renderer::{HelmOptions, KustomizeOptions, Parameter, Renderer, RendererKind, detect_renderer};
pub use skiff::{EnvironmentErrors, FILE_NAME, parse};

use crate::policy::Policy;

/// What an environment consists of at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The apps, in the order of the file. No name twice.
    pub apps: Vec<AppSpec>,
}

/// One app: what is rendered, and how it is synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// Unique within the environment.
    pub name: AppName,
    /// The folder to render, from the root of the repository.
    pub path: RepoPath,
    /// The namespace of namespaced objects that name none.
    pub namespace: Option<Namespace>,
    /// Whether the namespace is created if it is not there.
    pub create_namespace: bool,
    /// How the folder is rendered.
    pub renderer: Renderer,
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
        path: folder,
        namespace: None,
        create_namespace: false,
        renderer: Renderer::Auto,
        policy: policy.clone(),
        place,
    };
    Environment { apps: vec![app] }
}

#[cfg(test)]
mod tests;
