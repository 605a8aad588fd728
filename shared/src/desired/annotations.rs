//! What an object's annotations ask of Skiff: its wave, its options and whether it is applied at all.
//!
//! Between a rendered document and its row. Argo CD's, Flux's and Helm's annotations are honoured beside our own;
//! ours win. Nothing is ignored silently: what is unknown, misspelt or not supported yet becomes a warning.

mod hook;

use serde_json::{Map, Value};

use super::yields::{Field, Yields};
use super::{ApplyWhen, ObjectOptions, Propagation};
use crate::hook::Hook;

const WAVE: &str = "skiff.dev/wave";
const PRUNE: &str = "skiff.dev/prune";
const IGNORE_HEALTH: &str = "skiff.dev/ignore-health";
const SKIP_DRY_RUN: &str = "skiff.dev/skip-dry-run";
const APPLY: &str = "skiff.dev/apply";
const DELETE: &str = "skiff.dev/delete";
const PRUNE_PROPAGATION: &str = "skiff.dev/prune-propagation";
const IGNORE_EXTRANEOUS: &str = "skiff.dev/ignore-extraneous";
const FORCE: &str = "skiff.dev/force";
const IGNORE_DIFFERENCES: &str = "skiff.dev/ignore-differences";
const HOOK: &str = "skiff.dev/hook";
const HOOK_DELETE: &str = "skiff.dev/hook-delete-policy";
const SUBSTITUTE: &str = "skiff.dev/substitute";
/// On a live object: it is not healed until then. RFC 3339.
pub const HOLD_UNTIL: &str = "skiff.dev/hold-until";
/// Flux's word: in Git and on a live object, it is left alone.
pub const FLUX_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
const OURS: &str = "skiff.dev/";

const ARGO_WAVE: &str = "argocd.argoproj.io/sync-wave";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const ARGO_HOOK_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";
const ARGO_OPTIONS: &str = "argocd.argoproj.io/sync-options";
const ARGO_COMPARE: &str = "argocd.argoproj.io/compare-options";
const ARGO_IGNORE_HEALTH: &str = "argocd.argoproj.io/ignore-healthcheck";

const HELM_HOOK: &str = "helm.sh/hook";
const HELM_HOOK_DELETE: &str = "helm.sh/hook-delete-policy";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const HELM_POLICY: &str = "helm.sh/resource-policy";

const FLUX_PRUNE: &str = "kustomize.toolkit.fluxcd.io/prune";
const FLUX_SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
const FLUX_FORCE: &str = "kustomize.toolkit.fluxcd.io/force";
const FLUX_SUBSTITUTE: &str = "kustomize.toolkit.fluxcd.io/substitute";
const FLUX: &str = "kustomize.toolkit.fluxcd.io/";

/// What is read elsewhere here, so that it is not unknown.
const KNOWN: [&str; 18] = [
    WAVE,
    PRUNE,
    DELETE,
    IGNORE_HEALTH,
    SKIP_DRY_RUN,
    APPLY,
    PRUNE_PROPAGATION,
    IGNORE_EXTRANEOUS,
    FORCE,
    IGNORE_DIFFERENCES,
    HOLD_UNTIL,
    HOOK,
    HOOK_DELETE,
    SUBSTITUTE,
    FLUX_PRUNE,
    FLUX_SSA,
    FLUX_FORCE,
    FLUX_RECONCILE,
];

/// What annotations make of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Annotated {
    pub wave: i32,
    pub options: ObjectOptions,
    pub role: Role,
    /// Fields of it that are left to others.
    pub yields: Yields,
    /// What could not be honoured, without the object's name.
    pub warnings: Vec<String>,
}

/// Whether an object is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// It is applied with the others.
    #[default]
    Object,
    /// It runs once in each release.
    Hook(Hook),
    /// A test of `helm test`, or a hook of Helm's rollback: never a part of the app.
    Never,
    /// `hook: Skip`: it asks not to be applied.
    Skip,
    /// A hook, as written, whose types nobody knows: it is told that it is left out.
    LeftOut(String),
}

