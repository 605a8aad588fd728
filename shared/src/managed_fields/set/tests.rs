use proptest::prelude::*;

use super::{FieldSet, Path};

/// A field set as its JSON nests it.
#[derive(Clone, Debug)]
pub(in super::super) struct Tree {
    is_member: bool,
    children: Vec<(String, Tree)>,
}

impl Tree {
    /// Writes the tree as fieldsV1 with the keys in an order that depends on the seed.
    pub(in super::super) fn json(&self, seed: u64) -> String {
        let mut members: Vec<String> = self
            .children
            .iter()
            .map(|(key, child)| format!("{}:{}", serde_json::Value::from(key.as_str()), child.json(seed / 2)))
            .collect();
        if self.is_member {
            members.push(r#"".":{}"#.to_owned());
        }
        let shift = usize::try_from(seed % 7).expect("small") % members.len().max(1);
        members.rotate_left(shift);
        format!("{{{}}}", members.join(","))
    }

    pub(in super::super) fn set(&self) -> FieldSet {
        FieldSet::from_v1(&self.json(0)).expect("the tree is written as fieldsV1")
    }
}

pub(in super::super) fn tree() -> impl Strategy<Value = Tree> {
    let element = prop_oneof![
        prop_oneof![Just("f:a"), Just("f:b"), Just("f:skiff.dev/x")].prop_map(str::to_owned),
        (0..3_u8).prop_map(|port| format!(r#"k:{{"port":{port},"protocol":"TCP"}}"#)),
        prop_oneof![Just(r#"v:"x""#), Just("i:0")].prop_map(str::to_owned),
    ];
    let leaf = any::<bool>().prop_map(|is_member| Tree { is_member, children: Vec::new() });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let children = prop::collection::btree_map(element.clone(), inner, 0..4);
        (any::<bool>(), children)
            .prop_map(|(is_member, children)| Tree { is_member, children: children.into_iter().collect() })
    })
}

fn set(json: &str) -> FieldSet {
    FieldSet::from_v1(json).expect("the test's set is valid")
}

fn lines<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    paths.into_iter().map(|path| format!("{path}\n")).collect()
}

const WEB: &str = r#"{
    "f:metadata":{"f:annotations":{".":{},"f:skiff.dev/x":{}},"f:labels":{"f:app":{}}},
    "f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:spec":{"f:containers":{
        "k:{\"name\":\"web\"}":{".":{},"f:args":{},"f:image":{},"f:name":{},
            "f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#;

#[test]
fn paths_print_as_people_know_them() {
    insta::assert_snapshot!(lines(set(WEB).paths()), @r#"
    .metadata.annotations
    .metadata.annotations[skiff.dev/x]
    .metadata.labels.app
    .spec.replicas
    .spec.selector
    .spec.template.spec.containers[name="web"]
    .spec.template.spec.containers[name="web"].args
    .spec.template.spec.containers[name="web"].image
    .spec.template.spec.containers[name="web"].name
    .spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"]
    .spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].containerPort
    "#);
}

fn pointer(text: &str) -> Path {
    Path::from_pointer(text).expect("the test's pointer is valid")
}

#[test]
fn subtracting_the_last_field_of_a_map_gives_the_map_up() {
    let rest = set(WEB).subtract(&[pointer("/metadata/annotations/skiff.dev~1x")]);
    assert!(!rest.contains(&pointer("/metadata/annotations")), "{rest:?}");
    let gone = set(WEB).difference(&rest);
    insta::assert_snapshot!(lines(gone.paths()), @r"
    .metadata.annotations
    .metadata.annotations[skiff.dev/x]
    ");
}

#[test]
fn subtracting_takes_what_is_below() {
    let gone = set(WEB).difference(&set(WEB).subtract(&[pointer("/spec/template")]));
    assert_eq!(gone.len(), 6);
}

#[test]
fn subtracting_keeps_parents_that_still_hold_something() {
    let all = set(r#"{"f:list":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}}}"#);
    let image = all.paths().find(|path| path.to_string().ends_with("image")).cloned().expect("it is there");
    insta::assert_snapshot!(lines(all.subtract(&[image]).paths()), @r#"
    .list[name="a"]
    .list[name="a"].name
    "#);
}

#[test]
fn pointers_with_positions_find_items_by_their_keys() {
    let live = serde_json::json!({"spec": {"template": {"spec": {"containers": [
        {"name": "sidecar", "image": "s"},
        {"name": "web", "image": "w", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
    ]}}}});
    let located = |text: &str| lines(&set(WEB).locate(&pointer(text), &live));
    insta::assert_snapshot!(located("/spec/template/spec/containers/1/image"), @r#".spec.template.spec.containers[name="web"].image"#);
    insta::assert_snapshot!(located("/spec/template/spec/containers/1/ports/0/containerPort"), @r#".spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].containerPort"#);
    insta::assert_snapshot!(located("/spec/template/spec/containers/0/image"), @"");
    insta::assert_snapshot!(located("/metadata/annotations"), @r"
    .metadata.annotations
    .metadata.annotations[skiff.dev/x]
    ");
}

#[test]
fn pointers_with_numbers_find_fields_of_maps() {
    let data = set(r#"{"f:data":{"f:0":{}}}"#);
    let live = serde_json::json!({"data": {"0": "x"}});
    insta::assert_snapshot!(lines(&data.locate(&pointer("/data/0"), &live)), @r#".data["0"]"#);
}

#[test]
fn touches_a_part_the_field_and_the_whole() {
    let set = set(WEB);
    for touched in ["/spec", "/spec/replicas", "/spec/selector/matchLabels/app"] {
        assert!(set.touches(&pointer(touched)), "{touched}");
    }
    for other in ["/spec/paused", "/metadata/annotations/other", "/status"] {
        assert!(!set.touches(&pointer(other)), "{other}");
    }
}

#[test]
fn a_set_that_is_no_object_is_an_error() {
    let error = FieldSet::from_v1("[]").expect_err("damaged").to_string();
    insta::assert_snapshot!(error, @"invalid type: sequence, expected a level of fieldsV1 at line 1 column 0");
}

proptest! {
    #[test]
    fn sets_survive_writing_and_reading(tree in tree()) {
        let before = tree.set();
        prop_assert_eq!(set(before.to_fields_v1().get()), before);
    }

    #[test]
    fn union_and_difference_keep_their_laws(one in tree(), other in tree()) {
        let (one, other) = (one.set(), other.set());
        let both = one.union(&other);
        prop_assert_eq!(&both, &other.union(&one));
        prop_assert_eq!(one.union(&one), one.clone());
        prop_assert_eq!(both.difference(&other), one.difference(&other));
        prop_assert_eq!(one.difference(&other).union(&other), both);
        prop_assert!(one.difference(&one).is_empty());
    }

    #[test]
    fn subtracting_leaves_nothing_below_and_all_beside(tree in tree(), pick: prop::sample::Index) {
        let before = tree.set();
        prop_assume!(!before.is_empty());
        let path = before.paths().nth(pick.index(before.len())).cloned().expect("in range");
        let after = before.subtract(std::slice::from_ref(&path));
        prop_assert!(after.at_or_below(&path).next().is_none());
        for gone in before.difference(&after).paths() {
            prop_assert!(gone.starts_with(&path) || path.starts_with(gone), "{} lost with {}", gone, path);
        }
        prop_assert_eq!(after.subtract(std::slice::from_ref(&path)), after);
    }
}
