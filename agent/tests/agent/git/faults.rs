//! Servers that are slow, broken or too generous.

use std::thread;
use std::time::{Duration, Instant};

use skiff::git::{FetchError, Limits, Retry, Revision, Source};
use skiff_harness::fault_proxy::{self, FaultProxy};
use skiff_harness::git_server::{Fault, RequestKind};

use super::{World, id, moved, told};

/// Longer than any of these operations is allowed to take.
const PATIENCE: Duration = Duration::from_secs(20);

fn filled() -> World {
    let mut world = World::new();
    let big: String = (0..100_000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    world.shop.write("big", &big).commit("First").unwrap();
    world
}

fn hasty(world: &World) -> Source {
    let mut source = world.source("main");
    source.limits.deadline = Duration::from_millis(300);
    source
}

#[test]
fn statuses_have_their_words_and_their_times() {
    let world = World::new();
    let minute = Duration::from_secs(60);
    let mut said = Vec::new();
    for fault in [
        Fault::status(403),
        Fault::status(404),
        Fault::rate_limited(minute),
        Fault::status(429),
        Fault::status(500),
        Fault::Status { code: 503, retry_after: Some(minute) },
        Fault::status(418),
        Fault::status(200),
    ] {
        world.server.behave(fault);
        let error = world.update(None).unwrap_err();
        said.push(format!("{} {:?}: {error}", error.reason(), error.retry()));
    }
    let said = said.join("\n").replace(world.server.base(), "http://git.example");
    insta::assert_snapshot!(said, @r"
    AccessDenied AtInterval: failed to fetch http://git.example/shop: access is forbidden (403); check what the credentials may read
    RepositoryNotFound AtInterval: failed to fetch http://git.example/shop: repository not found (404); check the URL, and the credentials if it is private
    RateLimited After(60s): failed to fetch http://git.example/shop: too many requests (429)
    RateLimited Backoff: failed to fetch http://git.example/shop: too many requests (429)
    ServerError Backoff: failed to fetch http://git.example/shop: the server answered 500
    ServerError After(60s): failed to fetch http://git.example/shop: the server answered 503
    ServerError Backoff: failed to fetch http://git.example/shop: the server answered 418
    RepositoryNotFound AtInterval: failed to fetch http://git.example/shop: the answer is not Git's; is this the address of a repository?
    ");
}

#[test]
fn server_that_never_comes_to_an_end_is_left_at_the_deadline() {
    let world = filled();
    let faults = [
        (None, Fault::Hang),
        (None, Fault::Drip { every: Duration::from_millis(50) }),
        (Some(RequestKind::Listing), Fault::Hang),
        (Some(RequestKind::Fetch), Fault::Hang),
        (Some(RequestKind::Fetch), Fault::Stall { after: 5000 }),
        (Some(RequestKind::Fetch), Fault::Drip { every: Duration::from_millis(50) }),
    ];
    for (kind, fault) in faults {
        world.server.behave(Fault::None);
        match kind {
            None => world.server.behave(fault.clone()),
            Some(kind) => world.server.behave_on(kind, fault.clone()),
        }
        let begun = Instant::now();
        let error = world.cache().update(&hasty(&world), None).unwrap_err();
        assert!(matches!(error, FetchError::Deadline { .. }), "{fault:?}: {error:?}");
        assert_eq!((error.reason(), error.retry()), ("DeadlineExceeded", Retry::Backoff));
        assert!(begun.elapsed() < PATIENCE, "{fault:?}");
    }
    world.server.behave(Fault::None);
    world.moved();
}

#[test]
fn shutdown_ends_a_transfer_that_hangs() {
    let world = filled();
    world.server.behave_on(RequestKind::Fetch, Fault::Stall { after: 5000 });
    thread::scope(|scope| {
        let hanging = scope.spawn(|| world.update(None));
        let begun = Instant::now();
        while world.packs_sent() == 0 {
            assert!(begun.elapsed() < PATIENCE);
            thread::yield_now();
        }
        world.cancel.cancel();
        let error = hanging.join().unwrap().unwrap_err();
        assert!(matches!(error, FetchError::Cancelled { .. }), "{error:?}");
    });
}

#[test]
fn broken_transfers_leave_nothing_and_the_next_one_succeeds() {
    let mut world = filled();
    let mut known: Option<Revision> = None;
    for round in 0..2 {
        for fault in [Fault::Cut { after: 100 }, Fault::Truncate { after: 100 }] {
            let commit = world.shop.write("small", format!("{round} {fault:?}")).commit("Next").unwrap();
            world.server.behave_on(RequestKind::Fetch, fault.clone());
            let error = world.update(known.as_ref()).unwrap_err();
            let reason = if matches!(fault, Fault::Cut { .. }) { "Unreachable" } else { "TransferDamaged" };
            assert_eq!((error.reason(), error.retry()), (reason, Retry::Backoff), "{error:?}");
            world.server.behave(Fault::None);
            let revision = moved(world.update(known.as_ref()).unwrap()).unwrap();
            assert_eq!(revision.commit, id(&commit));
            known = Some(revision);
        }
    }
    assert_eq!(world.snapshot().list("").unwrap().len(), 2);
}

#[test]
fn transfer_beyond_the_limit_is_left_and_not_repeated() {
    let mut world = filled();
    let mut source = world.source("main");
    source.limits.transfer = 50_000;
    let error = world.cache().update(&source, None).unwrap_err();
    insta::assert_snapshot!(told(&world, &error), @"failed to fetch http://git.example/shop: more than 50000 bytes; raise fetch.limits.transfer to allow it");
    assert_eq!((error.reason(), error.retry()), ("TooLarge", Retry::OnChange));

    let error = world.cache().update(&source, None).unwrap_err();
    assert_eq!(error.reason(), "TooLarge");
    assert_eq!(world.packs_sent(), 1, "the same commit would be as large again");

    world.shop.remove("big").write("small", "1").commit("Smaller").unwrap();
    world.cache().update(&source, None).unwrap();
    world.shop.write("big", "x".repeat(100_000)).commit("Large").unwrap();
    source.limits = Limits { transfer: 10_000_000, ..source.limits };
    world.cache().update(&source, None).unwrap();
}

#[test]
fn file_beyond_the_limit_is_not_unpacked() {
    let mut world = World::new();
    world.shop.write("bomb", vec![0; 20_000_000]).commit("Small as a pack").unwrap();
    let mut source = world.source("main");
    source.limits.file = 10_000_000;
    let error = world.cache().update(&source, None).unwrap_err();
    assert!(matches!(error, FetchError::FileTooLarge { limit: 10_000_000, .. }), "{error:?}");
    world.cache().update(&source, None).unwrap_err();
    assert_eq!(world.packs_sent(), 1);
    source.limits.file = 30_000_000;
    world.cache().update(&source, None).unwrap();
}

#[test]
fn network_that_fails_is_a_server_that_cannot_be_reached() {
    let world = filled();
    let address = world.server.base().trim_start_matches("http://").parse().unwrap();
    let proxy = FaultProxy::start(address).unwrap();
    let mut source = world.source("main");
    source.url = format!("http://{}/shop", proxy.address()).parse().unwrap();
    let (long, short) = (PATIENCE, Duration::from_millis(300));
    for (fault, deadline, reason) in [
        (fault_proxy::Fault::Reset, long, "Unreachable"),
        (fault_proxy::Fault::Cut { after: 2000 }, long, "Unreachable"),
        (fault_proxy::Fault::Silence, short, "DeadlineExceeded"),
        (fault_proxy::Fault::HalfOpen, short, "DeadlineExceeded"),
    ] {
        source.limits.deadline = deadline;
        proxy.behave(fault);
        let error = world.cache().update(&source, None).unwrap_err();
        assert_eq!((error.reason(), error.retry()), (reason, Retry::Backoff), "{fault:?}: {error:?}");
    }
    drop(proxy);
    source.limits.deadline = long;
    let error = world.cache().update(&source, None).unwrap_err();
    assert_eq!(error.reason(), "Unreachable");
}
