//! The compact notation of tests: one object a line, `Kind/namespace/name` and words that tell the rest.
//!
//! `Deployment/shop/web v2 wave=1 ready=3` is a Deployment with the body of variant 2, in wave 1, that
//! becomes healthy three steps after it is written. Words: `v<n>`, `wave=<n>`, `ready=<n>|never`,
//! `refused`, `forbidden` and `denied` (only when written), `finalizer=<n>`, `provides=<Kind>`, `keep`, `confirm`,
//! `once` (applied only where it is not there), `never` (not applied),
//! `fixed=<n>` (a field that cannot be changed), `force` (recreated where that is needed),
//! `replicas` (declares the field that may be left to others), `yields` (leaves it), `yields=<pointer>` (leaves another),
//! `unjudged` (its health is ignored), `unchecked` (no dry run), `hook=PreSync,PostSync`, `install=PreSync|never`
//! (other phases in an installation), `delete=before,succeeded,failed`, `fails` (it ends badly).

use std::sync::Arc;

use skiff_shared::desired::yields::{Field, Yields};
use skiff_shared::desired::{
    ApplyWhen, Assignment, Desired, DesiredRow, Listing, ObjectOptions, Propagation, Revision, render_digest,
};
use skiff_shared::hook::{DeletePolicy, Hook, Phases, SyncPhase};
use skiff_shared::object::{Digest, GroupKind, ObjectId};
use skiff_shared::sync::event::Refusal;

use crate::random::mix;
use crate::world::{Body, World, group_of};

/// Reads `Kind/namespace/name` or `Kind/name`; `Kind.group/…` is of another group than the kind is known for.
pub fn object(text: &str) -> ObjectId {
    let mut parts = text.split('/');
    let (kind, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (kind, group) = kind.split_once('.').unwrap_or_else(|| (kind, group_of(kind)));
    let kind = Arc::new(GroupKind::new(group, kind));
    match parts.next() {
        Some(name) => ObjectId::new(kind, Some(second.into()), name),
        None => ObjectId::new(kind, None, second),
    }
}

/// An object as a line describes it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub row: DesiredRow,
    pub body: Body,
}

/// Reads one line for an app.
pub fn wanted(app: &str, line: &str) -> Wanted {
    let mut words = line.split_whitespace();
    let id = object(words.next().expect("a line names an object"));
    let mut options = ObjectOptions::default();
    let (mut wave, mut variant) = (0, "v1");
    let mut yields = Yields::default();
    let (mut hook, mut installs): (Option<Hook>, _) = (None, None);
    let mut body = Body {
        app: app.into(),
        content: 0,
        fixed: 0,
        fields: 0,
        replicas: None,
        ready_after: Some(1),
        refused: None,
        refused_on_write: None,
        finalizer: 0,
        provides: None,
        fails: false,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("wave", number) => wave = number.parse().expect("a wave is a number"),
            ("ready", "never") => body.ready_after = None,
            ("ready", steps) => body.ready_after = Some(steps.parse().expect("steps are a number")),
            ("finalizer", "stuck") => body.finalizer = u32::MAX,
            ("finalizer", steps) => body.finalizer = steps.parse().expect("steps are a number"),
            ("provides", kind) => body.provides = Some(Arc::new(GroupKind::new(group_of(kind), kind))),
            ("refused", _) => body.refused = Some(Refusal::Invalid),
            ("forbidden", _) => body.refused_on_write = Some(Refusal::Forbidden),
            ("denied", _) => body.refused_on_write = Some(Refusal::AdmissionDenied),
            ("keep", _) => options.keep = true,
            ("confirm", _) => options.confirm_prune = true,
            ("outlives", _) => options.outlives = true,
            ("confirm-delete", _) => options.confirm_delete = true,
            ("fixed", number) => body.fixed = number.parse().expect("a number"),
            ("orphan", _) => options.propagation = Some(Propagation::Orphan),
            ("once", _) => options.apply = ApplyWhen::Once,
            ("never", _) => options.apply = ApplyWhen::Never,
            ("force", _) => options.recreate = true,
            ("replicas", _) => body.replicas = Some(3),
            ("yields", "") => _ = yields.fields.insert(Field::replicas()),
            ("yields", field) => _ = yields.fields.insert(Field::parse(field).expect("a field")),
            ("unjudged", _) => options.ignore_health = true,
            ("unchecked", _) => options.skip_dry_run = true,
            ("hook", types) => hook.get_or_insert_default().install = phases(types),
            ("install", types) => installs = Some(phases(types)),
            ("delete", policies) => hook.get_or_insert_default().delete = policy(policies),
            ("fails", _) => body.fails = true,
            (word, _) if word.starts_with('v') => variant = word,
            (word, _) => panic!("unknown word {word:?} in {line:?}"),
        }
    }
    let declares_replicas = body.replicas.is_some();
    body.replicas = body.replicas.map(|_| number(variant));
    body.content = number(&format!("{id} {variant}"));
    let extra = if variant >= "v3" { " and one more field" } else { "" };
    body.fields = u128::from(number(&format!("{id}{extra}")));
    if let Some(hook) = &mut hook {
        let named = hook.install;
        hook.deletion = named.iter().filter(|phase| phase.is_of_deletion()).collect();
        hook.install = named.iter().filter(|phase| !phase.is_of_deletion()).collect();
        hook.upgrade = hook.install;
        hook.install = installs.unwrap_or(hook.install);
    }
    // Annotations are part of a body.
    let digest = Digest::of(format!("{body:?} {hook:?}").as_bytes());
    let row = DesiredRow {
        id,
        version: "v1".into(),
        body: digest,
        bytes: 100,
        wave,
        options,
        yields: yields.shared(),
        provides: body.provides.clone(),
        scales: None,
        declares_replicas,
        hook: hook.map(Arc::new),
        origin: "test".into(),
    };
    Wanted { row, body }
}

fn phases(types: &str) -> Phases {
    let phase = |word: &str| SyncPhase::read(word).unwrap_or_else(|| panic!("unknown phase {word:?}"));
    types.split(',').filter(|word| *word != "never").map(phase).collect()
}

fn policy(policies: &str) -> DeletePolicy {
    let has = |word| policies.split(',').any(|policy| policy == word);
    DeletePolicy { before_creation: has("before"), succeeded: has("succeeded"), failed: has("failed") }
}

fn number(text: &str) -> u64 {
    let digest = Digest::of(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.0[..8]);
    mix(u64::from_be_bytes(bytes))
}

/// Returns the rendered set of `lines` and teaches the world its bodies.
pub fn desired<'a>(
    world: &mut World,
    app: &str,
    commit: &str,
    lines: impl IntoIterator<Item = &'a str>,
) -> Arc<Desired> {
    let mut rows = Vec::new();
    for line in lines {
        let Wanted { row, body } = wanted(app, line);
        world.bodies.insert(row.body, body);
        rows.push(row);
    }
    rows.sort_by(|a: &DesiredRow, b| a.id.cmp(&b.id));
    let revision = Revision {
        url: "https://git.example/shop".into(),
        reference: "main".into(),
        commit: format!("sha1:{commit}"),
        ..Revision::default()
    };
    let desired = Arc::new(Desired {
        revision,
        assignment: Assignment::default(),
        render: render_digest(&rows),
        rows,
        warnings: Vec::new(),
        listing: Listing::Listed,
        seen_at: world.now,
        fetched: None,
        rendered: None,
    });
    world.sets.insert(desired.render, desired.clone());
    desired
}
