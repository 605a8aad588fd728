//! Recognises objects that another GitOps tool, or another Skiff, looks after.
//!
//! Read from live metadata at adoption. Only marks that the tools set themselves count: the label
//! `app.kubernetes.io/instance` is written by nearly every chart and says nothing without Argo CD's field manager.

use std::collections::BTreeMap;
use std::fmt;

/// The metadata that carries marks.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    pub labels: &'a BTreeMap<String, String>,
    pub annotations: &'a BTreeMap<String, String>,
    /// The manager names of the object's managedFields.
    pub managers: &'a [&'a str],
    /// Our own value of `skiff.dev/instance`.
    pub instance: &'a str,
}

/// Who else looks after an object.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum ForeignOwner {
    /// Another Skiff agent.
    Skiff {
        /// Its value of `skiff.dev/instance`.
        instance: String,
    },
    /// An Argo CD application, `name` or `namespace_name`.
    ArgoCd {
        /// As the tracking mark names it.
        application: String,
    },
    /// A Kustomization of Flux.
    FluxKustomization { name: String, namespace: String },
    /// A `HelmRelease` of Flux.
    FluxHelmRelease { name: String, namespace: String },
    /// A release installed by Helm itself.
    Helm { release: String, namespace: String },
}

impl fmt::Display for ForeignOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skiff { instance } => write!(f, "Skiff instance {instance:?}"),
            Self::ArgoCd { application } => write!(f, "Argo CD application {application:?}"),
            Self::FluxKustomization { name, namespace } => write!(f, "Flux Kustomization {namespace}/{name}"),
            Self::FluxHelmRelease { name, namespace } => write!(f, "Flux HelmRelease {namespace}/{name}"),
            Self::Helm { release, namespace } => write!(f, "Helm release {namespace}/{release}"),
        }
    }
}

/// Returns who else looks after an object, the most specific mark first; `None` if nobody does or we do.
#[must_use]
pub fn foreign_owner(marks: &Marks<'_>) -> Option<ForeignOwner> {
    other_instance(marks).or_else(|| argo(marks)).or_else(|| flux(marks)).or_else(|| helm(marks))
}

fn other_instance(marks: &Marks<'_>) -> Option<ForeignOwner> {
    let instance = marks.labels.get("skiff.dev/instance")?;
    (instance != marks.instance).then(|| ForeignOwner::Skiff { instance: instance.clone() })
}

fn argo(marks: &Marks<'_>) -> Option<ForeignOwner> {
    // The mark is "application:group/kind:namespace/name".
    let tracked = marks.annotations.get("argocd.argoproj.io/tracking-id");
    let by_annotation = tracked.map(|id| id.split(':').next().unwrap_or_default());
    let by_label = || {
        let label = marks.labels.get("app.kubernetes.io/instance")?;
        marks.managers.contains(&"argocd-controller").then_some(label.as_str())
    };
    let application = by_annotation.or_else(by_label)?.to_owned();
    Some(ForeignOwner::ArgoCd { application })
}

fn flux(marks: &Marks<'_>) -> Option<ForeignOwner> {
    let mark = |tool: &str| {
        let name = marks.labels.get(&format!("{tool}.toolkit.fluxcd.io/name"))?.clone();
        let namespace = marks.labels.get(&format!("{tool}.toolkit.fluxcd.io/namespace")).cloned();
        Some((name, namespace.unwrap_or_default()))
    };
    let release = mark("helm").map(|(name, namespace)| ForeignOwner::FluxHelmRelease { name, namespace });
    let kustomization =
        || mark("kustomize").map(|(name, namespace)| ForeignOwner::FluxKustomization { name, namespace });
    release.or_else(kustomization)
}

fn helm(marks: &Marks<'_>) -> Option<ForeignOwner> {
    let release = marks.annotations.get("meta.helm.sh/release-name")?.clone();
    let namespace = marks.annotations.get("meta.helm.sh/release-namespace").cloned().unwrap_or_default();
    let managed_by = marks.labels.get("app.kubernetes.io/managed-by")?;
    (managed_by == "Helm").then_some(ForeignOwner::Helm { release, namespace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_other_tools_are_recognised() {
        for (marks, expected) in [
            ("l skiff.dev/instance=lab-2", r#"Skiff instance "lab-2""#),
            ("l skiff.dev/instance=lab-1", "nobody"),
            (
                "a argocd.argoproj.io/tracking-id=shop:apps/Deployment:web/web",
                r#"Argo CD application "shop""#,
            ),
            ("l app.kubernetes.io/instance=shop m argocd-controller", r#"Argo CD application "shop""#),
            ("l app.kubernetes.io/instance=shop m kubectl", "nobody"),
            (
                "l kustomize.toolkit.fluxcd.io/name=apps l kustomize.toolkit.fluxcd.io/namespace=flux-system",
                "Flux Kustomization flux-system/apps",
            ),
            (
                "l helm.toolkit.fluxcd.io/name=web l helm.toolkit.fluxcd.io/namespace=shop \
                 l app.kubernetes.io/managed-by=Helm a meta.helm.sh/release-name=web",
                "Flux HelmRelease shop/web",
            ),
            (
                "l app.kubernetes.io/managed-by=Helm a meta.helm.sh/release-name=web \
                 a meta.helm.sh/release-namespace=shop",
                "Helm release shop/web",
            ),
            ("l app.kubernetes.io/managed-by=Helm", "nobody"),
            ("a meta.helm.sh/release-name=web", "nobody"),
        ] {
            assert_eq!(owner(marks), expected, "{marks}");
        }
    }

    /// Reads marks such as `l label=value`, `a annotation=value` and `m manager`, separated by spaces.
    fn owner(text: &str) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        let of = |kind: &str| {
            words.chunks(2).filter(|pair| pair[0] == kind).map(|pair| pair[1]).collect::<Vec<_>>()
        };
        let map = |kind: &str| {
            let pairs = of(kind).into_iter().filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let (labels, annotations, managers) = (map("l"), map("a"), of("m"));
        let marks =
            Marks { labels: &labels, annotations: &annotations, managers: &managers, instance: "lab-1" };
        foreign_owner(&marks).map_or_else(|| "nobody".to_owned(), |owner| owner.to_string())
    }
}
