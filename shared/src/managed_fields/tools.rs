//! The tools that people come from, known by their field managers.

use std::fmt;

use super::BEFORE_FIRST_APPLY;

/// The managers whose fields become ours on adoption: so a field that leaves Git leaves the object.
pub const ADOPTED: [&str; 9] = [
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-last-applied",
    "helm",
    "argocd-controller",
    "kustomize-controller",
    "helm-controller",
    BEFORE_FIRST_APPLY,
];

/// A tool that manages an object beside us. People's `kubectl edit`, `patch` or `scale` are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tool(u8);

impl Tool {
    /// Returns the tool whose field manager this is.
    #[must_use]
    pub fn of(manager: &str) -> Option<Self> {
        let at = ADOPTED.iter().position(|known| *known == manager && manager != BEFORE_FIRST_APPLY)?;
        u8::try_from(at).ok().map(Self)
    }

    /// Returns its field manager.
    #[must_use]
    pub fn manager(self) -> &'static str {
        ADOPTED[usize::from(self.0)]
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.manager())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_those_that_apply_whole_manifests() {
        for manager in ["kubectl", "helm", "argocd-controller", "kustomize-controller"] {
            assert_eq!(Tool::of(manager).map(Tool::manager), Some(manager));
        }
        for manager in ["skiff", "kubectl-edit", "kube-controller-manager", BEFORE_FIRST_APPLY] {
            assert_eq!(Tool::of(manager), None, "{manager}");
        }
    }
}
