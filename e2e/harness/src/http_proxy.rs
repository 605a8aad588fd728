//! An HTTP proxy on loopback: tunnels what is asked for by `CONNECT`, passes on the rest, and writes down who asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use crate::background::Background;

const LONGEST_HEAD: usize = 64 * 1024;

/// A running proxy; it ends when it is dropped.
pub struct HttpProxy {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _background: Background,
}

#[derive(Default)]
struct Shared {
    /// What `Proxy-Authorization` has to be.
    demanded: Option<String>,
    asked: Vec<String>,
}

impl HttpProxy {
    /// Starts a proxy for anyone.
    pub fn start() -> Result<Self> {
        let background = Background::start("http-proxy")?;
        let (listener, address) =
            background.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 79, 0, 3)), 0))?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let serving = shared.clone();
        background.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // A broken connection shows in its client.
                tokio::spawn(async move { pass(&shared, stream).await.unwrap_or_default() });
            }
        });
        Ok(Self { address, shared, _background: background })
    }

    /// Returns the proxy's own address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets only this user pass from now on.
    pub fn demand(&self, username: &str, password: &str) {
        let encoded = STANDARD.encode(format!("{username}:{password}"));
        self.lock().demanded = Some(format!("Basic {encoded}"));
    }

    /// Returns the first lines of the requests that came to it, as in `CONNECT git.example:443`, refused ones too.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no code panics while it holds the proxy's log")
    }
}

async fn pass(shared: &Mutex<Shared>, mut client: TcpStream) -> io::Result<()> {
    let head = read_head(&mut client).await?;
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let admitted = {
        let mut shared = shared.lock().expect("no code panics while it holds the proxy's log");
        shared.asked.push(format!("{method} {target}"));
        shared
            .demanded
            .as_deref()
            .is_none_or(|demanded| header(&text, "proxy-authorization") == Some(demanded))
    };
    if !admitted {
        let refusal =
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    }
    let authority = target.strip_prefix("http://").unwrap_or(target).split('/').next().unwrap_or_default();
    let Ok(mut server) = TcpStream::connect(authority).await else {
        let refusal = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(refusal.as_bytes()).await;
    };
    match method {
        "CONNECT" => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?,
        // Servers take whole addresses too, so requests can be passed on as they are.
        _ => server.write_all(&head).await?,
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        head.push(client.read_u8().await?);
    }
    Ok(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
