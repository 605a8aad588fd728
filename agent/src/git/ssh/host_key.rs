//! Asks an SSH server for its key, before anything is trusted.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handler};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::SSH_PORT;

/// How long a server gets to show its key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an SSH server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SshServer {
    pub host: String,
    pub port: u16,
}

/// The key that a server has shown.
#[derive(Clone, Debug)]
pub struct HostKey {
    /// As `ssh-keygen -l` writes it: `SHA256:…`.
    pub fingerprint: String,
    /// The line of `known_hosts` that says that this server has this key, with its line feed.
    pub line: String,
}

/// Why a server has shown no key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    #[error("{server} cannot be reached: check host, port and network")]
    Unreachable { server: String, source: std::io::Error },
    #[error("{server} shows no key of a kind that can be verified, Ed25519 or ECDSA")]
    NoKey { server: String, source: Option<russh::Error> },
}

/// Asks a server for its key. Nothing is told to it, and nothing of what it says is trusted.
pub async fn host_key(server: &SshServer) -> Result<HostKey, HostKeyError> {
    let SshServer { host, port } = server;
    let name = if *port == SSH_PORT { host.clone() } else { format!("[{host}]:{port}") };
    let asked = tokio::time::timeout(PATIENCE, ask(host, *port)).await;
    let key = asked.unwrap_or_else(|_| Err(Asked::Io(std::io::ErrorKind::TimedOut.into())));
    let key = key.map_err(|failure| match failure {
        Asked::Io(source) => HostKeyError::Unreachable { server: name.clone(), source },
        Asked::Protocol(source) => HostKeyError::NoKey { server: name.clone(), source: Some(source) },
        Asked::Silent => HostKeyError::NoKey { server: name.clone(), source: None },
    })?;
    let text = key.to_openssh().map_err(|_| HostKeyError::NoKey { server: name.clone(), source: None })?;
    let mut words = text.split(' ');
    let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(HostKey {
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        line: format!("{name} {kind} {data}\n"),
    })
}

/// How asking has failed.
enum Asked {
    Io(std::io::Error),
    Protocol(russh::Error),
    Silent,
}

async fn ask(host: &str, port: u16) -> Result<PublicKey, Asked> {
    let stream = TcpStream::connect((host, port)).await.map_err(Asked::Io)?;
    let (shown, key) = oneshot::channel();
    let mut config = client::Config::default();
    config.preferred.key = config.preferred.key.iter().filter(|kind| can_verify(kind)).cloned().collect();
    let ended = client::connect_stream(Arc::new(config), stream, Listener { shown: Some(shown) }).await;
    match (key.await, ended) {
        (Ok(key), _) => Ok(key),
        (Err(_), Err(error)) => Err(Asked::Protocol(error)),
        (Err(_), Ok(_)) => Err(Asked::Silent),
    }
}

fn can_verify(kind: &Algorithm) -> bool {
    !matches!(kind, Algorithm::Rsa { .. } | Algorithm::Dsa)
}

/// Takes the server's key and ends the conversation.
struct Listener {
    shown: Option<oneshot::Sender<PublicKey>>,
}

impl Handler for Listener {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        if let (PublicKeyOrCertificate::PublicKey { key, .. }, Some(shown)) = (key, self.shown.take()) {
            // Who asked may have gone away meanwhile.
            let _ = shown.send(key.clone());
        }
        Ok(false)
    }
}
