use super::{Element, Path, PathError};

fn printed(elements: &[&str]) -> String {
    elements.iter().map(|text| Element::from_v1(text).expect("known kind")).collect::<Path>().to_string()
}

#[test]
fn names_print_so_that_each_reads_back_as_one_thing() {
    assert_eq!(printed(&["f:spec", "f:replicas"]), ".spec.replicas");
    assert_eq!(printed(&["f:data", "f:app-config"]), ".data.app-config");
    assert_eq!(printed(&["f:data", "f:nginx.conf"]), ".data[nginx.conf]");
    assert_eq!(printed(&["f:data", "f:3scale.net/x"]), ".data[3scale.net/x]");
    assert_eq!(printed(&["f:data", "f:0"]), r#".data["0"]"#);
    assert_eq!(printed(&["f:data", "f:"]), r#".data[""]"#);
    assert_eq!(printed(&["f:data", "f:a=\"b\""]), r#".data["a=\"b\""]"#);
}

#[test]
fn items_print_by_key_value_and_position() {
    assert_eq!(printed(&["f:c", r#"k:{"name":"web"}"#, "f:image"]), r#".c[name="web"].image"#);
    assert_eq!(
        printed(&["f:p", r#"k:{"containerPort":80,"protocol":"TCP"}"#]),
        r#".p[containerPort=80,protocol="TCP"]"#
    );
    assert_eq!(printed(&["f:finalizers", r#"v:"example.com/x""#]), r#".finalizers[="example.com/x"]"#);
    assert_eq!(printed(&["f:args", "i:0"]), ".args[0]");
    assert_eq!(printed(&["f:args", "k:damaged"]), ".args[damaged]");
}

#[test]
fn pointers_become_paths() {
    let path = |text: &str| Path::from_pointer(text).expect("valid").to_string();
    assert_eq!(path("/spec/replicas"), ".spec.replicas");
    assert_eq!(path("/metadata/annotations/skiff.dev~1x"), ".metadata.annotations[skiff.dev/x]");
    assert_eq!(path("/data/a~0b"), r#".data["a~b"]"#);
    assert_eq!(path("/spec/rules/0/host"), ".spec.rules[0].host");
    assert_eq!(path("/data/007"), r#".data["007"]"#);
}

#[test]
fn what_is_no_pointer_is_refused_with_the_way_out() {
    let error = |text: &str| Path::from_pointer(text).expect_err("invalid");
    insta::assert_snapshot!(error(".spec.replicas"), @r#"JSON pointer ".spec.replicas" does not begin with "/"; write it as /spec/replicas"#);
    insta::assert_snapshot!(error("/a~b"), @r#"JSON pointer "/a~b" has a bare "~"; write ~0 for "~" and ~1 for "/""#);
    assert_eq!(error(""), PathError::NoSlash { pointer: String::new() });
}
