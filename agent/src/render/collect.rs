//! Takes the documents of a render one at a time and keeps rows; their bodies are on disk when it returns.
//!
//! Documents come in parts: each file of a folder is one, all that a tool prints another. A part says everything that
//! became of its documents, so that one of an earlier render can stand for a file that need not be read again; what
//! comes of all parts together is found in the end, in [`merge`].

mod merge;
mod part;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, PoisonError};

use serde_json::Value;
use skiff_shared::desired::annotations::Role;
use skiff_shared::desired::autoscaler;
use skiff_shared::desired::manifest::{self, Fault, Manifest, Setting, Stray};
use skiff_shared::desired::scope::{self, Scope};
use skiff_shared::desired::yields::Yields;
use skiff_shared::desired::{DesiredRow, ObjectOptions, Problem};
use skiff_shared::environment::substitute::{self, Variables};
use skiff_shared::limits::Address;
use skiff_shared::object::{Digest, GroupKind, ObjectId};
use skiff_shared::yaml;

pub(super) use part::{Listed, Part};
use part::{Numbered, Told};

use super::{FilesRead, Reason, RenderError, Rendered, Request};
use crate::store::{Hold, Store};

/// Problems and warnings that are kept; the rest is counted. A folder with ten thousand of them has one cause.
const KEPT: usize = 100;

/// Namespaces that every cluster has.
const ALWAYS_THERE: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Where the Namespace of `createNamespace` is written.
const CREATED: &str = "createNamespace";

/// Puts an object into the store as it is sent; returns its digest and its length in bytes. `body` is room to write in.
pub(super) fn keep(object: &Value, store: &Store, body: &mut Vec<u8>) -> io::Result<(Digest, u32)> {
    body.clear();
    yaml::to_canonical(object, body);
    Ok((store.put(body)?, u32::try_from(body.len()).unwrap_or(u32::MAX)))
}

pub(super) struct Collector<'a> {
    pub(super) request: &'a Request<'a>,
    store: &'a Store,
    /// What is said to who has a document here that is no object.
    pub(super) way_out: &'static str,
    hold: Hold,
    /// The first is of no file: what a tool prints, and what is said of the folder as a whole.
    parts: Vec<Part>,
    /// The part that documents come from now.
    current: usize,
    /// What the cluster says of kinds, or what is known without it.
    scopes: HashMap<Arc<GroupKind>, Option<Scope>>,
    waiting: Option<Waiting>,
    files: FilesRead,
    documents: usize,
    reason: Option<Reason>,
    problems: Vec<Problem>,
    more_problems: usize,
    body: Vec<u8>,
}

/// Objects whose kind nobody knows without the definitions of the same render, which may follow. They wait in a file,
/// not in memory.
struct Waiting {
    file: File,
    end: u64,
    entries: Vec<Waiter>,
}

struct Waiter {
    part: usize,
    number: u32,
    origin: Arc<str>,
    offset: u64,
    length: usize,
}

/// A checked object on its way to its row.
struct Settled {
    number: u32,
    origin: Arc<str>,
    manifest: Manifest,
    kind: Arc<GroupKind>,
    scope: Option<Scope>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(request: &'a Request<'a>, store: &'a Store) -> Self {
        Self {
            request,
            store,
            way_out: "",
            hold: store.hold(),
            parts: vec![Part::default()],
            current: 0,
            scopes: HashMap::new(),
            waiting: None,
            files: FilesRead::default(),
            documents: 0,
            reason: None,
            problems: Vec::new(),
            more_problems: 0,
            body: Vec::new(),
        }
    }

    /// Begins the part of a file and returns its place.
    pub(super) fn open(&mut self, file: &Listed) -> usize {
        self.files.read += 1;
        self.parts.push(Part::of(file));
        self.current = self.parts.len() - 1;
        self.current
    }

    /// Ends a part: what comes now is of no file.
    pub(super) fn close(&mut self, at: usize) {
        self.parts[at].end();
        self.current = 0;
    }

    /// Begins a part once more, as it has to become something else than before.
    pub(super) fn reopen(&mut self, at: usize) {
        self.files.reused -= 1;
        self.files.read += 1;
        let part = &mut self.parts[at];
        self.documents -= part.documents();
        part.begin_anew();
        self.current = at;
    }

    /// Adds a part of an earlier render, of which [`Self::can_reuse`] said yes.
    pub(super) fn reuse(&mut self, mut part: Part) {
        self.files.reused += 1;
        part.is_used_again();
        self.documents += part.documents();
        self.parts.push(part);
    }

