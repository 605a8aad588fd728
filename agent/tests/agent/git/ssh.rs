//! Repositories over SSH: who is talked to, who is let in, and what is said of everything else.

use std::time::{Duration, Instant};

use skiff::git::{CommitId, FetchError, Retry, Source};
use skiff_harness::git_server::Protocol;
use skiff_harness::ssh_server::{Answer, KeyPair, SshServer};

use super::{World, id, moved, told};

/// One repository behind one SSH server, and a source with a key that is let in.
struct Ssh {
    world: World,
    server: SshServer,
    source: Source,
    first: CommitId,
}

impl Ssh {
    fn new() -> Self {
        let mut world = World::new();
        let big: String = (0..20_000).map(|number| format!("{}\n", number * 7919 % 100_003)).collect();
        let first = id(&world.shop.write("big", &big).commit("First").unwrap());
        let server = SshServer::start(world.server.root()).unwrap();
        let ada = KeyPair::of("ada");
        server.allow(&ada);
        let mut source = world.source("main");
        source.url = server.url("shop").parse().unwrap();
        source.credentials.ssh_key = world.file("identity", &ada.private().unwrap());
        let known = server.known_as(&KeyPair::of("host")).unwrap();
        source.credentials.known_hosts = world.file("known_hosts", &known);
        Self { world, server, source, first }
    }

    fn fail(&self) -> FetchError {
        let error = self.world.cache().update(&self.source, None).unwrap_err();
        let text = format!("{error:?}");
        assert!(!text.contains("PRIVATE KEY") && !text.contains("passw0rd"), "{text}");
        error
    }

    /// Fails, and says how without what differs between runs.
    fn say(&self) -> String {
        let error = self.fail();
        let text = format!("{} {:?}: {}", error.reason(), error.retry(), told(&self.world, &error));
        let text = text.replace(&self.source.url.to_string(), "ssh://git.example/shop");
        text.replace(&self.world.folder.path().display().to_string(), "/secrets")
            .replace(&self.world.server.root().display().to_string(), "/srv")
    }
}

#[test]
fn branch_is_followed_over_ssh() {
    let mut ssh = Ssh::new();
    for protocol in [Protocol::Newest, Protocol::Old] {
        ssh.server.speak(protocol);
        for round in 0..2 {
            let commit = ssh.world.shop.write("a", format!("{round} {protocol:?}")).commit("Next").unwrap();
            let revision = moved(ssh.world.cache().update(&ssh.source, None).unwrap()).unwrap();
            assert_eq!(revision.commit, id(&commit));
            let snapshot = ssh.world.cache().snapshot(&ssh.source, revision.commit).unwrap();
            assert_eq!(snapshot.read("a").unwrap(), format!("{round} {protocol:?}").as_bytes());
        }
    }
    let commands = ssh.server.commands();
    assert_eq!(commands.len(), 4, "one conversation for each: {commands:?}");
    let path = ssh.world.server.root().join("shop.git");
    assert!(commands.iter().all(|command| *command == format!("git-upload-pack '{}'", path.display())));
}

#[test]
fn unmoved_branch_brings_no_pack() {
    let ssh = Ssh::new();
    let known = moved(ssh.world.cache().update(&ssh.source, None).unwrap()).unwrap();
    assert_eq!(known.commit, ssh.first);
    let mut small = ssh.source.clone();
    small.limits.transfer = 5_000;
    ssh.world.cache().update(&small, Some(&known)).unwrap();
}

#[test]
fn server_with_another_key_is_told_nothing() {
    let mut ssh = Ssh::new();
    ssh.server.show(&KeyPair::of("impostor"));
    insta::assert_snapshot!(ssh.say(), @"HostKeyRefused AtInterval: failed to fetch ssh://git.example/shop: the server's key is ssh-ed25519 SHA256:WCuBCBahiRxEZ+Ae9f86ocjVsmUi/yVQgIHEaAY5uAM, /secrets/known_hosts has another one in line 1; if the server has not changed it, somebody else answers");
    ssh.source.credentials.known_hosts = ssh.world.file("known_hosts", "git.example ssh-ed25519 AAAA\n");
    insta::assert_snapshot!(ssh.say(), @"HostKeyUnknown AtInterval: failed to fetch ssh://git.example/shop: the server is not in /secrets/known_hosts; its key is ssh-ed25519 SHA256:WCuBCBahiRxEZ+Ae9f86ocjVsmUi/yVQgIHEaAY5uAM: add it there if that is its own");
    let revoked = ssh.server.known_as(&KeyPair::of("impostor")).unwrap();
    ssh.world.file("known_hosts", &format!("@revoked {revoked}{revoked}"));
    insta::assert_snapshot!(ssh.say(), @"HostKeyRefused AtInterval: failed to fetch ssh://git.example/shop: the server's key ssh-ed25519 SHA256:WCuBCBahiRxEZ+Ae9f86ocjVsmUi/yVQgIHEaAY5uAM is revoked by line 1 of /secrets/known_hosts");
    assert!(ssh.server.commands().is_empty());

    // Whoever changes the file is heard at once.
    ssh.world.file("known_hosts", &revoked);
    ssh.world.cache().update(&ssh.source, None).unwrap();
}

