//! Users' expressions: how the kinds of an app say how they are.
//!
//! Beside the observer: what it reads of an object is judged here where the app says how, else by the built-in rules.
//! CEL itself knows no limit of time, so the limits are set before: an expression is short and shallow, no loop stands
//! within a loop, nor what goes through a list without saying so, and what it sees of an object is small.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, MapExpr, StructExpr, operators,
};
use cel::{Context, ExecutionError, Program, Value};
use serde_json::value::RawValue;
use skiff_shared::desired::{Problem, Unrendered};
use skiff_shared::environment::{AppSpec, HealthCheckExprs, ListReason};
use skiff_shared::health::{Assessment, Health};
use skiff_shared::object::{Digest, GroupKind};

/// Bytes of an expression.
const LONGEST: usize = 4_096;

/// Operators, selections and brackets of an expression: each may be another level of the evaluation, which recurses.
const DEEPEST: usize = 256;

/// Bytes of the stack that expressions are read and evaluated on: enough for the deepest, where the stacks of the threads
/// that watch are not.
const STACK: usize = 32 << 20;

/// Comparisons of two values of the object in the loops of an expression: each may go through all of both.
const COMPARISONS: usize = 16;

/// Bytes of an object's spec and status together that are still read.
const LARGEST: usize = 64 * 1_024;

/// Values in both together: what a loop goes through, and what a comparison in it compares.
const MOST_VALUES: usize = 2_000;

/// What an expression may speak of.
const VARIABLES: [&str; 3] = ["metadata", "spec", "status"];

/// An expression that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExprError {
    #[error("the expression {expr:?} is no CEL: {message}")]
    Syntax { expr: String, message: String },
    #[error("the expression {expr:?} names {name:?}: an object has metadata, spec and status")]
    Variable { expr: String, name: String },
    #[error("the expression is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the expression has more than {DEEPEST} operators, dots and brackets: split it, or write less")]
    TooDeep,
    #[error("the expression {expr:?} goes through a list within another: write one after the other")]
    Nested { expr: String },
    #[error(
        "the expression {expr:?} has {what:?} within a loop, which goes through a list or a text each time"
    )]
    Costly { expr: String, what: String },
    #[error("the expression {expr:?} compares more than {COMPARISONS} times two values within loops")]
    Comparisons { expr: String },
}

/// How the kinds of one app say how they are.
#[derive(Debug, Default)]
pub struct HealthChecks {
    kinds: BTreeMap<GroupKind, Check>,
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Check {
    in_progress: Option<Program>,
    failed: Option<Program>,
    current: Program,
}

/// What an expression sees of an object.
pub struct Subject<'a> {
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    pub generation: i64,
    pub labels: &'a BTreeMap<String, String>,
    pub spec: Option<&'a RawValue>,
    pub status: Option<&'a RawValue>,
}

impl HealthChecks {
    /// Compiles the expressions of an app. Fails with everything that is wrong with them.
    pub fn compile(exprs: &[HealthCheckExprs]) -> Result<Self, Vec<Problem>> {
        let (mut kinds, mut problems) = (BTreeMap::new(), Vec::new());
        for HealthCheckExprs { kind, current, in_progress, failed, place } in exprs {
            let mut program = |text: &str| match compile(text) {
                Ok(program) => Some(program),
                Err(error) => {
                    problems.push(Problem { place: place.clone(), message: error.to_string() });
                    None
                }
            };
            let in_progress = in_progress.as_deref().and_then(&mut program);
            let failed = failed.as_deref().and_then(&mut program);
            if let Some(current) = program(current) {
                kinds.insert(kind.clone(), Check { in_progress, failed, current });
            }
        }
        let digest = Some(HealthCheckExprs::digest(exprs));
        if problems.is_empty() { Ok(Self { kinds, digest }) } else { Err(problems) }
    }

    /// Returns how an object is, if the app says how to tell.
    fn assess(&self, kind: &GroupKind, subject: &Subject<'_>) -> Option<Assessment> {
        Some(
            self.kinds
                .get(kind)?
                .assess(subject)
                .unwrap_or_else(|message| Assessment { health: Health::Unknown, message: Some(message) }),
        )
    }
}

/// Compiles the expressions of an app. Fails with everything that is wrong with them: nothing of this app is rendered
/// then, and other apps of the list do not mind.
pub fn health_checks(spec: &AppSpec) -> Result<HealthChecks, Unrendered> {
    let reason = ListReason::InvalidAppList.word();
    HealthChecks::compile(&spec.health_checks).map_err(|problems| Unrendered { reason, problems })
}

