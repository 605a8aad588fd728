//! Chart repositories with an index.

use std::net::Ipv4Addr;
use std::time::Duration;

use skiff::charts::Update;
use skiff::git::GithubApp;
use skiff_harness::chart_repository::ChartRepository;
use skiff_harness::git_server::Access;
use skiff_harness::github::{APP, Github, INSTALLATION};

use super::{World, archive, told, wanted};

fn repository() -> ChartRepository {
    let repository = ChartRepository::start().unwrap();
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        repository.publish_archive("web", version, archive("web", version, &format!("of: {version}\n")));
    }
    repository
}

fn paths(repository: &ChartRepository) -> Vec<String> {
    repository.asked().iter().map(|asked| format!("{} {}", asked.path, asked.status)).collect()
}

fn host(repository: &ChartRepository) -> &str {
    repository.url().trim_start_matches("http://")
}

#[test]
fn range_is_followed_at_one_conditional_request_per_poll() {
    let (world, repository) = (World::new(), repository());
    let wanted = wanted(repository.url(), "web", "^1");
    let first = world.moved(&wanted, None);
    assert_eq!(first.release.to_string(), "web 1.1.0");
    assert_eq!(world.read(&first, "values.yaml"), "of: 1.1.0\n");
    for _ in 0..2 {
        assert_eq!(world.update(&wanted, Some(&first)).unwrap(), Update::Unchanged);
    }
    assert_eq!(
        paths(&repository),
        ["/index.yaml 200", "/charts/web-1.1.0.tgz 200", "/index.yaml 304", "/index.yaml 304"]
    );
    let digest = repository.publish_archive("web", "1.2.0", archive("web", "1.2.0", "of: 1.2.0\n"));
    let second = world.moved(&wanted, Some(&first));
    assert_eq!(
        (second.release.version.as_str(), &second.release.digest),
        ("1.2.0", &format!("sha256:{digest}"))
    );
}

#[test]
fn charts_of_one_repository_share_its_polls() {
    let (world, repository) = (World::new(), repository());
    repository.publish_archive("db", "0.1.0", archive("db", "0.1.0", ""));
    for name in ["web", "db", "web"] {
        world.charts.update(&wanted(repository.url(), name, "*"), None, Duration::from_secs(60)).unwrap();
    }
    assert_eq!(paths(&repository).iter().filter(|path| path.starts_with("/index.yaml")).count(), 1);
}

#[test]
fn version_that_is_published_again_is_told_by_its_digest() {
    let (world, repository) = (World::new(), repository());
    let wanted = wanted(repository.url(), "web", "1.0.0");
    let first = world.moved(&wanted, None);
    repository.publish_archive("web", "1.0.0", archive("web", "1.0.0", "of: another\n"));
    let second = world.moved(&wanted, Some(&first));
    assert_eq!(second.release.version, "1.0.0");
    assert_eq!(world.read(&second, "values.yaml"), "of: another\n");
}

#[test]
fn repository_without_digests_is_downloaded_from_once_per_address() {
    let (world, repository) = (World::new(), repository());
    repository.forget_digests();
    let wanted = wanted(repository.url(), "web", "1.0.0");
    let first = world.moved(&wanted, None);
    repository.publish_archive("web", "1.1.1", archive("web", "1.1.1", ""));
    assert_eq!(world.update(&wanted, Some(&first)).unwrap(), Update::Unchanged);
    assert_eq!(paths(&repository).iter().filter(|path| path.contains(".tgz")).count(), 1);
}

#[test]
fn credentials_stay_with_the_repositorys_own_host() {
    let (world, repository) = (World::new(), repository());
    let mirror = ChartRepository::start_on(Ipv4Addr::new(127, 79, 0, 6)).unwrap();
    for version in ["1.0.0", "1.1.0"] {
        mirror.publish_archive("web", version, archive("web", version, &format!("of: {version}\n")));
    }
    repository.demand(Access::Basic { username: "ada".into(), password: "secret-1".into() });
    let mut wanted = wanted(repository.url(), "web", "1.0.0");
    wanted.access.credentials = world.login("ada", "secret-1");
    repository.redirect_archives_to(mirror.url());
    world.moved(&wanted, None);
    repository.list_archives_at(mirror.url());
    wanted.chart.version = skiff_shared::environment::ChartVersion::parse("1.1.0").unwrap();
    world.moved(&wanted, None);
    assert!(repository.asked().iter().all(|asked| asked.authorization.is_some()));
    let elsewhere = mirror.asked();
    assert_eq!(elsewhere.len(), 2);
    assert!(elsewhere.iter().all(|asked| asked.authorization.is_none()), "{elsewhere:?}");
}

#[test]
fn what_was_got_with_credentials_is_not_for_those_without_them() {
    let (mut world, repository) = (World::new(), repository());
    repository.demand(Access::Basic { username: "ada".into(), password: "secret-1".into() });
    let without = wanted(repository.url(), "web", "1.0.0");
    let mut with = without.clone();
    with.access.credentials = world.login("ada", "secret-1");
    let chart = world.charts.locked(&with).unwrap();
    // Whoever knows the digest of an archive can list it.
    let listing = ChartRepository::start_on(Ipv4Addr::new(127, 79, 0, 7)).unwrap();
    listing.publish_archive("web", "1.0.0", archive("web", "1.0.0", "of: 1.0.0\n"));
    listing.list_archives_at(repository.url());
    for _ in 0..2 {
        assert_eq!(world.charts.locked(&without).unwrap_err().reason(), "AccessDenied");
        let listed = wanted(listing.url(), "web", "1.0.0");
        assert_eq!(world.update(&listed, None).unwrap_err().reason(), "AccessDenied");
        world.restart();
        let asked = repository.asked().len();
        assert_eq!(world.charts.locked(&with).unwrap().release, chart.release);
        assert_eq!(repository.asked().len(), asked, "who has got it needs no repository");
    }
}

