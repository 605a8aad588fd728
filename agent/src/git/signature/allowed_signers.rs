//! SSH signatures, and the file that says who may make them: `ALLOWED SIGNERS` and `-Y verify` of ssh-keygen(1), as
//! `git verify-commit` uses them. Whoever has a key in the file may sign; the name beside it is for people.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey, SshSig};
use skiff_shared::glob;

use super::Flaw;

/// What Git signs for.
const NAMESPACE: &str = "git";

/// The lines of the files.
#[derive(Default)]
pub(super) struct AllowedSigners(Vec<Line>);

struct Line {
    /// As written.
    principals: String,
    options: Options,
    key: PublicKey,
}

#[derive(Default)]
struct Options {
    /// Without one: for whatever is signed.
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
    /// It speaks of certificates, which are not read.
    authority: bool,
}

impl AllowedSigners {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a file's lines; fails with the number of the first that cannot be read. Lines of certificate authorities
    /// allow nobody.
    pub(super) fn add(&mut self, text: &str) -> Result<(), (usize, String)> {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = Line::read(line).map_err(|problem| (index + 1, problem))?;
            if !line.options.authority {
                self.0.push(line);
            }
        }
        Ok(())
    }

    /// Returns the name of whoever made a good signature; `made_at` is when the commit or tag says to have been made.
    pub(super) fn verify(&self, payload: &[u8], signature: &str, made_at: Timestamp) -> Result<String, Flaw> {
        let signature = SshSig::from_pem(signature)
            .map_err(|_| Flaw::Invalid("it is not one that ssh-keygen writes".to_owned()))?;
        let key = format!("SSH key {}", signature.public_key().fingerprint(HashAlg::Sha256));
        let lines: Vec<&Line> =
            self.0.iter().filter(|line| line.key.key_data() == signature.public_key()).collect();
        let Some(first) = lines.first() else { return Err(Flaw::Unknown { key }) };
        if signature.namespace() != NAMESPACE {
            let problem = format!("it signed for {:?}, not for {NAMESPACE:?}", signature.namespace());
            return Err(Flaw::NotAllowed { key, problem });
        }
        check(&first.key, payload, &signature).map_err(Flaw::Invalid)?;
        let mut flaw = None;
        for line in lines {
            match line.allows(&key, made_at) {
                Ok(()) => return Ok(line.principals.clone()),
                Err(other) => flaw = Some(other),
            }
        }
        Err(flaw.unwrap_or(Flaw::Unknown { key }))
    }
}

/// Checks the signature itself.
fn check(key: &PublicKey, payload: &[u8], signature: &SshSig) -> Result<(), String> {
    let wrong = || "it does not fit what it is of".to_owned();
    let KeyData::Rsa(rsa) = key.key_data() else {
        return key.verify(NAMESPACE, payload, signature).map_err(|_| wrong());
    };
    // The crate that knows the other kinds is built without RSA.
    let parameters: &RsaParameters = match signature.algorithm() {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err("it is one of RSA with SHA-1".to_owned()),
    };
    let signed = SshSig::signed_data(NAMESPACE, signature.hash_alg(), payload).map_err(|_| wrong())?;
    let (Some(n), Some(e)) = (rsa.n().as_positive_bytes(), rsa.e().as_positive_bytes()) else {
        return Err(wrong());
    };
    let key = RsaPublicKeyComponents { n, e };
    key.verify(parameters, &signed, signature.signature_bytes()).map_err(|_| wrong())
}

impl Line {
    fn read(line: &str) -> Result<Self, String> {
        let (principals, rest) = word(line)?;
        let principals = principals.trim_matches('"').to_owned();
        if let Ok(key) = PublicKey::from_openssh(rest) {
            return Ok(Self { principals, options: Options::default(), key });
        }
        let (options, rest) = word(rest)?;
        let options = Options::read(options)?;
        let key = PublicKey::from_openssh(rest)
            .map_err(|_| "after the name and the options there is no public key".to_owned())?;
        Ok(Self { principals, options, key })
    }

    fn allows(&self, key: &str, made_at: Timestamp) -> Result<(), Flaw> {
        let Options { namespaces, valid_after, valid_before, authority: _ } = &self.options;
        let key = || format!("{key} of {:?}", self.principals);
        if let Some(namespaces) = namespaces
            && !in_list(namespaces, NAMESPACE)
        {
            let problem = format!("it is for {namespaces:?}, not for {NAMESPACE:?}");
            return Err(Flaw::NotAllowed { key: key(), problem });
        }
        let problem = match (valid_after, valid_before) {
            (Some(from), _) if made_at < *from => {
                format!("it is valid from {from}, and this is of {made_at}")
            }
            (_, Some(until)) if made_at >= *until => {
                format!("it was valid until {until}, and this is of {made_at}")
            }
            _ => return Ok(()),
        };
        Err(Flaw::Expired { key: key(), problem })
    }
}

