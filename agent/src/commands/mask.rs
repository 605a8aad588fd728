//! Takes the values of Secrets out of a change before any verb can print it: that a value differs shows, the value does
//! not.

use serde_json::{Value, json};
use skiff_shared::sync::event::WITHHELD;
use skiff_shared::yaml::push_segment;

use super::outlook::Change;

/// Annotations in which tools keep a copy of what they applied: of a Secret, its values.
const COPIES: [&str; 4] = [
    // https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-last-applied-configuration
    "kubectl.kubernetes.io/last-applied-configuration",
    // Rancher's wrangler and Fleet.
    "objectset.rio.cattle.io/applied",
    "kapp.k14s.io/original",
    "banzaicloud.com/last-applied",
];

/// Returns a change as it may be shown.
pub fn masked(change: Change) -> Change {
    if !change.id.is("", "Secret") {
        return change;
    }
    let (mut before, mut after) = (change.before.clone(), change.after.clone());
    mask(&mut before, change.after.as_ref(), "before");
    mask(&mut after, change.before.as_ref(), "after");
    // The API server quotes what it refuses.
    let refused = change.refused.map(|_| WITHHELD.to_owned());
    Change { before, after, refused, ..change }
}

fn mask(side: &mut Option<Value>, other: Option<&Value>, word: &str) {
    let Some(side) = side else { return };
    let masked = |pointer: &str, value: &Value| {
        let same = other.and_then(|other| other.pointer(pointer)) == Some(value);
        json!(if same { "(masked)".to_owned() } else { format!("(masked, {word})") })
    };
    for field in ["data", "stringData"] {
        match side.get_mut(field) {
            Some(Value::Object(values)) => {
                for (key, value) in values {
                    *value = masked(&below(&format!("/{field}"), key), value);
                }
            }
            // Not what a Secret has, so it is refused; the text is a value all the same.
            Some(whole) => *whole = masked(&format!("/{field}"), whole),
            None => {}
        }
    }
    for name in COPIES {
        let pointer = below("/metadata/annotations", name);
        if let Some(copy) = side.pointer_mut(&pointer) {
            *copy = masked(&pointer, copy);
        }
    }
}

/// Returns the pointer to a key.
fn below(pointer: &str, key: &str) -> String {
    let mut pointer = pointer.to_owned();
    push_segment(&mut pointer, key);
    pointer
}

#[cfg(test)]
mod tests {
    use skiff_shared::object::Interner;
    use skiff_shared::plan::Action;

    use super::*;

    fn change(before: Value, after: Value) -> Change {
        Change {
            id: Interner::default().object("", "Secret", Some("shop"), "db"),
            action: Action::Configured,
            before: Some(before),
            after: Some(after),
            adopts: false,
            refused: None,
            unchecked: None,
        }
    }

    fn shown(change: Change) -> String {
        let Change { before, after, refused, .. } = masked(change);
        serde_json::to_string_pretty(&json!([before, after, refused])).expect("JSON")
    }

    #[test]
    fn secrets_show_which_keys_differ_and_no_value() {
        let before = json!({"data": {"user": "c2hvcA==", "a/b": "b2xk"}, "stringData": {"c": "old"}});
        let after = json!({"data": {"user": "c2hvcA==", "a/b": "bmV3"}, "stringData": "new"});
        insta::assert_snapshot!(shown(change(before, after)), @r#"
        [
          {
            "data": {
              "a/b": "(masked, before)",
              "user": "(masked)"
            },
            "stringData": {
              "c": "(masked, before)"
            }
          },
          {
            "data": {
              "a/b": "(masked, after)",
              "user": "(masked)"
            },
            "stringData": "(masked, after)"
          },
          null
        ]
        "#);
    }

    #[test]
    fn copies_that_tools_keep_of_a_secret_are_masked() {
        let copies = |value: &str| {
            let all = COPIES.map(|name| (name.to_owned(), json!(format!("{{\"data\":\"{value}\"}}"))));
            let mut annotations: serde_json::Map<String, Value> = all.into_iter().collect();
            annotations.insert("team".to_owned(), json!("shop"));
            json!({"metadata": {"annotations": annotations}})
        };
        let shown = shown(change(copies("b2xk"), copies("bmV3")));
        assert!(!shown.contains("b2xk") && !shown.contains("bmV3"), "{shown}");
        assert!(shown.contains("(masked, before)") && shown.contains("(masked, after)"), "{shown}");
        assert!(shown.contains("shop"), "what is no copy shows: {shown}");
    }

    #[test]
    fn words_about_a_refused_secret_are_withheld_and_those_about_others_are_not() {
        let words = "Secret \"db\" is invalid: data[.x]: Invalid value: \"b2xk\"";
        let refused = Change { refused: Some(words.to_owned()), ..change(json!({}), json!({})) };
        assert_eq!(masked(refused.clone()).refused.as_deref(), Some(WITHHELD));
        let id = Interner::default().object("", "ConfigMap", Some("shop"), "db");
        assert_eq!(masked(Change { id, ..refused }).refused.as_deref(), Some(words));
    }
}