    /// Whether what a file became holds still: the cluster says the same of its kinds, and its bodies are there.
    pub(super) fn can_reuse(&mut self, part: &Part) -> bool {
        // A file with too many objects is read to say at which line.
        self.documents + part.documents() <= self.request.tools.bounds.objects
            && part.kinds().iter().all(|(kind, told)| {
                let scope = self.scope(kind);
                match told {
                    Told::AtOnce(before) => scope == Some(*before),
                    Told::InTheEnd(_) => scope.is_none(),
                }
            })
            && self.store.contains_all(part.rows().iter().map(|numbered| numbered.row.body))
    }

    /// Returns the reused files that become something else now, as the definitions of the render are others.
    pub(super) fn outdated(&self) -> Vec<(usize, Listed)> {
        let provided = self.provided();
        let is_as_before = |(kind, told): &(Arc<GroupKind>, Told)| match told {
            Told::AtOnce(_) => true,
            Told::InTheEnd(before) => {
                let now = provided.get(&**kind).copied();
                now == *before && !(now.is_none() && self.is_undiscovered(kind))
            }
        };
        let parts = self.parts.iter().enumerate();
        let outdated = parts.filter(|(_, part)| part.is_reused() && !part.kinds().iter().all(is_as_before));
        outdated.filter_map(|(at, part)| Some((at, part.file()?))).collect()
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.parts[self.current].warn(warning);
    }

    pub(super) fn problem(&mut self, reason: Reason, place: impl Into<String>, message: impl Into<String>) {
        self.parts[self.current].is_faulty();
        self.reason.get_or_insert(reason);
        if self.problems.len() < KEPT {
            self.problems.push(Problem { place: place.into(), message: message.into() });
        } else {
            self.more_problems += 1;
        }
    }

    /// Adds the problems of an error that need not end the render.
    pub(super) fn refuse(&mut self, error: RenderError) {
        for problem in error.problems {
            self.problem(error.reason, problem.place, problem.message);
        }
    }

    /// Takes a document. Fails only if the agent's own disk does.
    pub(super) fn document(&mut self, value: Value, origin: &str) -> Result<(), RenderError> {
        for value in manifest::explode(value) {
            self.object(value, origin)?;
        }
        Ok(())
    }

    fn object(&mut self, value: Value, origin: &str) -> Result<(), RenderError> {
        self.documents += 1;
        let number = self.parts[self.current].next_number();
        let limit = self.request.tools.bounds.objects;
        if self.documents > limit {
            let message = format!("the app has more than {limit} objects: split it into several apps");
            return Err(RenderError::new(Reason::TooLarge, origin, message));
        }
        let Some(value) = self.completed(value, origin) else { return Ok(()) };
        let manifest = match Manifest::read(value) {
            Ok(manifest) => manifest,
            Err(faults) => {
                for fault in faults {
                    let way_out = match fault {
                        Fault::NotAnObject { .. } => self.way_out,
                        _ => "",
                    };
                    self.problem(Reason::InvalidObject, origin, format!("{fault}{way_out}"));
                }
                return Ok(());
            }
        };
        if !self.is_applied(&manifest, origin) {
            return Ok(());
        }
        if is_definition(&manifest) {
            self.parts[self.current].provide(scope::provides(manifest.written()));
        }
        let kind = self.kind(&manifest);
        let origin = Arc::from(origin);
        match self.scope(&kind) {
            None => self.wait(number, origin, &manifest),
            Some(scope) => {
                self.parts[self.current].tell(&kind, Told::AtOnce(scope));
                self.settle(Settled { number, origin, manifest, kind, scope: Some(scope) })
            }
        }
    }

    /// Puts the cluster's facts into an object, or says what is not known.
    fn completed(&mut self, mut value: Value, origin: &str) -> Option<Value> {
        let Some(facts) = self.request.facts else { return Some(value) };
        let variables = Variables { facts, app: Some(self.request.app) };
        let faults = substitute::object(&mut value, &variables);
        let is_secret = value.get("kind").is_some_and(|kind| kind == "Secret");
        for fault in &faults {
            let error = if is_secret { fault.error.withheld() } else { fault.error.to_string() };
            let message = format!("{}: {}: {error}", manifest::described(&value), fault.field());
            self.problem(Reason::UnknownVariable, origin, message);
        }
        faults.is_empty().then_some(value)
    }

    fn is_applied(&mut self, manifest: &Manifest, origin: &str) -> bool {
        match &manifest.annotated.role {
            Role::Object | Role::Hook(_) => true,
            Role::Never | Role::Skip => false,
            Role::LeftOut(hook) => {
                let object = manifest.described();
                self.warn(format!(
                    "{origin}: {object} is a hook ({hook}) that runs in no phase and is left out"
                ));
                false
            }
        }
    }

