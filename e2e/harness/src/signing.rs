//! People who sign commits and tags, with keys of the real `ssh-keygen` and `gpg`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::git_server::environment;

/// Somebody with a key of their own.
pub struct Signer {
    folder: TempDir,
    kind: Kind,
}

enum Kind {
    Ssh,
    Gpg { fingerprint: String },
}

impl Signer {
    /// Makes an SSH key of a kind that `ssh-keygen -t` knows.
    pub fn ssh(kind: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("skiff-ssh-")?;
        let file = folder.path().join("key");
        let mut keygen = tool("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", "", "-C", "", "-f"]).arg(file);
        run(keygen, &[])?;
        Ok(Self { folder, kind: Kind::Ssh })
    }

    /// Makes an OpenPGP key of a kind that `gpg --quick-gen-key` knows, for signing alone, as if it were that time.
    pub fn gpg(name: &str, kind: &str, time: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("skiff-gpg-")?;
        let mut signer = Self { folder, kind: Kind::Gpg { fingerprint: String::new() } };
        // What git runs in place of gpg: its home is no setting of git's.
        let program = format!("#!/bin/sh\nexec gpg --homedir {} \"$@\"\n", signer.folder.path().display());
        let wrapper = signer.folder.path().join("program");
        std::fs::write(&wrapper, program)?;
        let mut chmod = tool("chmod");
        chmod.arg("700").arg(&wrapper).arg(signer.folder.path());
        run(chmod, &[])?;
        signer.tell(&["--faked-system-time", time, "--quick-gen-key", name, kind, "sign", "0"], &[])?;
        let listed = signer.tell(&["--with-colons", "--list-keys"], &[])?;
        let print =
            listed.lines().find(|line| line.starts_with("fpr:")).and_then(|line| line.split(':').nth(9));
        let fingerprint = print.context("gpg lists no key")?.to_owned();
        signer.kind = Kind::Gpg { fingerprint };
        Ok(signer)
    }

    /// Returns the public key: a line of `authorized_keys`, or an armored block.
    pub fn public(&self) -> Result<String> {
        match self.kind {
            Kind::Ssh => std::fs::read_to_string(self.file("key.pub")).context("the key has a public half"),
            Kind::Gpg { .. } => self.tell(&["--export", "--armor"], &[]),
        }
    }

    /// Returns the fingerprint of a key of gpg; empty for one of SSH.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        match &self.kind {
            Kind::Ssh => "",
            Kind::Gpg { fingerprint } => fingerprint,
        }
    }

    /// Adds a subkey that signs from now on in the place of the key itself.
    pub fn add_subkey(&self, kind: &str) -> Result<()> {
        self.tell(&["--quick-add-key", self.fingerprint(), kind, "sign", "0"], &[]).map(drop)
    }

    /// Lets a key of gpg end at a time, as if that were decided at another.
    pub fn expire(&self, decided: &str, end: &str) -> Result<()> {
        self.tell(&["--faked-system-time", decided, "--quick-set-expire", self.fingerprint(), end], &[])
            .map(drop)
    }

    /// Revokes a key of gpg by the certificate that was made with it.
    pub fn revoke(&self) -> Result<()> {
        let file = self.file(&format!("openpgp-revocs.d/{}.rev", self.fingerprint()));
        let text = std::fs::read_to_string(file)?;
        // A colon keeps people from importing it by mistake.
        let certificate = text.replace("\n:-----BEGIN", "\n-----BEGIN");
        self.tell(&["--import"], certificate.as_bytes()).map(drop)
    }

    /// Signs a text as `ssh-keygen -Y sign` does for a namespace.
    pub fn sign_for(&self, namespace: &str, text: &[u8]) -> Result<String> {
        let mut keygen = tool("ssh-keygen");
        keygen.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(self.file("key"));
        run(keygen, text)
    }

    /// Returns the settings with which git signs by this key.
    pub(crate) fn settings(&self) -> Vec<String> {
        let settings = match &self.kind {
            Kind::Ssh => [
                "gpg.format=ssh".to_owned(),
                format!("user.signingKey={}", self.file("key").display()),
                "gpg.ssh.program=ssh-keygen".to_owned(),
            ],
            Kind::Gpg { fingerprint } => [
                "gpg.format=openpgp".to_owned(),
                format!("user.signingKey={fingerprint}"),
                format!("gpg.program={}", self.file("program").display()),
            ],
        };
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// Runs gpg in the signer's own home.
    fn tell(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut gpg = tool("gpg");
        gpg.arg("--homedir").arg(self.folder.path());
        gpg.args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]);
        gpg.args(arguments);
        run(gpg, input)
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        if let Kind::Gpg { .. } = self.kind {
            let mut end = tool("gpgconf");
            end.arg("--homedir").arg(self.folder.path()).args(["--kill", "all"]);
            // It ends by itself when its home is gone.
            let _ended = run(end, &[]);
        }
    }
}

/// Returns a program that reads nobody's settings.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment::fixed());
    command
}

fn run(mut command: Command, input: &[u8]) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {program}: is it installed?"))?;
    let mut stdin = child.stdin.take().context("a child has a standard input")?;
    // Who fails early closes its input; its own words say more than the broken pipe.
    let _written = std::io::Write::write_all(&mut stdin, input);
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
