//! Tags that approve plans, made by the real `git`, `ssh-keygen` and `gpg`: what each is worth, and what it costs to ask.

use skiff::git::{Approvals, CommitId, FetchError, SignaturePolicy, Signed, Sought, Source, Update};
use skiff_harness::git_server::RequestKind;
use skiff_harness::signing::Signer;
use skiff_shared::gate::approval::{ApprovalTag, Word, tag_name};
use skiff_shared::object::Digest;

use super::World;

/// A repository where tags of whoever is in the files `approvers` and `keys` approve plans for the agent `eu-1`.
struct Desk {
    world: World,
    source: Source,
    plan: Digest,
}

impl Desk {
    fn new(ada: &Signer) -> Self {
        let mut world = World::new();
        world.shop.write("a", "1").commit("First").unwrap();
        let line = format!("ada@example namespaces=\"git\" {}", ada.public().unwrap());
        let signers = SignaturePolicy {
            signed: Signed::Tag,
            allowed_signers: world.file("approvers", &line),
            public_keys: None,
            secret: None,
        };
        let mut source = world.source("main");
        source.approvals = Some(Box::new(Approvals { instance: "eu-1".to_owned(), signers }));
        Self { world, source, plan: Digest::of(b"the plan") }
    }

    fn name(&self) -> String {
        tag_name("eu-1", "shop", self.plan)
    }

    fn asked(&self, plan: Digest) -> Result<(Update, Vec<ApprovalTag>), FetchError> {
        let sought: Sought = [("shop".into(), plan)].into();
        self.world.cache().update_with_approvals(&self.source, None, &sought, std::time::Instant::now())
    }

    fn tags(&self) -> Vec<ApprovalTag> {
        self.asked(self.plan).unwrap().1
    }

    /// Says what the only tag is worth.
    fn word(&self) -> String {
        let tags = self.tags();
        let [tag] = &tags[..] else { panic!("one tag is there: {tags:?}") };
        match &tag.word {
            Word::Unread => "unread".to_owned(),
            Word::Good { by, made_at: _ } => format!("good: {by}"),
            Word::Bad(why) => {
                let message = why
                    .message
                    .replace(&tag.name, "TAG")
                    .replace(self.world.server.base(), "http://git.example");
                let message = message.replace(&self.world.folder.path().display().to_string(), "/skiff");
                format!("{}: {}", why.reason, blind(&message))
            }
        }
    }
}

