//! An SSH server on loopback that runs what Git asks for, beside a [`GitServer`](crate::git_server::GitServer) whose
//! repositories it serves. It lets in whoever has one of the allowed keys.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{LineEnding, PublicKey};
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Command;

use crate::background::Background;
use crate::git_server::{Protocol, environment};

/// A key pair that is the same in every run: nothing here guards anything.
pub struct KeyPair(PrivateKey);

impl KeyPair {
    /// Makes the pair that belongs to `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(Ed25519Keypair::from_seed(&Sha256::digest(name).into()).into())
    }

    /// Returns the private key as OpenSSH writes it.
    pub fn private(&self) -> Result<String> {
        let text = self.0.to_openssh(LineEnding::LF).context("failed to write a private key")?;
        Ok(text.to_string())
    }

    /// Returns the public key as one line.
    pub fn public(&self) -> Result<String> {
        self.0.public_key().to_openssh().context("failed to write a public key")
    }

    /// Returns what `ssh-keygen -l` calls the key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// What the server does to what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Sends it.
    #[default]
    Whole,
    /// Sends nothing at all and keeps the connection open.
    Nothing,
    /// Sends this many bytes, then nothing.
    Stalling { after: u64 },
    /// Sends this many bytes and ends the channel.
    Cut { after: u64 },
    /// Sends one byte at a time, with this pause before each.
    Dripping { every: Duration },
}

/// A running server; it ends when it is dropped.
pub struct SshServer {
    address: SocketAddr,
    root: PathBuf,
    shared: Arc<Shared>,
    _background: Background,
}

struct Shared {
    root: PathBuf,
    manners: Mutex<Manners>,
}

struct Manners {
    host_key: PrivateKey,
    allowed: Vec<PublicKey>,
    answer: Answer,
    protocol: Protocol,
    commands: Vec<String>,
}

impl SshServer {
    /// Serves the repositories below `root` with the host key of the name `host`. Nobody is let in yet.
    pub fn start(root: &Path) -> Result<Self> {
        let background = Background::start("ssh-server")?;
        let (listener, address) =
            background.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 79, 0, 2)), 0))?;
        let manners = Manners {
            host_key: KeyPair::of("host").0,
            allowed: Vec::new(),
            answer: Answer::default(),
            protocol: Protocol::default(),
            commands: Vec::new(),
        };
        let shared = Arc::new(Shared { root: root.to_owned(), manners: Mutex::new(manners) });
        let serving = shared.clone();
        background.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(serving.clone(), stream));
            }
        });
        Ok(Self { address, root: root.to_owned(), shared, _background: background })
    }

    /// Returns the address of a repository, for the user `git`.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("ssh://git@{}{}/{repository}.git", self.address, self.root.display())
    }

    /// Returns a line of known hosts that says that this server has `key`.
    pub fn known_as(&self, key: &KeyPair) -> Result<String> {
        Ok(format!("[{}]:{} {}\n", self.address.ip(), self.address.port(), key.public()?))
    }

    /// Lets the key's owner in.
    pub fn allow(&self, key: &KeyPair) {
        self.manners().allowed.push(key.0.public_key().clone());
    }

    /// Lets the owner of a public key in, as OpenSSH writes it.
    pub fn allow_public(&self, key: &str) -> Result<()> {
        self.manners().allowed.push(PublicKey::from_openssh(key).context("failed to read a public key")?);
        Ok(())
    }

    /// Shows another host key from now on.
    pub fn show(&self, key: &KeyPair) {
        self.manners().host_key = key.0.clone();
    }

    /// Treats what commands print like this from now on.
    pub fn answer(&self, answer: Answer) {
        self.manners().answer = answer;
    }

    /// Speaks only this from now on: servers that take no variables speak the old one.
    pub fn speak(&self, protocol: Protocol) {
        self.manners().protocol = protocol;
    }

    /// Returns the commands that were run so far.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.manners().commands.clone()
    }

    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.shared.manners()
    }
}

