//! Git over SSH, in this process: the image holds no `ssh` program, and a program would take its own view of
//! configuration, agents and known hosts. A server is talked to only if its key is in the source's known hosts; whoever
//! the source's key is refused to gets nothing else offered.

mod host_key;
mod known_hosts;
mod pipe;

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, Handler};
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::net::TcpStream;

use super::budget::{Budget, Failure};
use super::credentials::Keys;
use super::error::FetchError;
use super::url::SshAddress;

pub use host_key::{HostKey, HostKeyError, SshServer, host_key};
use known_hosts::{KnownHosts, Verdict};
pub(super) use pipe::{Reader, Writer};

/// How a file begins that holds an RSA key and nothing that says so.
const RSA_ALONE: &str = "-----BEGIN RSA PRIVATE KEY-----";
const NO_RSA: &str =
    "RSA is not supported; make one by ssh-keygen -t ed25519 and give its public half access";

/// Where SSH servers listen.
pub(super) const SSH_PORT: u16 = 22;

const CONNECT: Duration = Duration::from_secs(10);

/// Why SSH ended an operation.
#[derive(Debug)]
pub(super) enum SshFailure {
    Unreachable(std::io::Error),
    /// The host is not among the known ones.
    HostUnknown {
        offered: String,
    },
    /// It is, with another key.
    HostKeyWrong {
        offered: String,
        line: usize,
    },
    /// Its key is marked as revoked.
    HostKeyRevoked {
        offered: String,
        line: usize,
    },
    /// It has no key of a kind that is known of it.
    HostKeyKinds {
        known: String,
    },
    KeyRefused {
        user: String,
        key: String,
    },
    Protocol(russh::Error),
    /// The server's program ended before it had answered.
    Ended {
        said: String,
    },
}

/// What a session is opened with.
pub(super) struct Identity {
    user: String,
    key: Arc<PrivateKey>,
    known: Arc<KnownHosts>,
    known_place: String,
}

impl Identity {
    /// Reads keys and known hosts.
    pub(super) fn read(keys: Keys, url: &str) -> Result<Self, FetchError> {
        let Keys { user, key, passphrase, known_hosts } = keys;
        let passphrase = passphrase.as_ref().map(crate::config::Secret::expose);
        let unusable = |problem: String| FetchError::SshKeyInvalid {
            url: url.to_owned(),
            place: key.place.clone(),
            problem,
        };
        let read = russh::keys::decode_secret_key(key.text.expose(), passphrase).map_err(|error| {
            unusable(match error {
                russh::keys::Error::KeyIsEncrypted => {
                    "it is encrypted; its passphrase is needed too".to_owned()
                }
                _ if key.text.expose().starts_with(RSA_ALONE) => NO_RSA.to_owned(),
                _ if passphrase.is_some() => "it cannot be read with this passphrase".to_owned(),
                _ => "it is not one that OpenSSH writes".to_owned(),
            })
        })?;
        if read.algorithm().is_rsa() {
            return Err(unusable(NO_RSA.to_owned()));
        }
        let known = KnownHosts::read(known_hosts.text.expose());
        Ok(Self { user, key: Arc::new(read), known: Arc::new(known), known_place: known_hosts.place })
    }

    pub(super) fn known_place(&self) -> &str {
        &self.known_place
    }
}

/// Opens a conversation with the server's `git-upload-pack`.
pub(super) fn open(
    budget: &Arc<Budget>,
    address: &SshAddress,
    identity: &Identity,
) -> std::io::Result<(Reader, Writer)> {
    let channel = budget.wait(async { session(address, identity).await.map_err(Failure::Ssh) })?;
    Ok(pipe::new(budget.clone(), channel))
}

/// An open session with the one channel that is used of it.
pub(super) struct Conversation {
    session: Handle<Guard>,
    channel: russh::Channel<client::Msg>,
}

async fn session(address: &SshAddress, identity: &Identity) -> Result<Conversation, SshFailure> {
    let SshAddress { host, port, path } = address;
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await;
    let stream = connecting
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))
        .flatten()
        .map_err(SshFailure::Unreachable)?;
    // Small requests wait for answers: the sender must not wait for more.
    stream.set_nodelay(true).map_err(SshFailure::Unreachable)?;
    let guard = Guard { known: identity.known.clone(), host: host.clone(), port: *port };
    let kinds = guard.known.algorithms(host, *port);
    let mut config = client::Config::default();
    if !kinds.is_empty() {
        // As OpenSSH does: a server with several keys shows one that can be compared.
        config.preferred.key = kinds.clone().into();
    }
    let mut session =
        client::connect_stream(Arc::new(config), stream, guard).await.map_err(|failure| match failure {
            SshFailure::Protocol(russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. }) => {
                SshFailure::HostKeyKinds { known: listed(&kinds) }
            }
            failure => failure,
        })?;
    let key = PrivateKeyWithHashAlg::new(identity.key.clone(), None);
    match session.authenticate_publickey(&identity.user, key).await? {
        AuthResult::Success => {}
        AuthResult::Failure { .. } => {
            let key = identity.key.fingerprint(HashAlg::Sha256).to_string();
            return Err(SshFailure::KeyRefused { user: identity.user.clone(), key });
        }
    }
    let channel = session.channel_open_session().await?;
    // A server that does not take it speaks the old protocol, which lists every reference.
    channel.set_env(false, "GIT_PROTOCOL", "version=2").await?;
    channel.exec(true, format!("git-upload-pack {}", quoted(path))).await?;
    Ok(Conversation { session, channel })
}

fn listed(kinds: &[Algorithm]) -> String {
    kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Quotes a path for the server's shell, as Git does.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// Compares the server's key before anything is told to it.
struct Guard {
    known: Arc<KnownHosts>,
    host: String,
    port: u16,
}

impl Handler for Guard {
    type Error = SshFailure;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, SshFailure> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false); // never offered, as none is asked for
        };
        match self.known.judge(&self.host, self.port, key) {
            Verdict::Known => Ok(true),
            Verdict::Unknown => Err(SshFailure::HostUnknown { offered: shown(key) }),
            Verdict::Other { line } => Err(SshFailure::HostKeyWrong { offered: shown(key), line }),
            Verdict::Revoked { line } => Err(SshFailure::HostKeyRevoked { offered: shown(key), line }),
        }
    }
}

/// Prints a server's key as `ssh-keygen -l` does.
fn shown(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

impl From<russh::Error> for SshFailure {
    fn from(error: russh::Error) -> Self {
        Self::Protocol(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_one_word_to_the_servers_shell() {
        assert_eq!(quoted("/srv/my shop.git"), "'/srv/my shop.git'");
        assert_eq!(quoted("it's; rm -rf ~!"), r"'it'\''s; rm -rf ~'\!''");
    }
}
