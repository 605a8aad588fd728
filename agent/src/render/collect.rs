//! Takes the documents of a render one at a time and keeps rows; their bodies are on disk when it returns.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, PoisonError};

use serde_json::Value;
use skiff_shared::desired::annotations::Role;
use skiff_shared::desired::manifest::{self, Fault, Manifest, Setting, Stray};
use skiff_shared::desired::scope::{self, Scope};
use skiff_shared::desired::{DesiredRow, ObjectOptions, Problem};
use skiff_shared::environment::substitute::{self, Variables};
use skiff_shared::limits::Address;
use skiff_shared::object::{GroupKind, ObjectId};
use skiff_shared::yaml;

use super::{OnDuplicate, Reason, RenderError, Rendered, Request};
use crate::store::{Hold, Store};

/// Problems and warnings that are kept; the rest is counted. A folder with ten thousand of them has one cause.
const KEPT: usize = 100;

/// Namespaces that every cluster has.
const ALWAYS_THERE: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Where the Namespace of `createNamespace` is written.
const CREATED: &str = "createNamespace";

pub(super) struct Collector<'a> {
    pub(super) request: &'a Request<'a>,
    store: &'a Store,
    /// What is said to who has a document here that is no object.
    pub(super) way_out: &'static str,
    hold: Hold,
    rows: HashMap<ObjectId, Numbered>,
    /// Kinds that CustomResourceDefinitions of this render bring.
    provided: BTreeMap<GroupKind, Scope>,
    waiting: Option<Waiting>,
    documents: usize,
    reason: Option<Reason>,
    problems: Vec<Problem>,
    more_problems: usize,
    warnings: Vec<String>,
    more_warnings: usize,
    body: Vec<u8>,
}

/// A row with its place in the order of the documents, which decides between duplicates.
struct Numbered {
    number: usize,
    row: DesiredRow,
}

/// Objects whose kind nobody knew yet when they were met: a definition may follow. They wait in a file, not in memory.
struct Waiting {
    file: File,
    entries: Vec<Waiter>,
}

struct Waiter {
    number: usize,
    origin: Arc<str>,
    length: usize,
}