impl Options {
    fn read(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in split_unquoted(text, ',') {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = value.trim_matches('"');
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => options.namespaces = Some(value.to_owned()),
                "valid-after" => options.valid_after = Some(moment(value)?),
                "valid-before" => options.valid_before = Some(moment(value)?),
                "cert-authority" => options.authority = true,
                _ => return Err(format!("{name:?} is neither an option nor a kind of key")),
            }
        }
        Ok(options)
    }
}

/// Parts a text at its first blank outside of quotes.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    let end = text.find(|letter: char| {
        quoted ^= letter == '"';
        letter.is_whitespace() && !quoted
    });
    let (word, rest) = end.map(|at| text.split_at(at)).ok_or("it ends before the public key")?;
    Ok((word, rest.trim_start()))
}

fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter: char| {
        quoted ^= letter == '"';
        letter == separator && !quoted
    })
}

/// Says whether a list of patterns has a name; a pattern after `!` takes it out.
fn in_list(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob::matches(pattern, name) => return false,
            Some(_) => {}
            None => found |= glob::matches(pattern, name),
        }
    }
    found
}

/// Reads `YYYYMMDD[HHMM[SS]][Z]`. Without `Z` it is the time of wherever it is read: here always UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix('Z').unwrap_or(text);
    let whole = match digits.len() {
        8 => Date::strptime("%Y%m%d", digits).map(|date| date.at(0, 0, 0, 0)),
        12 => DateTime::strptime("%Y%m%d%H%M", digits),
        _ => DateTime::strptime("%Y%m%d%H%M%S", digits),
    };
    let zoned = whole.and_then(|it| it.to_zoned(TimeZone::UTC));
    let zoned =
        zoned.map_err(|_| format!("{text:?} is no time; write it as in 20261231 or 202612312359Z"))?;
    Ok(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn read(line: &str) -> Result<Line, String> {
        Line::read(&line.replace("ADA", ADA))
    }

    fn allows(options: &str, made_at: &str) -> Result<(), Flaw> {
        read(&format!("ada@example {options} ADA")).unwrap().allows("KEY", made_at.parse().unwrap())
    }

    #[test]
    fn lines_are_read_as_ssh_keygen_writes_them() {
        assert_eq!(read("ada@example ADA").unwrap().principals, "ada@example");
        assert_eq!(read("ada@example,*@example ADA a comment").unwrap().principals, "ada@example,*@example");
        assert_eq!(read("\"Ada Lovelace\" ADA").unwrap().principals, "Ada Lovelace");
        let line = read("* namespaces=\"git,file\",valid-after=20200101,valid-before=\"202101010000Z\" ADA")
            .unwrap();
        assert_eq!(line.options.namespaces.as_deref(), Some("git,file"));
        assert_eq!(line.options.valid_after.unwrap().to_string(), "2020-01-01T00:00:00Z");
        assert_eq!(line.options.valid_before.unwrap().to_string(), "2021-01-01T00:00:00Z");
        assert!(read("*.example cert-authority ADA").unwrap().options.authority);
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        let mut signers = AllowedSigners::default();
        let text = format!("# people\n\nada@example {ADA}\nbob@example valid-before=soon {ADA}\n");
        insta::assert_snapshot!(signers.add(&text).unwrap_err().1, @r#""soon" is no time; write it as in 20261231 or 202612312359Z"#);
        assert_eq!(signers.add(&text).unwrap_err().0, 4);
        insta::assert_snapshot!(read("ada@example no-touch-required ADA").err().unwrap(), @r#""no-touch-required" is neither an option nor a kind of key"#);
        insta::assert_snapshot!(read("ada@example namespaces=git AAAA").err().unwrap(), @"after the name and the options there is no public key");
        insta::assert_snapshot!(read(ADA).err().unwrap(), @"it ends before the public key");
    }

    #[test]
    fn a_key_is_good_for_its_time_and_its_namespaces() {
        let noon = "2026-11-23T12:00:00Z";
        for options in [
            "",
            "namespaces=\"git\"",
            "namespaces=\"file,g*\"",
            "valid-before=20261124",
            "valid-after=202611231200",
        ] {
            assert_eq!(allows(options, noon), Ok(()), "{options}");
        }
        for options in ["namespaces=\"file\"", "namespaces=\"*,!git\""] {
            assert!(matches!(allows(options, noon), Err(Flaw::NotAllowed { .. })), "{options}");
        }
        for options in ["valid-before=20261123", "valid-after=20261123120001Z"] {
            assert!(matches!(allows(options, noon), Err(Flaw::Expired { .. })), "{options}");
        }
    }
}
