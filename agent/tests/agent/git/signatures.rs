//! Signatures that a source asks for, made by the real `ssh-keygen`, `gpg` and `git`: who may sign what, and what is said
//! of everything else.

use skiff::git::{FetchError, Retry, SignaturePolicy, Signed, Source};
use skiff_harness::signing::Signer;

use super::{World, moved, told};

/// A repository, and a source that asks for signed commits of whoever is in the file `signers`.
fn world() -> (World, Source) {
    let mut world = World::new();
    world.shop.write("a", "1").commit("First").unwrap();
    let mut source = world.source("main");
    source.verify = Some(SignaturePolicy {
        signed: Signed::Commit,
        allowed_signers: world.file("signers", "# nobody yet\n"),
        public_keys: None,
        secret: None,
    });
    (world, source)
}

fn policy(source: &mut Source) -> &mut SignaturePolicy {
    source.verify.as_mut().unwrap()
}

/// Allows somebody to sign by SSH, with these options.
fn allow(world: &World, options: &str, signer: &Signer) {
    world.file("signers", &format!("ada@example {options} {}", signer.public().unwrap()));
}

/// Returns who has signed what the source stands at.
fn signed_by(world: &World, source: &Source) -> String {
    moved(world.cache().update(source, None).unwrap()).unwrap().signers.join(" and ")
}

fn fail(world: &World, source: &Source) -> FetchError {
    world.cache().update(source, None).unwrap_err()
}

/// Fails, and says how without what differs between runs.
fn say(world: &World, source: &Source) -> String {
    let error = fail(world, source);
    assert_eq!(error.retry(), Retry::AtInterval, "{error:?}");
    let text = told(world, &error).replace(&world.folder.path().display().to_string(), "/skiff");
    let words: Vec<&str> = text.split(' ').map(plain).collect();
    format!("{}: {}", error.reason(), words.join(" "))
}

/// Returns what a word stands for if it is an id, a digest or a time.
fn plain(word: &str) -> &str {
    let bare = word.trim_end_matches([',', ';', ':']);
    let long = bare.len() >= 40 && bare.chars().all(|letter| letter.is_ascii_hexdigit());
    match bare {
        _ if bare.starts_with("sha1:") => "COMMIT",
        _ if bare.starts_with("SHA256:") => "SHA256:…",
        _ if long => "FINGERPRINT",
        _ if bare.starts_with("20") && bare.ends_with('Z') => "TIME",
        _ => word,
    }
}

#[test]
fn commits_signed_by_ssh_are_taken_from_those_in_the_file() {
    let (mut world, source) = world();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let ada = Signer::ssh(kind).unwrap();
        allow(&world, "namespaces=\"git\"", &ada);
        world.shop.write("a", kind).commit_signed("Signed", &ada).unwrap();
        assert_eq!(signed_by(&world, &source), "ada@example", "{kind}");
    }
    let known = moved(world.cache().update(&source, None).unwrap()).unwrap();
    world.shop.write("a", "unsigned").commit("Unsigned").unwrap();
    insta::assert_snapshot!(say(&world, &source), @"Unsigned: refusing a revision of http://git.example/shop: commit COMMIT is not signed");
    let refused = world.cache().update(&source, Some(&known)).unwrap_err();
    assert_eq!(refused.reason(), "Unsigned", "also after one that was good");
    let snapshot = world.cache().snapshot(&source, known.commit).unwrap();
    assert_eq!(snapshot.read("a").unwrap(), b"rsa", "the one before can still be read");
}

