//! What makes an object a hook: our annotations and those of Argo CD and Helm.
//!
//! As in Argo CD, an annotation of its own stands before Helm's, Helm's tests and hooks of a rollback are never a part
//! of the app, and `crd-install` makes no hook.

use super::Role;
use crate::hook::{DeletePolicy, Hook, Phases, SyncPhase};

/// What annotations say, as far as it concerns hooks; none of them is empty.
#[derive(Clone, Copy, Default)]
pub(super) struct Words<'a> {
    /// `skiff.dev/hook` or `argocd.argoproj.io/hook`.
    pub(super) hook: Option<&'a str>,
    pub(super) helm: Option<&'a str>,
    /// `skiff.dev/hook-delete-policy`, else those of Argo CD and Helm.
    pub(super) policies: [Option<&'a str>; 2],
}

/// Returns what an object is, and the words that nobody knows with what may be written instead.
pub(super) fn read<'a>(words: &Words<'a>) -> (Role, Vec<(&'a str, &'static str)>) {
    let mut reading = Reading::default();
    let role = match (words.hook, words.helm) {
        (Some(types), _) => reading.argo(types),
        (None, Some(types)) => reading.helm(types),
        (None, None) => Role::Object,
    };
    let role = match role {
        Role::Hook(hook) => Role::Hook(Hook { delete: reading.policy(words.policies), ..hook }),
        role => role,
    };
    (role, reading.unknown)
}

#[derive(Default)]
struct Reading<'a> {
    install: Phases,
    upgrade: Phases,
    deletion: Phases,
    unknown: Vec<(&'a str, &'static str)>,
}

fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

impl<'a> Reading<'a> {
    fn argo(&mut self, types: &'a str) -> Role {
        for word in listed(types) {
            match (word, SyncPhase::read(word)) {
                ("Skip", _) => return Role::Skip,
                (_, Some(phase)) if phase.is_of_deletion() => self.deletion = self.deletion.with(phase),
                (_, Some(phase)) => {
                    (self.install, self.upgrade) = (self.install.with(phase), self.upgrade.with(phase));
                }
                (_, None) => self
                    .unknown
                    .push((word, "PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete or Skip")),
            }
        }
        self.role(types)
    }

    fn helm(&mut self, types: &'a str) -> Role {
        let mut defines = false;
        for word in listed(types) {
            match &*word.to_ascii_lowercase() {
                "pre-install" => self.install = self.install.with(SyncPhase::PreSync),
                "post-install" => self.install = self.install.with(SyncPhase::PostSync),
                "pre-upgrade" => self.upgrade = self.upgrade.with(SyncPhase::PreSync),
                "post-upgrade" => self.upgrade = self.upgrade.with(SyncPhase::PostSync),
                "pre-delete" => self.deletion = self.deletion.with(SyncPhase::PreDelete),
                "post-delete" => self.deletion = self.deletion.with(SyncPhase::PostDelete),
                "crd-install" => defines = true,
                "pre-rollback" | "post-rollback" | "test" | "test-success" | "test-failure" => {}
                _ => self.unknown.push((word, "a hook of Helm")),
            }
        }
        match self.role(types) {
            Role::Never if defines => Role::Object,
            role => role,
        }
    }

    fn role(&self, types: &str) -> Role {
        let Self { install, upgrade, deletion, unknown } = self;
        if [install, upgrade, deletion].iter().any(|phases| !phases.is_empty()) {
            let (install, upgrade, deletion) = (*install, *upgrade, *deletion);
            Role::Hook(Hook { install, upgrade, deletion, delete: DeletePolicy::default() })
        } else if !unknown.is_empty() {
            Role::LeftOut(types.to_owned())
        } else {
            Role::Never
        }
    }

    fn policy(&mut self, policies: [Option<&'a str>; 2]) -> DeletePolicy {
        let mut named = DeletePolicy { before_creation: false, succeeded: false, failed: false };
        for word in policies.into_iter().flatten().flat_map(listed) {
            match word {
                "BeforeHookCreation" | "before-hook-creation" => named.before_creation = true,
                "HookSucceeded" | "hook-succeeded" => named.succeeded = true,
                "HookFailed" | "hook-failed" => named.failed = true,
                _ => self.unknown.push((word, "BeforeHookCreation, HookSucceeded or HookFailed")),
            }
        }
        let DeletePolicy { before_creation, succeeded, failed } = named;
        if before_creation || succeeded || failed { named } else { DeletePolicy::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(hook: Option<&str>, helm: Option<&str>) -> String {
        match read(&Words { hook, helm, ..Words::default() }).0 {
            Role::Hook(Hook { install, upgrade, deletion, .. }) => {
                let words = |phases: Phases| phases.iter().map(SyncPhase::word).collect::<Vec<_>>().join("+");
                let deletion = if deletion.is_empty() {
                    String::new()
                } else {
                    format!(" deletion {}", words(deletion))
                };
                format!("install {} upgrade {}{deletion}", words(install), words(upgrade))
            }
            role => format!("{role:?}"),
        }
    }

    #[test]
    fn argo_types_run_in_every_release() {
        assert_eq!(
            role(Some("PostSync, PreSync"), None),
            "install PreSync+PostSync upgrade PreSync+PostSync"
        );
        assert_eq!(role(Some("SyncFail"), Some("test")), "install SyncFail upgrade SyncFail");
        assert_eq!(role(Some("PreSync,Skip"), None), "Skip");
        assert_eq!(role(Some("PreDelete"), None), "install  upgrade  deletion PreDelete");
        assert_eq!(
            role(Some("PreSync,PostDelete"), None),
            "install PreSync upgrade PreSync deletion PostDelete"
        );
        assert_eq!(role(Some("Presync"), None), r#"LeftOut("Presync")"#);
    }

    #[test]
    fn helm_types_tell_installation_from_upgrade() {
        assert_eq!(role(None, Some("pre-install,pre-upgrade")), "install PreSync upgrade PreSync");
        assert_eq!(role(None, Some("post-install")), "install PostSync upgrade ");
        assert_eq!(role(None, Some("pre-upgrade, pre-rollback")), "install  upgrade PreSync");
        assert_eq!(role(None, Some("post-install,test")), "install PostSync upgrade ");
        assert_eq!(role(None, Some("test")), "Never");
        assert_eq!(role(None, Some("post-rollback")), "Never");
        assert_eq!(role(None, Some("crd-install")), "Object");
        assert_eq!(role(None, Some("pre-delete")), "install  upgrade  deletion PreDelete");
        assert_eq!(role(None, Some("post-delete,test")), "install  upgrade  deletion PostDelete");
    }

    #[test]
    fn policies_of_all_spellings_add_up() {
        let policy = |policies| match read(&Words { hook: Some("PreSync"), helm: None, policies }).0 {
            Role::Hook(hook) => (hook.delete.before_creation, hook.delete.succeeded, hook.delete.failed),
            role => panic!("{role:?}"),
        };
        assert_eq!(policy([None, None]), (true, false, false));
        assert_eq!(policy([Some("HookSucceeded"), None]), (false, true, false));
        assert_eq!(
            policy([Some("BeforeHookCreation,HookFailed"), Some("hook-succeeded")]),
            (true, true, true)
        );
        let words = Words { hook: Some("PreSync"), helm: None, policies: [Some("Never"), None] };
        assert_eq!(read(&words).1, [("Never", "BeforeHookCreation, HookSucceeded or HookFailed")]);
    }
}
