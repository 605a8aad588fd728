//! Registries.

use skiff::charts::Update;
use skiff_harness::registry::Registry;

use super::{World, archive, told, wanted};

fn registry() -> Registry {
    let registry = Registry::start().unwrap();
    for version in ["1.0.0", "1.1.0", "1.2.0_b.4", "2.0.0-rc.1"] {
        registry.push("charts/web", version, archive("web", version, &format!("of: {version}\n")));
    }
    registry
}

#[test]
fn version_is_pulled_by_its_manifest_and_asked_for_in_one_request_afterwards() {
    let (world, registry) = (World::new(), registry());
    let wanted = wanted(&registry.url("charts"), "web", "1.0.0");
    let first = world.moved(&wanted, None);
    assert_eq!(world.read(&first, "values.yaml"), "of: 1.0.0\n");
    let before = registry.asked().len();
    assert_eq!(world.update(&wanted, Some(&first)).unwrap(), Update::Unchanged);
    assert_eq!(registry.asked()[before..], ["/v2/charts/web/manifests/1.0.0 200"]);

    let digest = registry.push("charts/web", "1.0.0", archive("web", "1.0.0", "of: another\n"));
    assert_eq!(world.moved(&wanted, Some(&first)).release.digest, digest);
}

#[test]
fn range_is_chosen_among_all_pages_of_tags() {
    let (world, registry) = (World::new(), registry());
    registry.page(1);
    let chart = world.moved(&wanted(&registry.url("charts"), "web", "^1"), None);
    assert_eq!(chart.release.version, "1.2.0+b.4", "a tag cannot hold a plus");
    let lists = registry.asked().iter().filter(|line| line.contains("/tags/list")).count();
    assert_eq!(lists, 4);
}

#[test]
fn token_is_asked_for_once_with_the_credentials_and_again_when_it_is_refused() {
    let (world, registry) = (World::new(), registry());
    registry.demand("ada", "secret-1");
    let mut wanted = wanted(&registry.url("charts"), "web", "1.0.0");
    wanted.access.credentials = world.login("ada", "secret-1");
    let chart = world.moved(&wanted, None);
    world.update(&wanted, Some(&chart)).unwrap();
    let tokens = || registry.asked().iter().filter(|line| *line == "/token 200").count();
    assert_eq!(tokens(), 1);
    registry.revoke();
    world.update(&wanted, Some(&chart)).unwrap();
    assert_eq!(tokens(), 2);
}

#[test]
fn credentials_are_not_for_whom_a_redirect_leads_to() {
    let (world, registry, other) = (World::new(), registry(), Registry::start().unwrap());
    registry.demand("ada", "secret-1");
    registry.redirect_archives_to(&other);
    other.demand("eve", "secret-2");
    let mut wanted = wanted(&registry.url("charts"), "web", "1.0.0");
    wanted.access.credentials = world.login("ada", "secret-1");
    assert!(world.update(&wanted, None).is_err());
    let asked = other.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains("/blobs/") && asked[0].ends_with(" 401"), "{asked:?}");
}

#[test]
fn every_fault_has_its_word_and_a_way_out() {
    let (world, registry) = (World::new(), registry());
    let folder = registry.url("charts");
    let host = folder.trim_start_matches("oci://").trim_end_matches("/charts").to_owned();
    let fail = |name: &str, version: &str| {
        let error = world.update(&wanted(&folder, name, version), None).unwrap_err();
        told(&error, &host)
    };
    insta::assert_snapshot!(fail("wep", "*"), @"ChartNotFound AtInterval: failed to fetch chart wep of oci://charts.example/charts: the repository has no chart of this name");
    insta::assert_snapshot!(fail("web", "1.0.1"), @"ChartVersionNotFound AtInterval: failed to fetch chart web of oci://charts.example/charts: there is no version 1.0.1");
    insta::assert_snapshot!(fail("web", "^3"), @"ChartVersionNotFound AtInterval: failed to fetch chart web of oci://charts.example/charts: no version is in ^3, the newest one is 2.0.0-rc.1");
    registry.push_as("charts/image", "1.0.0", Vec::new(), "application/vnd.oci.image.layer.v1.tar+gzip");
    insta::assert_snapshot!(fail("image", "1.0.0"), @"ChartInvalid AtInterval: failed to fetch chart image of oci://charts.example/charts: what is there is no chart: none of its parts is a chart's archive: application/vnd.oci.image.layer.v1.tar+gzip");
    let digest = registry.push("charts/web", "3.0.0", archive("web", "3.0.0", ""));
    registry.tamper(&digest, archive("web", "3.0.0", "of: somebody else\n"));
    assert!(fail("web", "3.0.0").starts_with("ChartDigestDiffers AtInterval"));
    registry.demand("ada", "secret-1");
    insta::assert_snapshot!(fail("web", "*"), @"AccessDenied AtInterval: failed to fetch http://charts.example/token: the server wants credentials (401); name files or a Secret with a password or a token");
    let mut wrong = wanted(&folder, "web", "*");
    wrong.access.credentials = world.login("ada", "secret-2");
    let error = world.update(&wrong, None).unwrap_err();
    insta::assert_snapshot!(told(&error, &host), @"AccessDenied AtInterval: failed to fetch http://charts.example/token: the server does not accept the credentials (401); check them where they are kept");
}