/// Hides what differs between runs.
fn blind(text: &str) -> String {
    let word = |word: &str| match word.trim_end_matches(',') {
        bare if bare.starts_with("SHA256:") => "SHA256:…".to_owned(),
        bare if bare.len() >= 40 && bare.chars().all(|letter| letter.is_ascii_hexdigit()) => {
            "FINGERPRINT".to_owned()
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn signed_tag_says_who_approves_which_plan() {
    let ada = Signer::ssh("ed25519").unwrap();
    let mut desk = Desk::new(&ada);
    assert_eq!(desk.tags(), []);
    let name = desk.name();
    desk.world.shop.tag_signed(&name, "Looks good", &ada).unwrap();
    let tags = desk.tags();
    assert_eq!(
        (tags[0].name.as_str(), tags[0].app.as_str(), tags[0].plan),
        (name.as_str(), "shop", desk.plan)
    );
    assert_eq!(desk.word(), "good: ada@example");

    let bob = Signer::gpg("Bob <bob@example>", "ed25519", "20200101T000000").unwrap();
    desk.world.shop.tag_signed(&name, "Mine too", &bob).unwrap();
    insta::assert_snapshot!(desk.word(), @r#"SignerUnknown: tag "TAG" is signed with OpenPGP key FINGERPRINT which is not among the signers in /skiff/approvers"#);
    let keys = desk.world.file("keys", &bob.public().unwrap());
    desk.source.approvals.as_mut().unwrap().signers.public_keys = keys;
    assert_eq!(desk.word(), "good: Bob <bob@example>");
}

#[test]
fn tag_without_a_good_signature_approves_nothing() {
    let (ada, eve) = (Signer::ssh("ed25519").unwrap(), Signer::ssh("ed25519").unwrap());
    let desk = Desk::new(&ada);
    let (name, shop) = (desk.name(), &desk.world.shop);
    shop.tag(&name).unwrap();
    insta::assert_snapshot!(desk.word(), @r#"TagNotAnnotated: tag "TAG" has no object that could be signed; make it by git tag --sign"#);
    shop.annotated_tag(&name, "Trust me").unwrap();
    insta::assert_snapshot!(desk.word(), @r#"Unsigned: tag "TAG" is not signed"#);
    shop.tag_signed(&name, "Trust me", &eve).unwrap();
    insta::assert_snapshot!(desk.word(), @r#"SignerUnknown: tag "TAG" is signed with SSH key SHA256:… which is not among the signers in /skiff/approvers"#);
    // A good tag on another plan, in this one's place.
    let other = tag_name("eu-1", "shop", Digest::of(b"an older plan"));
    shop.tag_signed(&other, "The older one", &ada).unwrap();
    let good = shop.git(&["rev-parse", &format!("refs/tags/{other}")]).unwrap();
    shop.git(&["tag", "--delete", &other]).unwrap();
    shop.git(&["update-ref", &format!("refs/tags/{name}"), &good]).unwrap();
    insta::assert_snapshot!(desk.word().replace(&other, "OTHER"), @r#"SignatureInvalid: the signature of tag "TAG" is not good: it was made for a tag called "OTHER""#);
    desk.world.file("approvers", "# nobody any more\n");
    insta::assert_snapshot!(desk.word(), @r#"SignersInvalid: tag "TAG" cannot be judged: failed to check the signature of http://git.example/shop: /skiff/approvers names nobody who may sign"#);
}

#[test]
fn tags_cost_one_listing_and_only_the_awaited_one_is_read() {
    let ada = Signer::ssh("ed25519").unwrap();
    let mut desk = Desk::new(&ada);
    let (name, big) = (desk.name(), "0123456789".repeat(20_000));
    desk.world.shop.write("big", &big).commit("Second").unwrap();
    desk.tags();
    for plan in ["an older plan", "another one"] {
        let other = tag_name("eu-1", "shop", Digest::of(plan.as_bytes()));
        desk.world.shop.tag_signed(&other, "Older", &ada).unwrap();
    }
    let elsewhere = tag_name("eu-2", "shop", desk.plan);
    desk.world.shop.tag_signed(&elsewhere, "For another agent", &ada).unwrap();
    let (packs, listings) = (desk.world.packs_sent(), desk.world.server.count(RequestKind::Listing).requests);
    let tags = desk.tags();
    assert_eq!(tags.iter().filter(|tag| tag.word == Word::Unread).count(), 2, "{tags:?}");
    assert_eq!(desk.world.packs_sent(), packs, "nobody waits for them");
    assert_eq!(desk.world.server.count(RequestKind::Listing).requests, listings + 1);

    desk.world.shop.tag_signed(&name, "Looks good", &ada).unwrap();
    let before = desk.world.server.count(RequestKind::Fetch).sent;
    let first = desk.tags();
    assert!(desk.world.server.count(RequestKind::Fetch).sent - before < 10_000, "the tag's object alone");
    assert_eq!(desk.tags(), first);
    assert_eq!(desk.world.packs_sent(), packs + 1, "it is fetched once");
    desk.world.shop.git(&["tag", "--delete", &name]).unwrap();
    assert_eq!(desk.tags().len(), 2);
}

#[test]
fn tag_that_cannot_be_fetched_hinders_nothing_else() {
    let ada = Signer::ssh("ed25519").unwrap();
    let mut desk = Desk::new(&ada);
    desk.tags();
    // It is on something that is too large.
    let big: String = (0..200_000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
    let name = desk.name();
    desk.world.shop.branch("big").unwrap().write("big", &big).commit("Big").unwrap();
    desk.world.shop.tag_signed(&name, "Looks good", &ada).unwrap();
    let second = desk.world.shop.switch("main").write("a", "2").commit("Second").unwrap();
    desk.source.limits.transfer = 100_000;
    let (update, _) = desk.asked(desk.plan).unwrap();
    let Update::Moved(revision) = update else { panic!("it moved") };
    assert_eq!(revision.commit, second.parse::<CommitId>().unwrap());
    insta::assert_snapshot!(desk.word(), @r#"TooLarge: tag "TAG" cannot be judged: failed to fetch http://git.example/shop: more than 100000 bytes; raise fetch.limits.transfer to allow it"#);
}
