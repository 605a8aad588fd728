//! The known hosts of a source, written as OpenSSH's `known_hosts`: which keys a server may have. Pure.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use russh::keys::{Algorithm, PublicKey, parse_public_key_base64};

use super::SSH_PORT;

/// What is known of servers.
#[derive(Debug)]
pub(in crate::git) struct KnownHosts(Vec<Line>);

#[derive(Debug)]
struct Line {
    number: usize,
    revoked: bool,
    hosts: Vec<Host>,
    key: PublicKey,
}

/// Whom a line speaks of.
#[derive(Debug)]
enum Host {
    /// May hold `*` and `?`, and `!` before it.
    Pattern(String),
    /// A digest of the name, so that the file tells nobody.
    Hashed { salt: Vec<u8>, digest: Vec<u8> },
}

/// What is known of a server's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Known,
    /// Nothing is known of this server.
    Unknown,
    /// Another key is.
    Other {
        line: usize,
    },
    Revoked {
        line: usize,
    },
}

impl KnownHosts {
    /// Reads what can be read; a line that says nothing of a plain key, as one of an authority, makes nothing known.
    pub(super) fn read(text: &str) -> Self {
        let numbered = text.lines().enumerate();
        Self(numbered.filter_map(|(index, line)| Line::read(index + 1, line)).collect())
    }

    /// Returns the kinds of keys that the server is known by.
    pub(super) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let mut kinds = Vec::new();
        for line in self.lines(host, port).filter(|line| !line.revoked) {
            if !kinds.contains(&line.key.algorithm()) {
                kinds.push(line.key.algorithm());
            }
        }
        // RSA cannot be verified here: it is left only where nothing else is known, to be told by name.
        let is_rsa = |kind: &Algorithm| matches!(kind, Algorithm::Rsa { .. });
        if !kinds.iter().all(is_rsa) {
            kinds.retain(|kind| !is_rsa(kind));
        }
        kinds
    }

    pub(super) fn judge(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let mut verdict = Verdict::Unknown;
        for line in self.lines(host, port) {
            let same = line.key.key_data() == key.key_data();
            match (same, line.revoked) {
                (true, true) => return Verdict::Revoked { line: line.number },
                (true, false) => verdict = Verdict::Known,
                (false, false) if verdict == Verdict::Unknown => {
                    verdict = Verdict::Other { line: line.number };
                }
                (false, _) => {}
            }
        }
        verdict
    }

    fn lines(&self, host: &str, port: u16) -> impl Iterator<Item = &Line> {
        let name = if port == SSH_PORT { host.to_owned() } else { format!("[{host}]:{port}") };
        self.0.iter().filter(move |line| line.speaks_of(&name))
    }
}

impl Line {
    fn read(number: usize, line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let first = words.next().filter(|word| !word.starts_with('#'))?;
        let (revoked, hosts) = match first {
            "@revoked" => (true, words.next()?),
            _ if first.starts_with('@') => return None,
            hosts => (false, hosts),
        };
        let _kind = words.next()?;
        let key = parse_public_key_base64(words.next()?).ok()?;
        Some(Self { number, revoked, hosts: hosts.split(',').filter_map(Host::read).collect(), key })
    }

    fn speaks_of(&self, name: &str) -> bool {
        let mut found = false;
        for host in &self.hosts {
            match host {
                Host::Hashed { salt, digest } => {
                    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                    found |= hmac::verify(&key, name.as_bytes(), digest).is_ok();
                }
                Host::Pattern(pattern) => match pattern.strip_prefix('!') {
                    Some(pattern) if matches(pattern.as_bytes(), name.as_bytes()) => return false,
                    Some(_) => {}
                    None => found |= matches(pattern.as_bytes(), name.as_bytes()),
                },
            }
        }
        found
    }
}

impl Host {
    fn read(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return Some(Self::Pattern(text.to_ascii_lowercase()));
        };
        let (salt, digest) = hashed.split_once('|')?;
        Some(Self::Hashed { salt: STANDARD.decode(salt).ok()?, digest: STANDARD.decode(digest).ok()? })
    }
}