    fn kind(&self, manifest: &Manifest) -> Arc<GroupKind> {
        let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
        interner.kind(&manifest.group, &manifest.kind)
    }

    /// Returns the scope of a kind, unless only a definition of this render can tell it.
    fn scope(&mut self, kind: &Arc<GroupKind>) -> Option<Scope> {
        if let Some(scope) = self.scopes.get(kind) {
            return *scope;
        }
        let scope = scope::scope_of(kind, self.request.apis, &BTreeMap::new());
        self.scopes.insert(kind.clone(), scope);
        scope
    }

    /// Returns the kinds that definitions of this render bring; of two for a kind the last one counts.
    fn provided(&self) -> BTreeMap<GroupKind, Scope> {
        self.parts.iter().flat_map(Part::provided).cloned().collect()
    }

    fn is_undiscovered(&self, kind: &GroupKind) -> bool {
        self.request.apis.incomplete.contains(&kind.group)
    }

    fn wait(&mut self, number: u32, origin: Arc<str>, manifest: &Manifest) -> Result<(), RenderError> {
        let failed = |error: io::Error| RenderError::internal("write to the scratch folder", &error);
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                let file = tempfile::tempfile_in(&self.request.tools.scratch).map_err(failed)?;
                self.waiting.insert(Waiting { file, end: 0, entries: Vec::new() })
            }
        };
        self.body.clear();
        serde_json::to_writer(&mut self.body, manifest.written()).expect("writing to memory cannot fail");
        waiting.file.write_all(&self.body).map_err(failed)?;
        let (offset, length) = (waiting.end, self.body.len());
        waiting.end += u64::try_from(length).expect("a length fits 64 bits");
        waiting.entries.push(Waiter { part: self.current, number, origin, offset, length });
        self.parts[self.current].waits();
        Ok(())
    }

    /// Settles the objects whose kind was unknown when they were met, in the order of their documents.
    fn settle_waiting(&mut self) -> Result<(), RenderError> {
        let Some(Waiting { file, mut entries, .. }) = self.waiting.take() else { return Ok(()) };
        let failed = |error: io::Error| RenderError::internal("read from the scratch folder", &error);
        let provided = self.provided();
        entries.sort_by_key(|waiter| (waiter.part, waiter.number));
        let mut text = Vec::new();
        for Waiter { part, number, origin, offset, length } in entries {
            self.current = part;
            text.resize(length, 0);
            file.read_exact_at(&mut text, offset).map_err(failed)?;
            let value = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
            let Ok(manifest) = Manifest::read(value) else { continue };
            let kind = self.kind(&manifest);
            let scope = provided.get(&*kind).copied();
            if scope.is_none() && self.is_undiscovered(&kind) {
                let message = format!(
                    "{}: whether {kind} is namespaced is unknown: the API group cannot be discovered at the moment",
                    manifest.described()
                );
                self.problem(Reason::DiscoveryIncomplete, &*origin, message);
                continue;
            }
            self.parts[part].tell(&kind, Told::InTheEnd(scope));
            self.settle(Settled { number, origin, manifest, kind, scope })?;
            self.parts[part].waited();
        }
        self.current = 0;
        Ok(())
    }

    /// Writes an object's body and keeps its row.
    fn settle(&mut self, settled: Settled) -> Result<(), RenderError> {
        let Settled { number, origin, manifest, kind, scope } = settled;
        let setting = self.setting(scope);
        let (namespace, stray) = match manifest.placed(&setting) {
            Ok(placed) => placed,
            Err(fault) => {
                self.problem(Reason::InvalidObject, &*origin, fault.to_string());
                return Ok(());
            }
        };
        if let Stray::Namespace(stray) = stray {
            let object = manifest.described();
            self.warn(format!(
                "{origin}: {object} has no namespace, as its kind has none: {stray:?} is left out"
            ));
        }
        let address = Address { kind: &kind, namespace: namespace.as_deref(), name: &manifest.name };
        if !self.is_within_limits(address, &manifest.described(), &origin) {
            return Ok(());
        }
        for warning in &manifest.annotated.warnings {
            self.warn(format!("{origin}: {}: {warning}", manifest.described()));
        }
        let provides = is_definition(&manifest).then(|| scope::provides(manifest.written())).flatten();
        let (id, version, provides) = {
            let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
            let namespace = namespace.as_deref().map(|namespace| interner.string(namespace));
            let provides = provides.map(|(kind, _)| interner.kind(&kind.group, &kind.kind));
            (ObjectId::new(kind, namespace, &manifest.name), interner.string(&manifest.version), provides)
        };
        let (wave, options) = (manifest.annotated.wave, manifest.annotated.options);
        let hook = match manifest.annotated.role {
            Role::Hook(hook) => Some(Arc::new(hook)),
            _ => None,
        };
        let yields = self.yields_of(&id, &manifest);
        let scales = self.scaled_by(&id, &manifest);
        let declares_replicas = autoscaler::declares_replicas(manifest.written());
        let sent = manifest.into_sent(namespace.as_deref(), &setting);
        let (body, bytes) = self.keep(&sent)?;
        let row = DesiredRow {
            id,
            version,
            body,
            bytes,
            wave,
            options,
            yields,
            provides,
            scales,
            declares_replicas,
            hook,
            origin,
        };
        self.parts[self.current].add(Numbered { number, row });
        Ok(())
    }

    /// Returns what the app and the object's own annotation leave to others.
    fn yields_of(&self, id: &ObjectId, manifest: &Manifest) -> Option<Arc<Yields>> {
        let mut yields = manifest.annotated.yields.clone();
        for rule in self.request.ignore_differences.iter().filter(|rule| rule.matches(id)) {
            yields.extend(&rule.yields);
        }
        yields.shared()
    }

    /// Returns the object that an autoscaler scales.
    fn scaled_by(&self, id: &ObjectId, manifest: &Manifest) -> Option<ObjectId> {
        let target = autoscaler::target(id, manifest.written().get("spec")?)?;
        let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
        Some(interner.object(target.group, target.kind, id.namespace(), target.name))
    }

    fn is_within_limits(&mut self, address: Address<'_>, object: &str, origin: &str) -> bool {
        let refusals = self.request.limits.object(address);
        for refusal in &refusals {
            self.problem(Reason::OutsideLimits, origin, format!("{object}: {refusal}"));
        }
        refusals.is_empty()
    }

    fn setting(&self, scope: Option<Scope>) -> Setting<'a> {
        let Request { instance, app, namespace, .. } = *self.request;
        Setting { instance, app, namespace, scope }
    }

    fn keep(&mut self, sent: &Value) -> Result<(Digest, u32), RenderError> {
        keep(sent, self.store, &mut self.body).map_err(|error| RenderError::internal("keep a body", &error))
    }

    /// Ends the render as its walk ended; returns also the parts, for the next one.
    pub(super) fn finish(
        mut self,
        walked: Result<(), RenderError>,
    ) -> (Result<Rendered, RenderError>, Vec<Part>) {
        let ended = walked.and_then(|()| self.settle_waiting()).and_then(|()| self.merge());
        let result = ended.and_then(|merged| {
            if self.more_problems > 0 {
                let message = format!("and {} more problems", self.more_problems);
                self.problems.push(Problem { place: String::new(), message });
            }
            match self.reason {
                Some(reason) => Err(RenderError { reason, problems: self.problems }),
                None => {
                    let (rows, warnings) = merged;
                    let changing = Vec::new();
                    Ok(Rendered { rows, warnings, changing, hold: self.hold, files: self.files })
                }
            }
        });
        (result, self.parts)
    }

    /// Returns the app's namespace as an object if `createNamespace` asks for it and the render does not bring it.
    fn created_namespace(&mut self, rows: &[DesiredRow]) -> Result<Option<DesiredRow>, RenderError> {
        let asked = self.request.namespace.filter(|_| self.request.create_namespace);
        let Some(name) = asked.filter(|name| !ALWAYS_THERE.contains(name)) else { return Ok(None) };
        let id = {
            let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
            interner.object("", "Namespace", None, name)
        };
        if rows.binary_search_by(|row| row.id.cmp(&id)).is_ok() {
            return Ok(None);
        }
        let address = Address { kind: id.kind(), namespace: None, name };
        if !self.is_within_limits(address, &id.to_string(), CREATED) {
            return Ok(None);
        }
        let value = {
            let setting = self.setting(Some(Scope::Cluster));
            manifest::namespace_object(name, self.request.namespace_metadata, &setting)
        };
        let (body, bytes) = self.keep(&value)?;
        let options = ObjectOptions { keep: true, ..ObjectOptions::default() };
        let version = Arc::from("v1");
        Ok(Some(DesiredRow {
            id,
            version,
            body,
            bytes,
            wave: 0,
            options,
            yields: None,
            provides: None,
            scales: None,
            declares_replicas: false,
            hook: None,
            origin: CREATED.into(),
        }))
    }
}

fn is_definition(manifest: &Manifest) -> bool {
    manifest.group == "apiextensions.k8s.io" && manifest.kind == "CustomResourceDefinition"
}