#[test]
fn server_without_a_key_of_the_known_kinds_is_named() {
    let ssh = Ssh::new();
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBKYiZ191GA8bNw9HBzCaZwen+sspmEtLgp2maOE+SDfl1S+PjiU9+hnbZXNMVTHAvbd4Ui30vONl74c1b6HAFJ4=";
    ssh.world.file("known_hosts", &format!("* {ecdsa}\n"));
    insta::assert_snapshot!(ssh.say(), @"HostKeyUnknown AtInterval: failed to fetch ssh://git.example/shop: the server has no key of the kinds in /secrets/known_hosts (ecdsa-sha2-nistp256); add one that it has, Ed25519 or ECDSA");
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let mut ssh = Ssh::new();
    let bob = KeyPair::of("bob");
    ssh.world.file("identity", &bob.private().unwrap());
    let refused = ssh.say().replace(&bob.fingerprint(), "SHA256:bob");
    insta::assert_snapshot!(refused, @r#"AccessDenied AtInterval: failed to fetch ssh://git.example/shop: the server does not accept the key SHA256:bob for user "git"; give its public half access"#);
    // Rotated while the agent runs.
    ssh.server.allow(&bob);
    ssh.world.cache().update(&ssh.source, None).unwrap();

    ssh.world.file("identity", "no key");
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: the private key in /secrets/identity cannot be used: it is not one that OpenSSH writes");
    ssh.world.file("identity", ENCRYPTED);
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: the private key in /secrets/identity cannot be used: it is encrypted; its passphrase is needed too");
    ssh.source.credentials.ssh_passphrase = ssh.world.file("passphrase", "wrong-passw0rd");
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: the private key in /secrets/identity cannot be used: it cannot be read with this passphrase");
    ssh.world.file("passphrase", "passw0rd\n");
    assert_eq!(ssh.fail().reason(), "AccessDenied", "it is read now, but nobody let it in");
    ssh.world.file("identity", RSA);
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: the private key in /secrets/identity cannot be used: RSA is not supported; make one by ssh-keygen -t ed25519 and give its public half access");
    ssh.world.file("identity", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n");
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: the private key in /secrets/identity cannot be used: RSA is not supported; make one by ssh-keygen -t ed25519 and give its public half access");
    std::fs::remove_file(ssh.source.credentials.ssh_key.clone().unwrap()).unwrap();
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: its credentials cannot be read: failed to read the secret in /secrets/identity: No such file or directory (os error 2)");
    ssh.source.credentials.ssh_key = None;
    insta::assert_snapshot!(ssh.say(), @"CredentialsInvalid AtInterval: failed to fetch ssh://git.example/shop: SSH needs a private key; name a file with it under credentials, or a Secret that has identity");
}

#[test]
fn repository_that_is_not_there_is_named() {
    let mut ssh = Ssh::new();
    ssh.source.url = ssh.server.url("it's !gone").parse().unwrap();
    let said = ssh.say().replace("ssh://git.example/shop", "URL");
    insta::assert_snapshot!(said, @"RepositoryNotFound AtInterval: failed to fetch URL: the server has no such repository; check the path, and what the key may read: fatal: '/srv/it's !gone.git' does not appear to be a git repository");
}

#[test]
fn server_over_ssh_that_never_comes_to_an_end_is_left_at_the_deadline() {
    let mut ssh = Ssh::new();
    ssh.source.limits.deadline = Duration::from_secs(1);
    for answer in [
        Answer::Nothing,
        Answer::Stalling { after: 100 },
        Answer::Stalling { after: 5000 },
        Answer::Dripping { every: Duration::from_millis(50) },
    ] {
        ssh.server.answer(answer);
        let begun = Instant::now();
        let error = ssh.fail();
        assert_eq!((error.reason(), error.retry()), ("DeadlineExceeded", Retry::Backoff), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{answer:?}");
    }
    ssh.source.limits.deadline = Duration::from_secs(20);
    ssh.server.answer(Answer::Cut { after: 5000 });
    let error = ssh.fail();
    assert!(matches!(error, FetchError::Ended { .. }), "{error:?}");
    ssh.server.answer(Answer::Whole);
    ssh.world.cache().update(&ssh.source, None).unwrap();
}

#[test]
fn transfer_over_ssh_beyond_the_limit_is_left() {
    let mut ssh = Ssh::new();
    ssh.source.limits.transfer = 20_000;
    insta::assert_snapshot!(ssh.say(), @"TooLarge OnChange: failed to fetch ssh://git.example/shop: more than 20000 bytes; raise fetch.limits.transfer to allow it");
}

#[test]
fn server_that_is_not_there_is_unreachable() {
    let Ssh { world, server, source, .. } = Ssh::new();
    drop(server);
    let error = world.cache().update(&source, None).unwrap_err();
    assert!(matches!(error, FetchError::SshUnreachable { .. }), "{error:?}");
    assert_eq!((error.reason(), error.retry()), ("Unreachable", Retry::Backoff));
}

/// Written by `ssh-keygen -t ed25519 -a 1 -N passw0rd`; nobody lets it in.
const ENCRYPTED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABD1DWGBe1
tx6q3LQQPFhWRSAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAII7iWyAtSGfhCmsD
HuM1/LK0exBiO9iyQ8NsXfBxnBFWAAAAkDL/86B3BDxnUD64dWue7yttY2YAiBci4gbs/P
PnS68HluSZgrdULt+96WzpfIbK/9eYvJhdW9aFlQe3fl7B7Cu+0KTfvBXBLI9NTPb+DYCj
MqolCkyX3lBkf0TztlH3sgIg5zr0+IvoJvp8DFf+lWSLG6G/NFOA7Ay1giCBORi8mMiDgg
Sixqt9B81Z2Gj3GQ==
-----END OPENSSH PRIVATE KEY-----
";

/// Written by `ssh-keygen -t rsa -b 2048`; nobody lets it in.
const RSA: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAABFwAAAAdzc2gtcn
NhAAAAAwEAAQAAAQEAmPNLLQ+4QwyME886k6mbYCNiS6eAFcuLTMBNcMzWiLvOPtEgQRjR
hjfW4+YyKNawjiycEBxBC6GDj28TL26mVyeWfd4gPcSokIJHWtX1qFZzxuujXwk1CfoAXu
NWFRhKUsBT96EosXUrtRz8k/ZMVorxT+A+ttMwQJ2uhcPXsZBu+N6npXmq5KP06NvKHB5N
p94493pD/Ep8V9BR/n0QNL8+5pP3KHeVi/YGW3Xs0PPKSZzjhErDM4MoE3+6kPYvh6dIN6
61OqqpUzQLdD/msVzHJvwNKFb64TTMI6RP/TDvrPq3ibB/1zLad2//b0JDj2T/4RYij69p
0S3azvJTDwAAA8ARbTGxEW0xsQAAAAdzc2gtcnNhAAABAQCY80stD7hDDIwTzzqTqZtgI2
JLp4AVy4tMwE1wzNaIu84+0SBBGNGGN9bj5jIo1rCOLJwQHEELoYOPbxMvbqZXJ5Z93iA9
xKiQgkda1fWoVnPG66NfCTUJ+gBe41YVGEpSwFP3oSixdSu1HPyT9kxWivFP4D620zBAna
6Fw9exkG743qelearko/To28ocHk2n3jj3ekP8SnxX0FH+fRA0vz7mk/cod5WL9gZbdezQ
88pJnOOESsMzgygTf7qQ9i+Hp0g3rrU6qqlTNAt0P+axXMcm/A0oVvrhNMwjpE/9MO+s+r
eJsH/XMtp3b/9vQkOPZP/hFiKPr2nRLdrO8lMPAAAAAwEAAQAAAQAzE0OuZ4pzsXPxhYkd
GE1PfGFtvCCUpqT821bA7VZS0Mxdw74OnvgQ5wK2lf94DcFlqNXwt06tUKE7O69fbobTod
+qZovDtLFJmIe1eK+RKFV/Pt8OdGemzjpjdW0gnDzth1ZC4ilRoTwYPfbGfkAdwkY1E0A+
EyYQ3dcSykR0Aa/ToJ75NrRXONlnEREHheIu8hvFbec5iFJEa4rREiBJh2J4lIhJq6g1qI
n+nTgH9+oiu61FaQbh9tZeSqI2zHhbWwrOC8c974LnT9nLZvoWWShBzEmenWHWIcy17v/9
d0khd4SLJmtYWXCviLGeDIulJydhqokuFAFqDuPFSYI5AAAAgQCPtgYS9RLCFzzR5lBFdf
dnQj5XXkqIfTbmhpshIKF5pOsMwzB+S8Y9fF2uE67tkHprc4JjHKx8EeGnclMK15uOpZnz
lf0mfEfQZcoJRaeN7qoGfnl4syH7/2htUJWI4/tc+qjXwQIcsMvx8vhc5b6xuHjt/OWcRj
6Im8yf19NDsAAAAIEA1XRCELaqVSNXwyS5IeTbFmPe+9RWUZ+/vIubcq6rfoD/PY0t9jUA
ytUQYRz64wxaHONS1IE1x+jxL83zPNMJAeezHedmSjmGrISVVxy5b1ZzivqxwoW/emkYAN
3ncz3ZNauxXi95iqV+KoKZb27rsQYHS/jEHxZp5Ar7lde5Ir0AAACBALdvwvBNwym/+T1z
9IVfsK9CuvO6pn62/hDLVNm8kjAXKMelU7LbKEGUskwnbxxgY2xOmqGLtJQ5gb3RVYHIwB
gdeZ7L3zgKsEoSPALmP867Ua/NrKOqf9IfnQYjLMvxwXcQJX78t4fxL1LYMryzVOE9r3xJ
tvz/cJlF8PnUnm+7AAAAA2FkYQECAwQFBgc=
-----END OPENSSH PRIVATE KEY-----
";