impl Shared {
    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().expect("no code panics while it holds the manners")
    }
}

async fn converse(shared: Arc<Shared>, stream: tokio::net::TcpStream) {
    let keys = vec![shared.manners().host_key.clone()];
    // A refusal that takes its time would only make tests wait.
    let config = Config { keys, auth_rejection_time: Duration::ZERO, ..Config::default() };
    let client = Client { shared, channel: None, protocol: None };
    if let Ok(session) = russh::server::run_stream(Arc::new(config), stream, client).await {
        // How a client ends a conversation is its own affair.
        let _ended = session.await;
    }
}

/// One client's connection.
struct Client {
    shared: Arc<Shared>,
    channel: Option<Channel<Msg>>,
    /// The variable by which Git asks for a newer protocol.
    protocol: Option<String>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        let known = self
            .shared
            .manners()
            .allowed
            .iter()
            .any(|allowed| allowed.key_data() == key.public_key.key_data());
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        _channel: ChannelId,
        name: &str,
        value: &str,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name == "GIT_PROTOCOL" && self.shared.manners().protocol == Protocol::Newest {
            self.protocol = Some(value.to_owned());
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let command = String::from_utf8_lossy(command).into_owned();
        let Some(channel) = self.channel.take() else {
            return session.channel_failure(id);
        };
        let answer = {
            let mut manners = self.shared.manners();
            manners.commands.push(command.clone());
            manners.answer
        };
        session.channel_success(id)?;
        let handle = session.handle();
        let (root, protocol) = (self.shared.root.clone(), self.protocol.take());
        tokio::spawn(async move {
            let status = run(&root, &command, protocol, answer, channel).await.unwrap_or(255);
            // The client may be gone by now.
            let _told = handle.exit_status_request(id, status).await;
            let _told = handle.eof(id).await;
            let _told = handle.close(id).await;
        });
        Ok(())
    }
}

/// Runs a command as a login shell would; returns its exit status.
async fn run(
    root: &Path,
    command: &str,
    protocol: Option<String>,
    answer: Answer,
    channel: Channel<Msg>,
) -> std::io::Result<u32> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .current_dir(root)
        .env_clear()
        .envs(environment::fixed())
        .envs(protocol.map(|protocol| ("GIT_PROTOCOL", protocol)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let missing = || std::io::Error::other("a piped stream is missing");
    let mut input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let mut errors = child.stderr.take().ok_or_else(missing)?;
    let mut beside = channel.make_writer_ext(Some(1));
    let (mut reading, writing) = tokio::io::split(channel.into_stream());
    tokio::spawn(async move {
        // Ends when the client ends its side, or the command its own.
        let _copied = tokio::io::copy(&mut reading, &mut input).await;
    });
    send(output, writing, answer).await?;
    if let Answer::Cut { .. } = answer {
        // What it started may keep its error stream open: nobody waits for the end of that.
        child.kill().await?;
        return Ok(255);
    }
    tokio::io::copy(&mut errors, &mut beside).await?;
    let status = child.wait().await?.code();
    Ok(status.and_then(|code| u32::try_from(code).ok()).unwrap_or(255))
}

async fn send(
    mut output: impl AsyncRead + Unpin,
    mut writing: impl AsyncWrite + Unpin,
    answer: Answer,
) -> std::io::Result<()> {
    match answer {
        Answer::Whole => tokio::io::copy(&mut output, &mut writing).await.map(drop),
        Answer::Nothing => std::future::pending().await,
        Answer::Cut { after } => {
            tokio::io::copy(&mut output.take(after), &mut writing).await?;
            writing.flush().await
        }
        Answer::Stalling { after } => {
            tokio::io::copy(&mut output.take(after), &mut writing).await?;
            writing.flush().await?;
            std::future::pending().await
        }
        Answer::Dripping { every } => loop {
            let mut byte = [0];
            if output.read(&mut byte).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(every).await;
            writing.write_all(&byte).await?;
            writing.flush().await?;
        },
    }
}