#[test]
fn token_of_a_github_app_that_is_refused_is_not_used_again() {
    let (world, repository, github) = (World::new(), repository(), Github::start().unwrap());
    let admit = |number: usize| {
        let password = format!("ghs_{number:036}");
        repository.demand(Access::Basic { username: "x-access-token".to_owned(), password });
    };
    let mut wanted = wanted(repository.url(), "web", "1.0.0");
    wanted.access.credentials.github_app = Some(GithubApp {
        app: APP.to_owned(),
        installation: INSTALLATION.to_owned(),
        private_key: world.file("app.pem", github.private_key()),
        api: github.api(),
    });
    admit(0);
    world.moved(&wanted, None);
    admit(1);
    assert_eq!(world.update(&wanted, None).unwrap_err().reason(), "AccessDenied");
    world.moved(&wanted, None);
    assert_eq!(github.given().len(), 2);
}

#[test]
fn every_fault_has_its_word_and_a_way_out() {
    let (world, repository) = (World::new(), repository());
    let fail = |name: &str, version: &str| {
        let error = world.update(&wanted(repository.url(), name, version), None).unwrap_err();
        told(&error, host(&repository))
    };
    insta::assert_snapshot!(fail("wep", "*"), @r#"ChartNotFound AtInterval: failed to fetch chart wep of http://charts.example: the repository has no chart of this name: did you mean "web"?"#);
    insta::assert_snapshot!(fail("web", "1.0.1"), @"ChartVersionNotFound AtInterval: failed to fetch chart web of http://charts.example: there is no version 1.0.1, the newest one is 2.0.0-rc.1");
    insta::assert_snapshot!(fail("web", "^3"), @"ChartVersionNotFound AtInterval: failed to fetch chart web of http://charts.example: no version is in ^3, the newest one is 2.0.0-rc.1");
    repository.tamper("web", "1.0.0", archive("web", "1.0.0", "of: somebody else\n"));
    let differs = fail("web", "1.0.0");
    assert!(differs.starts_with("ChartDigestDiffers AtInterval: failed to fetch chart web of http://charts.example: the archive of 1.0.0 has the digest sha256:"), "{differs}");
    assert!(differs.ends_with(": it is not used"), "{differs}");
    repository.publish_archive("web", "4.0.0", vec![0; 33 << 20]);
    insta::assert_snapshot!(fail("web", "4.0.0"), @"TooLarge AtInterval: failed to fetch chart web of http://charts.example: the archive has more than 33554432 bytes");
    repository.list_archives_at("ftp://mirror.example");
    insta::assert_snapshot!(fail("web", "1.1.0"), @r#"ChartIndexInvalid AtInterval: failed to fetch chart web of http://charts.example: the repository's index cannot be used: "ftp://mirror.example/charts/web-1.1.0.tgz" leads away from HTTP"#);
    repository.list_archives_at(&format!("{}/none", repository.url()));
    insta::assert_snapshot!(fail("web", "1.1.0"), @"ChartVersionNotFound AtInterval: failed to fetch chart web of http://charts.example: the archive of 1.1.0 is not there (404), though the repository lists it");
    repository.demand(Access::Basic { username: "ada".into(), password: "secret-1".into() });
    insta::assert_snapshot!(fail("web", "*"), @"AccessDenied AtInterval: failed to fetch http://charts.example: the server wants credentials (401); name files or a Secret with a password or a token");
    repository.refuse(Some(404));
    insta::assert_snapshot!(fail("web", "*"), @"RepositoryNotFound AtInterval: failed to fetch http://charts.example: repository not found (404); check the URL, and the credentials if it is private");
    repository.refuse(Some(503));
    insta::assert_snapshot!(fail("web", "*"), @"ServerError Backoff: failed to fetch http://charts.example: the server answered 503");
}

#[test]
fn what_nobody_keeps_is_removed_and_fetched_again_when_it_is_wanted() {
    let (world, repository) = (World::new(), repository());
    let wanted = wanted(repository.url(), "web", "1.0.0");
    let chart = world.moved(&wanted, None);
    world.charts.retain(std::slice::from_ref(&wanted)).unwrap();
    assert_eq!(world.kept().len(), 2, "the archive and the index: {:?}", world.kept());
    drop(chart);
    world.charts.retain(std::slice::from_ref(&wanted)).unwrap();
    assert_eq!(world.kept().len(), 1, "the index alone: {:?}", world.kept());
    let again = world.moved(&wanted, None);
    assert_eq!(world.read(&again, "values.yaml"), "of: 1.0.0\n");
    world.charts.retain(&[]).unwrap();
    assert_eq!(world.kept().len(), 1, "the archive alone: {:?}", world.kept());
}

#[test]
fn locked_version_is_asked_for_once_and_there_without_its_repository_after_a_restart() {
    let (mut world, repository) = (World::new(), repository());
    let wanted = wanted(repository.url(), "web", "1.0.0");
    let first = world.charts.locked(&wanted).unwrap();
    repository.publish_archive("web", "1.0.0", archive("web", "1.0.0", "of: another\n"));
    repository.refuse(Some(503));
    assert_eq!(world.charts.locked(&wanted).unwrap().release, first.release);
    world.restart();
    let again = world.charts.locked(&wanted).unwrap();
    assert_eq!(world.read(&again, "values.yaml"), "of: 1.0.0\n");
    drop((first, again));
    world.charts.retain(&[]).unwrap();
    assert_eq!(world.kept(), Vec::<String>::new());
    assert_eq!(world.charts.locked(&wanted).unwrap_err().reason(), "ServerError");
}