/// Does what recurses, on a stack of its own; `None` where that panics or there is no thread for it.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("expression".to_owned()).stack_size(STACK);
        builder.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

fn compile(text: &str) -> Result<Program, ExprError> {
    if text.len() > LONGEST {
        return Err(ExprError::TooLong);
    }
    // Before it is parsed: the parser recurses, too. What stands in quotes is counted, as nobody has read it yet.
    let deepens = |char: &char| char.is_ascii_punctuation() && !matches!(char, ',' | '_' | '\'' | '"');
    if text.chars().filter(deepens).count() > DEEPEST {
        return Err(ExprError::TooDeep);
    }
    // The parser is given what anybody commits.
    on_deep_stack(|| surveyed(text)).unwrap_or_else(|| {
        let message = "it cannot be read".to_owned();
        Err(ExprError::Syntax { expr: text.to_owned(), message })
    })
}

fn surveyed(text: &str) -> Result<Program, ExprError> {
    let program = Program::compile(text).map_err(|error| {
        // The lines after the first one draw the expression, which is named anyway.
        let told = error.to_string();
        let first = told.lines().next().unwrap_or_default().trim_start_matches("ERROR: <input>:");
        ExprError::Syntax { expr: text.to_owned(), message: first.to_owned() }
    })?;
    Survey { text, bound: Vec::new(), in_loop: false, comparisons: 0 }.visit(program.expression())?;
    Ok(program)
}

/// Looks through an expression for what it may not say.
struct Survey<'a> {
    text: &'a str,
    /// The names that loops around the present place give to their items.
    bound: Vec<&'a str>,
    in_loop: bool,
    /// Of two values, within loops.
    comparisons: usize,
}

impl<'a> Survey<'a> {
    fn visit(&mut self, ided: &'a IdedExpr) -> Result<(), ExprError> {
        match &ided.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name)
                if VARIABLES.contains(&name.as_str()) || self.bound.contains(&name.as_str()) =>
            {
                Ok(())
            }
            Expr::Ident(name) => Err(ExprError::Variable { expr: self.text.to_owned(), name: name.clone() }),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Call(call) => {
                if self.in_loop {
                    self.weigh(call)?;
                }
                call.target.iter().map(Box::as_ref).chain(&call.args).try_for_each(|part| self.visit(part))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element)),
            Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => {
                entries.iter().try_for_each(|entry| self.visit_entry(entry))
            }
            Expr::Comprehension(each) => self.visit_loop(each),
        }
    }

    /// Refuses what goes through a list or a text each time that a loop comes to it.
    fn weigh(&mut self, call: &CallExpr) -> Result<(), ExprError> {
        let expr = || self.text.to_owned();
        let has_literal = call.args.iter().any(|part| matches!(part.expr, Expr::Literal(_)));
        // What a loop gathers is added to without being copied.
        let gathers = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name.starts_with('@'));
        let what = match call.func_name.as_str() {
            operators::IN => "in",
            "matches" => "matches",
            operators::ADD if !has_literal && !call.args.iter().any(gathers) => "+",
            operators::EQUALS | operators::NOT_EQUALS | "contains" if !has_literal => {
                self.comparisons += 1;
                let few = self.comparisons <= COMPARISONS;
                return if few { Ok(()) } else { Err(ExprError::Comparisons { expr: expr() }) };
            }
            _ => return Ok(()),
        };
        Err(ExprError::Costly { expr: expr(), what: what.to_owned() })
    }

    fn visit_entry(&mut self, entry: &'a IdedEntryExpr) -> Result<(), ExprError> {
        match &entry.expr {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => self.visit(&entry.key).and_then(|()| self.visit(&entry.value)),
        }
    }

    fn visit_loop(&mut self, each: &'a ComprehensionExpr) -> Result<(), ExprError> {
        // What is gone through may itself come of a loop: that is one after the other.
        self.visit(&each.iter_range)?;
        if self.in_loop {
            return Err(ExprError::Nested { expr: self.text.to_owned() });
        }
        let outside = self.bound.len();
        self.bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
        self.bound.extend(each.iter_var2.as_deref());
        self.in_loop = true;
        let parts = [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result];
        let visited = parts.into_iter().try_for_each(|part| self.visit(part));
        self.in_loop = false;
        self.bound.truncate(outside);
        visited
    }
}