/// Reads the annotations of an object, whose values were checked to be text.
pub fn read(annotations: &Map<String, Value>) -> Annotated {
    let mut reader = Reader { annotations, result: Annotated::default() };
    reader.role();
    reader.wave();
    reader.prune();
    reader.health();
    reader.force();
    reader.apply();
    reader.propagation();
    reader.extraneous();
    reader.yields();
    reader.substitution();
    reader.argo_options();
    reader.unknown();
    reader.result
}

/// Says whether an object asks that no variables are completed in it: by our annotation, or as Flux has it, by an
/// annotation or a label.
pub fn refuses_substitution(object: &Value) -> bool {
    let marks =
        ["annotations", "labels"].into_iter().filter_map(|field| object["metadata"][field].as_object());
    marks.into_iter().any(|marks| {
        let values = [SUBSTITUTE, FLUX_SUBSTITUTE].into_iter().filter_map(|key| marks.get(key)?.as_str());
        values.into_iter().any(|value| value.eq_ignore_ascii_case("disabled"))
    })
}

struct Reader<'a> {
    annotations: &'a Map<String, Value>,
    result: Annotated,
}

impl<'a> Reader<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.annotations.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }

    fn warn(&mut self, warning: String) {
        self.result.warnings.push(warning);
    }

    fn unknown_value(&mut self, key: &str, value: &str, allowed: &str) {
        self.warn(format!(
            "annotation {key} has the unknown value {value:?} and is ignored: write {allowed}"
        ));
    }

    fn role(&mut self) {
        let policies = match self.text(HOOK_DELETE) {
            Some(own) => [Some(own), None],
            None => [self.text(ARGO_HOOK_DELETE), self.text(HELM_HOOK_DELETE)],
        };
        let own = self.text(HOOK).or_else(|| self.text(ARGO_HOOK));
        let words = hook::Words { hook: own, helm: self.text(HELM_HOOK), policies };
        let (role, unknown) = hook::read(&words);
        self.result.role = role;
        for (word, allowed) in unknown {
            self.warn(format!(
                "hook annotations have the unknown word {word:?}, which is ignored: write {allowed}"
            ));
        }
    }

    fn wave(&mut self) {
        for key in [WAVE, ARGO_WAVE, HELM_WEIGHT] {
            let Some(text) = self.text(key) else { continue };
            match text.parse() {
                Ok(wave) => {
                    self.result.wave = wave;
                    return;
                }
                Err(_) => self.unknown_value(key, text, "a whole number"),
            }
        }
    }

    fn prune(&mut self) {
        match self.text(PRUNE) {
            None | Some("enabled") => {}
            Some("disabled") => self.result.options.keep = true,
            Some("confirm") => self.result.options.confirm_prune = true,
            Some(other) => self.unknown_value(PRUNE, other, "enabled, disabled or confirm"),
        }
        match self.text(DELETE) {
            None | Some("enabled") => {}
            Some("disabled") => self.result.options.outlives = true,
            Some("confirm") => self.result.options.confirm_delete = true,
            Some(other) => self.unknown_value(DELETE, other, "enabled, disabled or confirm"),
        }
        match self.text(FLUX_PRUNE) {
            Some(value) if value.eq_ignore_ascii_case("disabled") => self.result.options.keep = true,
            Some(value) if !value.eq_ignore_ascii_case("enabled") => {
                self.unknown_value(FLUX_PRUNE, value, "enabled or disabled");
            }
            _ => {}
        }
        match self.text(HELM_POLICY) {
            Some(value) if value.eq_ignore_ascii_case("keep") => self.result.options.keep = true,
            Some(other) => self.unknown_value(HELM_POLICY, other, "keep"),
            None => {}
        }
    }

    fn health(&mut self) {
        self.result.options.ignore_health = self.flag(IGNORE_HEALTH) || self.flag(ARGO_IGNORE_HEALTH);
        self.result.options.skip_dry_run = self.flag(SKIP_DRY_RUN);
    }

    /// `Force` of Argo CD is read with its other options.
    fn force(&mut self) {
        for key in [FORCE, FLUX_FORCE] {
            match self.text(key) {
                Some(value) if value.eq_ignore_ascii_case("enabled") => self.result.options.recreate = true,
                Some(value) if !value.eq_ignore_ascii_case("disabled") => {
                    self.unknown_value(key, value, "enabled or disabled");
                }
                _ => {}
            }
        }
    }

    fn apply(&mut self) {
        let apply = &mut self.result.options.apply;
        match self.annotations.get(FLUX_RECONCILE).and_then(Value::as_str).map(str::trim) {
            Some(value) if value.eq_ignore_ascii_case("disabled") => *apply = ApplyWhen::Never,
            Some(value) if !value.is_empty() && !value.eq_ignore_ascii_case("enabled") => {
                self.unknown_value(FLUX_RECONCILE, value, "enabled or disabled");
            }
            _ => {}
        }
        let flux = [
            ("override", ApplyWhen::Always),
            ("merge", ApplyWhen::Merge),
            ("ifnotpresent", ApplyWhen::Once),
            ("ignore", ApplyWhen::Never),
        ];
        let ours = [
            ("always", ApplyWhen::Always),
            ("merge", ApplyWhen::Merge),
            ("once", ApplyWhen::Once),
            ("never", ApplyWhen::Never),
        ];
        // The last one wins.
        for (key, words, allowed) in [
            (FLUX_SSA, flux, "Override, Merge, IfNotPresent or Ignore"),
            (APPLY, ours, "always, merge, once or never"),
        ] {
            let Some(text) = self.text(key) else { continue };
            match words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)) {
                Some((_, apply)) => self.result.options.apply = *apply,
                None => self.unknown_value(key, text, allowed),
            }
        }
    }

    fn propagation(&mut self) {
        let Some(text) = self.text(PRUNE_PROPAGATION) else { return };
        match propagation(text) {
            Some(found) => self.result.options.propagation = Some(found),
            None => self.unknown_value(PRUNE_PROPAGATION, text, "background, foreground or orphan"),
        }
    }

    fn extraneous(&mut self) {
        self.result.options.ignore_extraneous = self.flag(IGNORE_EXTRANEOUS);
        let Some(text) = self.text(ARGO_COMPARE) else { return };
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("IgnoreExtraneous", "" | "true") => self.result.options.ignore_extraneous = true,
                // Drift is read from managedFields: nothing is compared, on no side.
                ("ServerSideDiff" | "IncludeMutationWebhook" | "IgnoreExtraneous", _) => {}
                _ => self.warn(format!("{ARGO_COMPARE}: {option:?} is unknown and ignored")),
            }
        }
    }

    fn yields(&mut self) {
        let Some(text) = self.text(IGNORE_DIFFERENCES) else { return };
        for text in text.split([',', '\n']).map(str::trim).filter(|text| !text.is_empty()) {
            match Field::parse(text) {
                Ok(field) => _ = self.result.yields.fields.insert(field),
                Err(error) => self.warn(format!("annotation {IGNORE_DIFFERENCES}: {error}")),
            }
        }
    }

    /// Whether it is honoured was decided before: here its spelling is checked.
    fn substitution(&mut self) {
        if let Some(value) = self.text(SUBSTITUTE)
            && !matches!(value, "enabled" | "disabled")
        {
            self.unknown_value(SUBSTITUTE, value, "enabled or disabled");
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.text(key) {
            Some("true") => true,
            None | Some("false") => false,
            Some(other) => {
                self.unknown_value(key, other, "\"true\" or \"false\"");
                false
            }
        }
    }

    fn argo_options(&mut self) {
        let Some(text) = self.text(ARGO_OPTIONS) else { return };
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            self.argo_option(option);
        }
    }

    fn argo_option(&mut self, option: &str) {
        if let Some(value) = option.strip_prefix("PrunePropagationPolicy=") {
            match propagation(value) {
                // Our own spelling wins.
                Some(found) => _ = self.result.options.propagation.get_or_insert(found),
                None => self.warn(format!("{ARGO_OPTIONS}: {option:?} is unknown and ignored")),
            }
            return;
        }
        let options = &mut self.result.options;
        match option {
            "Prune=false" => options.keep = true,
            "Prune=confirm" => options.confirm_prune = true,
            "Delete=false" => options.outlives = true,
            "Delete=confirm" => options.confirm_delete = true,
            "SkipDryRunOnMissingResource=true" => options.skip_dry_run = true,
            "Force=true" => options.recreate = true,
            _ if has_no_effect(option) => {}
            _ => self.warn(format!("{ARGO_OPTIONS}: {option:?} is unknown and ignored")),
        }
    }

    fn unknown(&mut self) {
        for key in self.annotations.keys() {
            let known = KNOWN.contains(&key.as_str());
            if known {
                continue;
            }
            if key.starts_with(OURS) {
                self.warn(format!("annotation {key} is unknown and ignored"));
            } else if key.starts_with(FLUX) && !is_of_flux_alone(key) {
                self.warn(format!(
                    "annotation {key} is not supported yet: the object is applied all the same"
                ));
            }
        }
    }
}