/// Compares with `*` for anything and `?` for one letter. Only the last `*` is ever tried again, so many of them cost
/// no more than one.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut star = None;
    loop {
        match (pattern, name) {
            ([b'*', rest @ ..], _) => {
                star = Some((rest, name));
                pattern = rest;
                continue;
            }
            ([first, rest @ ..], [letter, left @ ..]) if matches!(first, b'?') || first == letter => {
                (pattern, name) = (rest, left);
                continue;
            }
            ([], []) => return true,
            _ => {}
        }
        let Some((rest, [_, left @ ..])) = star else { return false };
        star = Some((rest, left));
        (pattern, name) = (rest, left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const BOB: &str = "AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";

    fn judge(known: &str, host: &str, port: u16) -> Verdict {
        KnownHosts::read(known).judge(host, port, &parse_public_key_base64(ADA).unwrap())
    }

    #[test]
    fn server_is_known_by_name_pattern_and_digest() {
        for hosts in [
            "git.example",
            "GIT.example",
            "other,git.example",
            "*.example",
            "git.exampl?",
            "*",
            // `printf git.example | openssl dgst -sha1 -hmac salt -binary | base64`
            "|1|c2FsdA==|5WNrmO0zb9I7Kb7ydpaJZN+wrKA=",
        ] {
            let line = format!("# a comment\n\n{hosts} ssh-ed25519 {ADA} ada@example\n");
            assert_eq!(judge(&line, "git.example", 22), Verdict::Known, "{hosts}");
        }
        for hosts in ["git.example.org", "[git.example]:2222", "!git.example,*", "|1|c2FsdA==|AAAA", "|1|x"] {
            assert_eq!(
                judge(&format!("{hosts} ssh-ed25519 {ADA}"), "git.example", 22),
                Verdict::Unknown,
                "{hosts}"
            );
        }
        let line = format!("[git.example]:2222 ssh-ed25519 {ADA}");
        assert_eq!(judge(&line, "git.example", 2222), Verdict::Known);
    }

    #[test]
    fn another_key_is_no_unknown_server() {
        let known = format!("a ssh-ed25519 {ADA}\ngit ssh-ed25519 {BOB}\n");
        assert_eq!(judge(&known, "git", 22), Verdict::Other { line: 2 });
        let both = format!("{known}git ssh-ed25519 {ADA}\n");
        assert_eq!(judge(&both, "git", 22), Verdict::Known, "servers change keys one after another");
        assert_eq!(judge(&known, "b", 22), Verdict::Unknown);
    }

    #[test]
    fn revoked_key_is_refused_wherever_it_stands() {
        let known = format!("git ssh-ed25519 {ADA}\n@revoked * ssh-ed25519 {ADA}\n");
        assert_eq!(judge(&known, "git", 22), Verdict::Revoked { line: 2 });
    }

    #[test]
    fn many_stars_are_matched_as_one_would_be() {
        let stars = "*a".repeat(40);
        let name = "a".repeat(60);
        assert_eq!(judge(&format!("{stars}* ssh-ed25519 {ADA}"), &name, 22), Verdict::Known);
        assert_eq!(judge(&format!("{stars}b ssh-ed25519 {ADA}"), &name, 22), Verdict::Unknown);
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXbcX", false),
            ("*.ab", "x.a.ab", true),
            ("?*?", "ab", true),
            ("?*?", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read_make_nothing_known() {
        let known = format!("@cert-authority git ssh-ed25519 {ADA}\ngit ssh-ed25519\ngit ssh-ed25519 AAAA\n");
        assert_eq!(judge(&known, "git", 22), Verdict::Unknown);
    }

    #[test]
    fn kinds_of_known_keys_are_those_to_ask_for() {
        let known = KnownHosts::read(&format!("git ssh-ed25519 {ADA}\ngit ssh-ed25519 {BOB}\n"));
        assert_eq!(known.algorithms("git", 22), [Algorithm::Ed25519]);
        assert!(known.algorithms("other", 22).is_empty());
    }
}
