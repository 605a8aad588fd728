//! Rights that the agent lacks, read from what the API server says, and the rules that would grant them.
//!
//! Of use for people alone: nothing is decided by it. The words are those of `forbiddenMessage` in
//! `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`.

use std::collections::{BTreeMap, BTreeSet};

/// Lines that are shown at most.
const SHOWN: usize = 6;

/// What an API server did not allow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MissingRight {
    pub group: String,
    /// Plural, with a subresource behind a slash.
    pub resource: String,
    pub verb: String,
    /// `None` where the right is one over the whole cluster.
    pub namespace: Option<String>,
}

impl MissingRight {
    /// Reads a refusal; `None` where it speaks of something else than a missing right over a resource.
    pub fn read(message: &str) -> Option<Self> {
        let (_, said) = message.split_once(" cannot ")?;
        let (verb, said) = said.split_once(" resource \"")?;
        let (resource, said) = said.split_once("\" in API group \"")?;
        let (group, place) = said.split_once('"')?;
        let namespace = match place.strip_prefix(" in the namespace \"") {
            Some(named) => Some(named.split_once('"')?.0.to_owned()),
            None => place.starts_with(" at the cluster scope").then_some(None)?,
        };
        Some(Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
            namespace,
        })
    }
}

/// Says what is missing, one line for each verb and resource with the rule that grants it, in YAML.
pub fn describe(missing: impl IntoIterator<Item = MissingRight>) -> String {
    let mut places: BTreeMap<(String, String, String), BTreeSet<Option<String>>> = BTreeMap::new();
    for MissingRight { group, resource, verb, namespace } in missing {
        places.entry((group, resource, verb)).or_default().insert(namespace);
    }
    let mut lines: Vec<String> =
        places.iter().take(SHOWN).map(|(right, places)| line(right, places)).collect();
    if places.len() > SHOWN {
        lines.push(format!("and {} more", places.len() - SHOWN));
    }
    lines.join("\n")
}

fn line((group, resource, verb): &(String, String, String), places: &BTreeSet<Option<String>>) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let place = match places.iter().flatten().map(String::as_str).collect::<Vec<_>>() {
        _ if places.contains(&None) => "the whole cluster".to_owned(),
        named => named.join(", "),
    };
    let group_name = if group.is_empty() { "\"\"" } else { group };
    format!(
        "may not {verb} {resource}{dot}{group} in {place}: \
         - {{apiGroups: [{group_name}], resources: [{resource}], verbs: [{verb}]}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = r#"User "system:serviceaccount:skiff:skiff""#;

    fn read(said: &str) -> Option<MissingRight> {
        MissingRight::read(&said.replace("USER", USER))
    }

    #[test]
    fn refusals_are_read_in_namespaces_and_in_the_whole_cluster() {
        let missing = read(
            r#"deployments.apps "web" is forbidden: USER cannot patch resource "deployments/scale" in API group "apps" in the namespace "shop": RBAC: role.rbac.authorization.k8s.io "gone" not found"#,
        );
        let wanted = MissingRight {
            group: "apps".to_owned(),
            resource: "deployments/scale".to_owned(),
            verb: "patch".to_owned(),
            namespace: Some("shop".to_owned()),
        };
        assert_eq!(missing, Some(wanted));
        let missing = read(
            r#"namespaces "shop" is forbidden: USER cannot create resource "namespaces" in API group "" at the cluster scope"#,
        );
        assert_eq!(missing.map(|missing| missing.namespace), Some(None));
    }

    #[test]
    fn other_refusals_are_none_of_a_right_over_a_resource() {
        for said in [
            r#"pods "web" is forbidden: exceeded quota: small"#,
            r#"clusterroles.rbac.authorization.k8s.io "x" is forbidden: user "skiff" is attempting to grant RBAC permissions not currently held"#,
            r#"forbidden: USER cannot get path "/metrics""#,
            "",
        ] {
            assert_eq!(read(said), None, "{said}");
        }
    }

    #[test]
    fn each_verb_and_resource_is_one_line_with_its_rule() {
        let missing = |verb: &str, group: &str, resource: &str, namespace: Option<&str>| MissingRight {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        let said = describe([
            missing("patch", "apps", "deployments", Some("shop")),
            missing("patch", "apps", "deployments", Some("pay")),
            missing("patch", "apps", "deployments", Some("shop")),
            missing("patch", "", "namespaces", None),
        ]);
        insta::assert_snapshot!(said, @r#"
        may not patch namespaces in the whole cluster: - {apiGroups: [""], resources: [namespaces], verbs: [patch]}
        may not patch deployments.apps in pay, shop: - {apiGroups: [apps], resources: [deployments], verbs: [patch]}
        "#);
        let many = (0..9).map(|at| missing("patch", "example.com", &format!("kinds{at}"), None));
        assert!(describe(many).ends_with("\nand 3 more"));
    }
}
