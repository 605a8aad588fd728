//! Rows of bodies that were rendered long ago: an object as it was sent says everything that its row did.

use std::sync::Arc;

use serde_json::Value;

use super::annotations::Role;
use super::manifest::{Fault, Manifest};
use super::{BodyDigest, DesiredRow, autoscaler, scope};
use crate::object::{Interner, ObjectId};

/// Why a stored body has no row.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    #[error("stored body {digest} is no JSON: {source}")]
    Json { digest: BodyDigest, source: serde_json::Error },
    #[error("stored body {digest} is no object: {fault}")]
    Fault { digest: BodyDigest, fault: Fault },
}

/// Returns the row of a body; its digest is given, as whoever has the body knows it.
pub fn row(body: &[u8], digest: BodyDigest, interner: &mut Interner) -> Result<DesiredRow, StoredError> {
    let value: Value = serde_json::from_slice(body).map_err(|source| StoredError::Json { digest, source })?;
    let manifest = Manifest::read(value).map_err(|faults| {
        let fault = faults.into_iter().next().unwrap_or(Fault::NotAnObject { found: "it" });
        StoredError::Fault { digest, fault }
    })?;
    let is_definition =
        manifest.group == "apiextensions.k8s.io" && manifest.kind == "CustomResourceDefinition";
    let provides = is_definition.then(|| scope::provides(manifest.written())).flatten();
    let hook = match manifest.annotated.role {
        Role::Hook(hook) => Some(Arc::new(hook)),
        Role::Object | Role::Never | Role::Skip | Role::LeftOut(_) => None,
    };
    let kind = interner.kind(&manifest.group, &manifest.kind);
    let namespace = manifest.namespace.as_deref().map(|namespace| interner.string(namespace));
    let id = ObjectId::new(kind, namespace, &manifest.name);
    let scales = manifest.written().get("spec").and_then(|spec| {
        let target = autoscaler::target(&id, spec)?;
        Some(interner.object(target.group, target.kind, id.namespace(), target.name))
    });
    let declares_replicas = autoscaler::declares_replicas(manifest.written());
    Ok(DesiredRow {
        id,
        declares_replicas,
        version: interner.string(&manifest.version),
        body: digest,
        bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        wave: manifest.annotated.wave,
        options: manifest.annotated.options,
        yields: manifest.annotated.yields.clone().shared(),
        scales,
        provides: provides.map(|(kind, _)| interner.kind(&kind.group, &kind.kind)),
        hook,
        origin: "stored render".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::ObjectOptions;
    use crate::object::Digest;

    fn row_of(value: &Value) -> DesiredRow {
        let body = value.to_string();
        row(body.as_bytes(), Digest::of(body.as_bytes()), &mut Interner::default()).expect("an object")
    }

    #[test]
    fn a_body_says_wave_options_and_what_it_provides() {
        let web = row_of(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "annotations": {
                "skiff.dev/wave": "3", "argocd.argoproj.io/sync-options": "Prune=false",
            }},
        }));
        assert_eq!((web.id.to_string().as_str(), &*web.version, web.wave), ("Deployment/shop/web", "v1", 3));
        assert_eq!(web.options, ObjectOptions { keep: true, ..ObjectOptions::default() });
        let zones = row_of(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "zones.example.com"},
            "spec": {"group": "example.com", "scope": "Cluster", "names": {"kind": "Zone"}},
        }));
        assert_eq!(zones.provides.map(|kind| kind.to_string()).as_deref(), Some("Zone.example.com"));
    }

    #[test]
    fn what_is_no_object_is_named_by_its_digest() {
        let digest = Digest::of(b"body");
        let error = row(b"[]", digest, &mut Interner::default()).expect_err("no object");
        assert!(error.to_string().starts_with(&format!("stored body {digest} is no object")), "{error}");
    }
}