impl Check {
    fn assess(&self, subject: &Subject<'_>) -> Result<Assessment, String> {
        let assessed = on_deep_stack(|| self.judge(subject));
        assessed.unwrap_or_else(|| Err("healthCheckExprs: an expression cannot be evaluated".to_owned()))
    }

    fn judge(&self, subject: &Subject<'_>) -> Result<Assessment, String> {
        let Subject { namespace, name, generation, labels, spec, status } = subject;
        let size = [spec, status].iter().map(|raw| raw.map_or(0, |raw| raw.get().len())).sum::<usize>();
        if size > LARGEST {
            return Err(format!("the object is too large for healthCheckExprs: {size} bytes"));
        }
        let metadata = serde_json::json!({
            "name": name, "namespace": namespace, "generation": generation, "labels": labels,
        });
        let read = |raw: &Option<&RawValue>| match raw {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| error.to_string()),
            None => Ok(serde_json::json!({})),
        };
        let (spec, status): (serde_json::Value, serde_json::Value) = (read(spec)?, read(status)?);
        let values = values_in(&spec) + values_in(&status);
        if values > MOST_VALUES {
            return Err(format!("the object is too large for healthCheckExprs: {values} values"));
        }
        let observed = status.get("observedGeneration").and_then(serde_json::Value::as_i64);
        if observed.is_some_and(|observed| observed < *generation) {
            return Ok(progressing("its controller has not seen the newest generation"));
        }
        let mut context = Context::default();
        for (name, value) in VARIABLES.into_iter().zip([&metadata, &spec, &status]) {
            context.add_variable_from_value(name, value_of(value));
        }
        let holds =
            |program: &Option<&Program>| program.map_or(Ok(false), |program| truth(program, &context));
        if holds(&self.in_progress.as_ref())? {
            return Ok(progressing("inProgress holds"));
        }
        if holds(&self.failed.as_ref())? {
            return Ok(Assessment { health: Health::Degraded, message: Some("failed holds".to_owned()) });
        }
        if holds(&Some(&self.current))? {
            return Ok(Assessment::HEALTHY);
        }
        Ok(progressing("current does not hold yet"))
    }
}

fn progressing(message: &str) -> Assessment {
    Assessment { health: Health::Progressing, message: Some(format!("healthCheckExprs: {message}")) }
}

/// Evaluates an expression. A field that is not there yet means that it does not hold.
fn truth(program: &Program, context: &Context<'_, '_>) -> Result<bool, String> {
    match program.execute(context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(_) => Err("an expression of healthCheckExprs is neither true nor false".to_owned()),
        Err(ExecutionError::NoSuchKey(_)) => Ok(false),
        Err(error) => Err(format!("an expression of healthCheckExprs fails: {error}")),
    }
}

/// Counts the values in a value, itself included.
fn values_in(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::Array(items) => 1 + items.iter().map(values_in).sum::<usize>(),
        serde_json::Value::Object(fields) => 1 + fields.values().map(values_in).sum::<usize>(),
        _ => 1,
    }
}

/// Turns JSON into what expressions compute with: whole numbers are CEL's `int`, whatever their sign.
fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::String(Arc::new(text.clone())),
        serde_json::Value::Array(items) => Value::List(Arc::new(items.iter().map(value_of).collect())),
        serde_json::Value::Object(fields) => {
            let fields: HashMap<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), value_of(value))).collect();
            fields.into()
        }
    }
}

/// The checks of all apps, for those who observe objects.
#[derive(Clone, Default)]
pub struct HealthBook(Arc<RwLock<HashMap<Box<str>, Arc<HealthChecks>>>>);

impl HealthBook {
    /// Takes over an app's checks; returns the kinds that are judged in another way now.
    pub fn set(&self, app: &str, checks: HealthChecks) -> BTreeSet<GroupKind> {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = book.get(app).cloned().unwrap_or_default();
        if before.digest == checks.digest || (before.kinds.is_empty() && checks.kinds.is_empty()) {
            return BTreeSet::new();
        }
        let kinds = before.kinds.keys().chain(checks.kinds.keys()).cloned().collect();
        book.insert(app.into(), Arc::new(checks));
        kinds
    }

    /// Returns how an object of an app is, if the app says how to tell.
    pub fn assess(&self, app: &str, kind: &GroupKind, subject: &Subject<'_>) -> Option<Assessment> {
        let checks = self.0.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
        checks?.assess(kind, subject)
    }
}

#[cfg(test)]
mod tests;