/// A checked object on its way to its row.
struct Settled {
    number: usize,
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
            rows: HashMap::new(),
            provided: BTreeMap::new(),
            waiting: None,
            documents: 0,
            reason: None,
            problems: Vec::new(),
            more_problems: 0,
            warnings: Vec::new(),
            more_warnings: 0,
            body: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < KEPT {
            self.warnings.push(warning);
        } else {
            self.more_warnings += 1;
        }
    }

    pub(super) fn problem(&mut self, reason: Reason, place: impl Into<String>, message: impl Into<String>) {
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
        self.learn(&manifest);
        let kind = self.kind(&manifest);
        let scope = scope::scope_of(&kind, self.request.apis, &self.provided);
        let (number, origin) = (self.documents, Arc::from(origin));
        if scope.is_none() {
            return self.wait(number, origin, &manifest);
        }
        self.settle(Settled { number, origin, manifest, kind, scope })
    }

    /// Puts the cluster's facts into an object, or says what is not known.
    fn completed(&mut self, mut value: Value, origin: &str) -> Option<Value> {
        let Some(facts) = self.request.facts else { return Some(value) };
        let variables = Variables { facts, app: Some(self.request.app) };
        let faults = substitute::object(&mut value, &variables);
        for fault in &faults {
            let message = format!("{}: {}: {}", manifest::described(&value), fault.field(), fault.error);
            self.problem(Reason::UnknownVariable, origin, message);
        }
        faults.is_empty().then_some(value)
    }

    fn is_applied(&mut self, manifest: &Manifest, origin: &str) -> bool {
        match &manifest.annotated.role {
            Role::Object => true,
            Role::Test | Role::Skip => false,
            Role::Hook(hook) => {
                let object = manifest.described();
                self.warn(format!(
                    "{origin}: {object} is a hook ({hook}) and left out: hooks are not run yet; without the annotation it is applied as an ordinary object"
                ));
                false
            }
        }
    }

    /// Remembers the kind that a definition brings.
    fn learn(&mut self, manifest: &Manifest) {
        if is_definition(manifest)
            && let Some((kind, scope)) = scope::provides(manifest.written())
        {
            self.provided.insert(kind, scope);
        }
    }

    fn kind(&self, manifest: &Manifest) -> Arc<GroupKind> {
        let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
        interner.kind(&manifest.group, &manifest.kind)
    }

    fn wait(&mut self, number: usize, origin: Arc<str>, manifest: &Manifest) -> Result<(), RenderError> {
        let failed = |error: io::Error| RenderError::internal("write to the scratch folder", &error);
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                let file = tempfile::tempfile_in(&self.request.tools.scratch).map_err(failed)?;
                self.waiting.insert(Waiting { file, entries: Vec::new() })
            }
        };
        self.body.clear();
        serde_json::to_writer(&mut self.body, manifest.written()).expect("writing to memory cannot fail");
        waiting.file.write_all(&self.body).map_err(failed)?;
        waiting.entries.push(Waiter { number, origin, length: self.body.len() });
        Ok(())
    }

    /// Settles the objects whose kind was unknown when they were met.
    fn settle_waiting(&mut self) -> Result<(), RenderError> {
        let Some(Waiting { mut file, entries }) = self.waiting.take() else { return Ok(()) };
        let failed = |error: io::Error| RenderError::internal("read from the scratch folder", &error);
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut text = Vec::new();
        for Waiter { number, origin, length } in entries {
            text.resize(length, 0);
            file.read_exact(&mut text).map_err(failed)?;
            let value = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
            let Ok(manifest) = Manifest::read(value) else { continue };
            let kind = self.kind(&manifest);
            let scope = scope::scope_of(&kind, self.request.apis, &self.provided);
            if scope.is_none() && self.request.apis.incomplete.contains(&kind.group) {
                let message = format!(
                    "{}: whether {kind} is namespaced is unknown: the API group cannot be discovered at the moment",
                    manifest.described()
                );
                self.problem(Reason::DiscoveryIncomplete, &*origin, message);
                continue;
            }
            self.settle(Settled { number, origin, manifest, kind, scope })?;
        }
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
        let sent = manifest.into_sent(namespace.as_deref(), &setting);
        let (body, bytes) = self.keep(&sent)?;
        self.add(number, DesiredRow { id, version, body, bytes, wave, options, provides, origin });
        Ok(())
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

    fn keep(&mut self, sent: &Value) -> Result<(skiff_shared::object::Digest, u32), RenderError> {
        self.body.clear();
        yaml::to_canonical(sent, &mut self.body);
        let digest =
            self.store.put(&self.body).map_err(|error| RenderError::internal("keep a body", &error))?;
        Ok((digest, u32::try_from(self.body.len()).unwrap_or(u32::MAX)))
    }

    fn add(&mut self, number: usize, row: DesiredRow) {
        let Some(other) = self.rows.get(&row.id) else {
            self.rows.insert(row.id.clone(), Numbered { number, row });
            return;
        };
        let is_later = number > other.number;
        let (first, last) =
            if is_later { (&*other.row.origin, &*row.origin) } else { (&*row.origin, &*other.row.origin) };
        let twice = format!("{} is declared twice: {first} and {last}", row.id);
        if row.body == other.row.body {
            self.warn(format!("{twice}; the two are the same: remove one"));
            return;
        }
        match self.request.on_duplicate {
            OnDuplicate::Refuse => {
                let place = last.to_owned();
                self.problem(Reason::DuplicateObject, place, format!("{twice}, and they differ: remove one"));
            }
            OnDuplicate::LastWins => {
                self.warn(format!("{twice}, and they differ: the last one is taken; remove the other"));
                if is_later {
                    self.rows.insert(row.id.clone(), Numbered { number, row });
                }
            }
        }
    }

    /// Adds the app's namespace if `createNamespace` asks for it and the render does not bring it.
    fn create_namespace(&mut self) -> Result<(), RenderError> {
        let Some(name) = self.request.namespace.filter(|_| self.request.create_namespace) else {
            return Ok(());
        };
        let id = {
            let mut interner = self.request.interner.lock().unwrap_or_else(PoisonError::into_inner);
            interner.object("", "Namespace", None, name)
        };
        if ALWAYS_THERE.contains(&name) || self.rows.contains_key(&id) {
            return Ok(());
        }
        let address = Address { kind: id.kind(), namespace: None, name };
        if !self.is_within_limits(address, &id.to_string(), CREATED) {
            return Ok(());
        }
        let value = manifest::namespace_object(name, &self.setting(Some(Scope::Cluster)));
        let (body, bytes) = self.keep(&value)?;
        let options = ObjectOptions { keep: true, ..ObjectOptions::default() };
        let version = Arc::from("v1");
        let row =
            DesiredRow { id, version, body, bytes, wave: 0, options, provides: None, origin: CREATED.into() };
        self.add(self.documents, row);
        Ok(())
    }

    /// Ends the render.
    pub(super) fn finish(mut self) -> Result<Rendered, RenderError> {
        self.settle_waiting()?;
        self.create_namespace()?;
        if self.more_warnings > 0 {
            self.warnings.push(format!("and {} more warnings", self.more_warnings));
        }
        if self.more_problems > 0 {
            let message = format!("and {} more problems", self.more_problems);
            self.problems.push(Problem { place: String::new(), message });
        }
        if let Some(reason) = self.reason {
            return Err(RenderError { reason, problems: self.problems });
        }
        let mut rows: Vec<DesiredRow> = self.rows.into_values().map(|numbered| numbered.row).collect();
        rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(Rendered { rows, warnings: self.warnings, hold: self.hold })
    }
}

fn is_definition(manifest: &Manifest) -> bool {
    manifest.group == "apiextensions.k8s.io" && manifest.kind == "CustomResourceDefinition"
}
