//! The digest of everything that a render depends on: the same digest, the same render.

use skiff_shared::environment::{HelmOptions, IgnoreDifferences, KustomizeOptions, Parameter, Renderer};
use skiff_shared::object::{Digest, Hashing};

use super::{OnDuplicate, Request};

/// Returns the digest of a render's inputs. The content of its folders is named by `tree_id`: the tree of everything that
/// the app reads, which for charts and kustomizations can lie outside the app's own folder.
pub fn input_digest(request: &Request<'_>, tree_id: &str) -> Digest {
    let Request {
        app,
        instance,
        directory: _,
        path,
        values: _,
        namespace,
        create_namespace,
        namespace_metadata,
        renderer,
        facts,
        ignore_differences,
        limits,
        apis,
        api_versions,
        kube_version,
        tools,
        on_duplicate,
        interner: _,
    } = *request;
    let on_duplicate = match on_duplicate {
        OnDuplicate::Refuse => "refuse",
        OnDuplicate::LastWins => "lastWins",
    };
    // The program's version stands for the tools it brings and for how it reads.
    let mut hashing = Hashing::default()
        .part(env!("CARGO_PKG_VERSION").as_bytes())
        .part(tools.helm.as_os_str().as_encoded_bytes())
        .part(tools.kustomize.as_os_str().as_encoded_bytes())
        .part(tree_id.as_bytes())
        .part(app.as_bytes())
        .part(instance.as_bytes())
        .part(path.as_str().as_bytes())
        .part(namespace.unwrap_or_default().as_bytes())
        .part(&[u8::from(create_namespace)])
        .part(kube_version.as_bytes())
        .part(on_duplicate.as_bytes())
        .part(&IgnoreDifferences::digest(ignore_differences).0)
        .part(limits.digest().to_string().as_bytes())
        .part(facts.map(|facts| facts.digest().to_string()).unwrap_or_default().as_bytes());
    for (kind, served) in &apis.kinds {
        hashing = hashing.part(kind.to_string().as_bytes()).part(&[u8::from(served.namespaced)]);
        hashing = served.versions.iter().fold(hashing, |hashing, version| hashing.part(version.as_bytes()));
    }
    for (key, value) in namespace_metadata.labels.iter().chain(&namespace_metadata.annotations) {
        hashing = hashing.part(key.as_bytes()).part(value.as_bytes());
    }
    hashing = hashing.part(&[u8::try_from(namespace_metadata.labels.len()).unwrap_or(u8::MAX)]);
    hashing = apis.incomplete.iter().fold(hashing, |hashing, group| hashing.part(group.as_bytes()));
    hashing = api_versions.iter().fold(hashing, |hashing, version| hashing.part(version.as_bytes()));
    options(hashing, renderer).finish()
}

fn options(hashing: Hashing, renderer: &Renderer) -> Hashing {
    match renderer {
        Renderer::Auto => hashing.part(b"auto"),
        Renderer::Plain => hashing.part(b"plain"),
        Renderer::Kustomize(KustomizeOptions {}) => hashing.part(b"kustomize"),
        Renderer::Helm(options) => helm(hashing.part(b"helm"), options),
    }
}

fn helm(hashing: Hashing, options: &HelmOptions) -> Hashing {
    let HelmOptions { release_name, value_files, environment_value_files, values, parameters, skip_crds } =
        options;
    let mut hashing = hashing
        .part(release_name.as_deref().unwrap_or_default().as_bytes())
        .part(&serde_json::to_vec(values).expect("values are JSON"))
        .part(&[u8::from(*skip_crds)]);
    for file in value_files {
        hashing = hashing.part(b"file").part(file.as_str().as_bytes());
    }
    for file in environment_value_files {
        hashing = hashing.part(b"environment's file").part(file.as_str().as_bytes());
    }
    for Parameter { name, value, force_string } in parameters {
        let kind: &[u8] = if *force_string { b"text" } else { b"any" };
        hashing = hashing.part(kind).part(name.as_bytes()).part(value.as_bytes());
    }
    hashing
}