fn propagation(word: &str) -> Option<Propagation> {
    let all = [Propagation::Background, Propagation::Foreground, Propagation::Orphan];
    all.into_iter().find(|propagation| propagation.word().eq_ignore_ascii_case(word))
}

/// Returns whether an option of Argo CD asks for what happens anyway, or concerns what Skiff does not do.
fn has_no_effect(option: &str) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match name {
        "Prune" | "Delete" => value == "true",
        // What is sent is never larger than the API server takes, and others keep what they have set.
        "Replace" => matches!(value, "true" | "false"),
        "Force" | "SkipDryRunOnMissingResource" => value == "false",
        // Objects are always applied server-side, always last to be pruned, and checked by a dry run.
        "ServerSideApply" | "ClientSideApplyMigration" | "PruneLast" | "Validate" => true,
        "ApplyOutOfSyncOnly" | "RespectIgnoreDifferences" => true,
        _ => false,
    }
}

/// Flux writes some of its annotations itself; these change nothing.
fn is_of_flux_alone(key: &str) -> bool {
    matches!(key.strip_prefix(FLUX), Some("checksum" | "substitute"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hook::SyncPhase;

    fn annotated(annotations: Value) -> Annotated {
        let Value::Object(map) = annotations else { panic!("annotations are a mapping") };
        read(&map)
    }

    #[test]
    fn object_without_annotations_gets_the_defaults() {
        assert_eq!(annotated(json!({})), Annotated::default());
    }

    #[test]
    fn own_wave_wins_over_argo_and_helm() {
        let all = json!({ WAVE: "3", ARGO_WAVE: "-2", HELM_WEIGHT: "7" });
        assert_eq!(annotated(all).wave, 3);
        assert_eq!(annotated(json!({ ARGO_WAVE: "-2", HELM_WEIGHT: "7" })).wave, -2);
        assert_eq!(annotated(json!({ HELM_WEIGHT: "7" })).wave, 7);
    }

    #[test]
    fn wave_that_is_no_number_is_named() {
        let result = annotated(json!({ ARGO_WAVE: "first" }));
        assert_eq!(result.wave, 0);
        insta::assert_snapshot!(result.warnings.join("\n"), @r#"annotation argocd.argoproj.io/sync-wave has the unknown value "first" and is ignored: write a whole number"#);
    }

    #[test]
    fn every_spelling_of_keep_keeps() {
        for keep in [
            json!({ PRUNE: "disabled" }),
            json!({ FLUX_PRUNE: "Disabled" }),
            json!({ HELM_POLICY: "keep" }),
            json!({ ARGO_OPTIONS: "Validate=false, Prune=false" }),
        ] {
            let result = annotated(keep);
            assert!(result.options.keep);
            assert_eq!(result.warnings, Vec::<String>::new());
        }
    }

    #[test]
    fn other_options_are_read_in_both_spellings() {
        let argo = json!({
            ARGO_OPTIONS: "Prune=confirm,Delete=confirm,SkipDryRunOnMissingResource=true,Force=true",
            ARGO_IGNORE_HEALTH: "true",
        });
        let ours = json!({
            PRUNE: "confirm", DELETE: "confirm", SKIP_DRY_RUN: "true", IGNORE_HEALTH: "true", FORCE: "enabled",
        });
        let wanted = ObjectOptions {
            keep: false,
            confirm_prune: true,
            confirm_delete: true,
            ignore_health: true,
            skip_dry_run: true,
            recreate: true,
            ..ObjectOptions::default()
        };
        assert_eq!(annotated(argo).options, wanted);
        assert_eq!(annotated(ours).options, wanted);
    }

    #[test]
    fn what_stays_when_its_app_is_deleted_is_pruned_all_the_same() {
        for outlives in [json!({ DELETE: "disabled" }), json!({ ARGO_OPTIONS: "Delete=false" })] {
            let options = ObjectOptions { outlives: true, ..ObjectOptions::default() };
            assert_eq!(annotated(outlives), Annotated { options, ..Annotated::default() });
        }
        assert_eq!(annotated(json!({ ARGO_OPTIONS: "Delete=true" })), Annotated::default());
        assert_eq!(annotated(json!({ ARGO_OPTIONS: "Delete=never" })).warnings.len(), 1);
    }

    #[test]
    fn replace_alone_recreates_nothing() {
        assert_eq!(annotated(json!({ ARGO_OPTIONS: "Replace=true" })), Annotated::default());
        assert!(annotated(json!({ ARGO_OPTIONS: "Replace=true,Force=true" })).options.recreate);
    }

    #[test]
    fn fields_are_left_to_others_by_annotation() {
        let result = annotated(json!({ IGNORE_DIFFERENCES: "/spec/replicas, .data.key\n/kind" }));
        assert_eq!(result.yields.to_string(), "/data/key, /spec/replicas");
        insta::assert_snapshot!(result.warnings.join("\n"), @r#"annotation skiff.dev/ignore-differences: "/kind" cannot be left to others: Skiff finds the object by it"#);
    }

    #[test]
    fn when_an_object_is_applied_is_read_in_both_spellings() {
        let apply = |annotations| {
            let result = annotated(annotations);
            assert_eq!(result.warnings, Vec::<String>::new());
            result.options.apply
        };
        assert_eq!(apply(json!({ FLUX_SSA: "Override" })), ApplyWhen::Always);
        for (ours, flux, wanted) in [
            ("merge", "Merge", ApplyWhen::Merge),
            ("once", "IfNotPresent", ApplyWhen::Once),
            ("never", "Ignore", ApplyWhen::Never),
        ] {
            assert_eq!(apply(json!({ APPLY: ours })), wanted);
            assert_eq!(apply(json!({ FLUX_SSA: flux })), wanted);
        }
        assert_eq!(apply(json!({ FLUX_RECONCILE: "disabled" })), ApplyWhen::Never);
        assert_eq!(
            apply(json!({ FLUX_RECONCILE: "enabled", FLUX_SSA: "Ignore", APPLY: "always" })),
            ApplyWhen::Always
        );
    }

    #[test]
    fn how_an_object_is_deleted_is_read_in_both_spellings() {
        let propagation = |annotations| annotated(annotations).options.propagation;
        let argo = json!({ ARGO_OPTIONS: "PrunePropagationPolicy=foreground" });
        assert_eq!(propagation(argo), Some(Propagation::Foreground));
        assert_eq!(propagation(json!({ PRUNE_PROPAGATION: "orphan" })), Some(Propagation::Orphan));
        let both = json!({ PRUNE_PROPAGATION: "background", ARGO_OPTIONS: "PrunePropagationPolicy=orphan" });
        assert_eq!(propagation(both), Some(Propagation::Background));
    }

    #[test]
    fn extraneous_objects_are_ignored_in_both_spellings() {
        let ignored = |annotations| annotated(annotations).options.ignore_extraneous;
        assert!(ignored(json!({ ARGO_COMPARE: "IgnoreExtraneous,ServerSideDiff=true" })));
        assert!(ignored(json!({ IGNORE_EXTRANEOUS: "true" })));
        assert!(!ignored(json!({ ARGO_COMPARE: "ServerSideDiff=true" })));
    }

    #[test]
    fn what_cannot_be_honoured_is_warned_of() {
        let result = annotated(json!({
            PRUNE: "never",
            ARGO_OPTIONS: "Replace=false,Purne=false",
            FLUX_FORCE: "yes",
            HELM_POLICY: "delete",
            FLUX_RECONCILE: "off",
            FLUX_SSA: "Replace",
            PRUNE_PROPAGATION: "fast",
            ARGO_COMPARE: "IgnoreExtraneus",
            "kustomize.toolkit.fluxcd.io/new": "x",
            "skiff.dev/wafe": "1",
        }));
        insta::assert_snapshot!(result.warnings.join("\n"), @r#"
        annotation skiff.dev/prune has the unknown value "never" and is ignored: write enabled, disabled or confirm
        annotation helm.sh/resource-policy has the unknown value "delete" and is ignored: write keep
        annotation kustomize.toolkit.fluxcd.io/force has the unknown value "yes" and is ignored: write enabled or disabled
        annotation kustomize.toolkit.fluxcd.io/reconcile has the unknown value "off" and is ignored: write enabled or disabled
        annotation kustomize.toolkit.fluxcd.io/ssa has the unknown value "Replace" and is ignored: write Override, Merge, IfNotPresent or Ignore
        annotation skiff.dev/prune-propagation has the unknown value "fast" and is ignored: write background, foreground or orphan
        argocd.argoproj.io/compare-options: "IgnoreExtraneus" is unknown and ignored
        argocd.argoproj.io/sync-options: "Purne=false" is unknown and ignored
        annotation kustomize.toolkit.fluxcd.io/new is not supported yet: the object is applied all the same
        annotation skiff.dev/wafe is unknown and ignored
        "#);
        assert_eq!(result.options, ObjectOptions::default());
    }

    #[test]
    fn hooks_are_told_from_tests_and_from_objects() {
        let role = |annotations| annotated(annotations).role;
        assert_eq!(role(json!({ HELM_HOOK: "test" })), Role::Never);
        assert_eq!(role(json!({ HELM_HOOK: "crd-install" })), Role::Object);
        assert_eq!(role(json!({ ARGO_HOOK: "Skip" })), Role::Skip);
        let both = json!({ HOOK: "PreSync", ARGO_HOOK: "PostSync", HELM_HOOK: "test", HOOK_DELETE: "HookFailed",
            ARGO_HOOK_DELETE: "HookSucceeded" });
        let Role::Hook(hook) = role(both) else { panic!("a hook") };
        assert!(hook.upgrade.contains(SyncPhase::PreSync) && !hook.upgrade.contains(SyncPhase::PostSync));
        assert!(hook.delete.failed && !hook.delete.succeeded);
    }

    #[test]
    fn unknown_words_of_hooks_are_named() {
        let result = annotated(json!({ ARGO_HOOK: "PreSync,Later", ARGO_HOOK_DELETE: "Always" }));
        insta::assert_snapshot!(result.warnings.join("\n"), @r#"
        hook annotations have the unknown word "Later", which is ignored: write PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete or Skip
        hook annotations have the unknown word "Always", which is ignored: write BeforeHookCreation, HookSucceeded or HookFailed
        "#);
    }
}