#[test]
fn commits_signed_by_others_or_otherwise_are_refused() {
    let (mut world, source) = world();
    let (ada, eve) = (Signer::ssh("ed25519").unwrap(), Signer::ssh("ed25519").unwrap());
    allow(&world, "", &ada);
    world.shop.commit_signed("Eve's", &eve).unwrap();
    insta::assert_snapshot!(say(&world, &source), @"SignerUnknown: refusing a revision of http://git.example/shop: commit COMMIT is signed with SSH key SHA256:… which is not among the signers in /skiff/signers");
    world.shop.commit_signed("Ada's", &ada).unwrap();
    assert_eq!(signed_by(&world, &source), "ada@example");
    for options in ["valid-before=20200101", "valid-after=20990101", "namespaces=\"file\""] {
        allow(&world, options, &ada);
        let reason = if options.starts_with("valid") { "SignerExpired" } else { "SignerNotAllowed" };
        assert_eq!(fail(&world, &source).reason(), reason, "{options}");
    }
    insta::assert_snapshot!(say(&world, &source), @r#"SignerNotAllowed: refusing a revision of http://git.example/shop: commit COMMIT is signed with SSH key SHA256:… of "ada@example", which may not sign it: it is for "file", not for "git""#);
    allow(&world, "valid-before=20200101", &ada);
    insta::assert_snapshot!(say(&world, &source), @r#"SignerExpired: refusing a revision of http://git.example/shop: commit COMMIT is signed with SSH key SHA256:… of "ada@example", which was not valid for it: it was valid until TIME and this is of TIME"#);

    // A signature of another text, or for another purpose, put into a commit.
    allow(&world, "", &ada);
    let tree = world.shop.git(&["rev-parse", "main^{tree}"]).unwrap();
    let person = "Ada <ada@example> 1763888400 +0000";
    for (namespace, text) in [("git", "something else"), ("file", "anything")] {
        let signature = ada.sign_for(namespace, text.as_bytes()).unwrap();
        let signature = signature.trim_end().replace('\n', "\n ");
        let commit =
            format!("tree {tree}\nauthor {person}\ncommitter {person}\ngpgsig {signature}\n\nForged\n");
        let id =
            world.shop.git_with_input(&["hash-object", "-t", "commit", "-w", "--stdin"], commit.as_bytes());
        world.shop.git(&["update-ref", "refs/heads/main", &id.unwrap()]).unwrap();
        match namespace {
            "git" => {
                insta::assert_snapshot!(say(&world, &source), @"SignatureInvalid: refusing a revision of http://git.example/shop: the signature of commit COMMIT is not good: it does not fit what it is of")
            }
            _ => {
                insta::assert_snapshot!(say(&world, &source), @r#"SignerNotAllowed: refusing a revision of http://git.example/shop: commit COMMIT is signed with SSH key SHA256:… which may not sign it: it signed for "file", not for "git""#)
            }
        }
    }
}

#[test]
fn signers_that_cannot_be_read_let_nobody_pass() {
    let (mut world, mut source) = world();
    let ada = Signer::ssh("ed25519").unwrap();
    world.shop.commit_signed("Ada's", &ada).unwrap();
    insta::assert_snapshot!(say(&world, &source), @"SignersInvalid: failed to check the signature of http://git.example/shop: /skiff/signers names nobody who may sign");
    world.file("signers", "ada@example\n");
    insta::assert_snapshot!(say(&world, &source), @"SignersInvalid: failed to check the signature of http://git.example/shop: line 1 of /skiff/signers names no signer: it ends before the public key");
    std::fs::remove_file(world.folder.path().join("signers")).unwrap();
    insta::assert_snapshot!(say(&world, &source), @"SignersInvalid: failed to check the signature of http://git.example/shop: who may sign cannot be read: failed to read the secret in /skiff/signers: No such file or directory (os error 2)");
    policy(&mut source).allowed_signers = None;
    policy(&mut source).public_keys = world.file("keys", "ada\n");
    insta::assert_snapshot!(say(&world, &source), @"SignersInvalid: failed to check the signature of http://git.example/shop: /skiff/keys has no OpenPGP public key that can be used: it is not armored; write it by gpg --export --armor");
    policy(&mut source).public_keys = None;
    policy(&mut source).secret = Some("shop-signers".to_owned());
    insta::assert_snapshot!(say(&world, &source), @"SecretUnreadable: failed to fetch http://git.example/shop: a Secret that it needs cannot be used: Secret skiff/shop-signers not found; create it, or correct secretRef");
    world.shelf.put("shop-signers", &[("note", "none here")]);
    insta::assert_snapshot!(say(&world, &source), @"SignersInvalid: failed to check the signature of http://git.example/shop: Secret skiff/shop-signers names nobody who may sign");
    let line = format!("ada@example {}", ada.public().unwrap());
    world.shelf.put("shop-signers", &[("allowed_signers", &line)]);
    assert_eq!(signed_by(&world, &source), "ada@example");
}

#[test]
fn commits_signed_by_openpgp_are_taken_from_the_keys_in_the_file() {
    let (mut world, mut source) = world();
    policy(&mut source).allowed_signers = None;
    for kind in ["ed25519", "rsa3072", "nistp256"] {
        let ada = Signer::gpg("Ada <ada@example>", kind, "20200101T000000").unwrap();
        policy(&mut source).public_keys = world.file("keys", &ada.public().unwrap());
        world.shop.write("a", kind).commit_signed("Signed", &ada).unwrap();
        assert_eq!(signed_by(&world, &source), "Ada <ada@example>", "{kind}");
    }
    let ada = Signer::gpg("Ada <ada@example>", "ed25519", "20200101T000000").unwrap();
    let eve = Signer::gpg("Eve <eve@example>", "ed25519", "20200101T000000").unwrap();
    world.file("keys", &ada.public().unwrap());
    world.shop.commit_signed("Eve's", &eve).unwrap();
    insta::assert_snapshot!(say(&world, &source), @"SignerUnknown: refusing a revision of http://git.example/shop: commit COMMIT is signed with OpenPGP key FINGERPRINT which is not among the signers in /skiff/keys");
    // Several keys in one file, and in a Secret under any names.
    world.file("keys", &format!("{}{}", ada.public().unwrap(), eve.public().unwrap()));
    assert_eq!(signed_by(&world, &source), "Eve <eve@example>");
    policy(&mut source).public_keys = None;
    policy(&mut source).secret = Some("signers".to_owned());
    world.shelf.put("signers", &[("ada.asc", &ada.public().unwrap()), ("eve", &eve.public().unwrap())]);
    assert_eq!(signed_by(&world, &source), "Eve <eve@example>");
}

#[test]
fn openpgp_keys_sign_as_long_as_their_owners_say() {
    let (mut world, mut source) = world();
    policy(&mut source).allowed_signers = None;
    let ada = Signer::gpg("Ada <ada@example>", "ed25519", "20200101T000000").unwrap();
    ada.add_subkey("ed25519").unwrap();
    policy(&mut source).public_keys = world.file("keys", &ada.public().unwrap());
    world.shop.commit_signed("By a subkey", &ada).unwrap();
    assert_eq!(signed_by(&world, &source), "Ada <ada@example>");

    ada.expire("20200601T000000", "20210101T000000").unwrap();
    world.file("keys", &ada.public().unwrap());
    insta::assert_snapshot!(say(&world, &source), @r#"SignerExpired: refusing a revision of http://git.example/shop: commit COMMIT is signed with OpenPGP key FINGERPRINT of "Ada <ada@example>", which was not valid for it: it was valid until TIME and this is of TIME"#);
    ada.revoke().unwrap();
    world.file("keys", &ada.public().unwrap());
    insta::assert_snapshot!(say(&world, &source), @r#"SignerExpired: refusing a revision of http://git.example/shop: commit COMMIT is signed with OpenPGP key FINGERPRINT of "Ada <ada@example>", which was not valid for it: it is revoked"#);
}

#[test]
fn tags_are_signed_for_their_own_name_and_commit() {
    let (mut world, mut source) = world();
    let ada = Signer::ssh("ed25519").unwrap();
    allow(&world, "", &ada);
    let follow = |source: &mut Source, tag: &str, signed| {
        source.reference = format!("refs/tags/{tag}").parse().unwrap();
        policy(source).signed = signed;
    };
    world.shop.commit("Unsigned").unwrap();
    world.shop.tag_signed("v1", "One", &ada).unwrap();
    follow(&mut source, "v1", Signed::Tag);
    assert_eq!(signed_by(&world, &source), "ada@example");
    follow(&mut source, "v1", Signed::Either);
    assert_eq!(signed_by(&world, &source), "ada@example");
    follow(&mut source, "v1", Signed::Both);
    insta::assert_snapshot!(say(&world, &source), @"Unsigned: refusing a revision of http://git.example/shop: commit COMMIT is not signed");
    world.restart();
    world.shop.commit_signed("Signed", &ada).unwrap();
    world.shop.tag_signed("v1", "One again", &ada).unwrap();
    assert_eq!(signed_by(&world, &source), "ada@example");

    world.shop.tag("light").unwrap();
    follow(&mut source, "light", Signed::Tag);
    insta::assert_snapshot!(say(&world, &source), @r#"TagNotAnnotated: refusing a revision of http://git.example/shop: tag "light" has no object that could be signed; make it by git tag --sign"#);
    follow(&mut source, "light", Signed::Either);
    assert_eq!(signed_by(&world, &source), "ada@example", "its commit is signed");
    world.shop.annotated_tag("unsigned", "Nobody's").unwrap();
    follow(&mut source, "unsigned", Signed::Tag);
    insta::assert_snapshot!(say(&world, &source), @r#"Unsigned: refusing a revision of http://git.example/shop: tag "unsigned" is not signed"#);
    // A good tag under another name is an old release in a new one's place.
    let tag = world.shop.git(&["rev-parse", "refs/tags/v1"]).unwrap();
    world.shop.git(&["update-ref", "refs/tags/v2", &tag]).unwrap();
    follow(&mut source, "v2", Signed::Tag);
    insta::assert_snapshot!(say(&world, &source), @r#"SignatureInvalid: refusing a revision of http://git.example/shop: the signature of tag "v2" is not good: it was made for a tag called "v1""#);
    source.reference = "refs/heads/main".parse().unwrap();
    insta::assert_snapshot!(say(&world, &source), @"TagNotAnnotated: refusing a revision of http://git.example/shop: there is no tag to be signed; let ref follow tags, or verify ask for the commit");
}
