//! A listener that speaks TLS under an authority of the lab.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::serve::Listener;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certs::Authority;

/// Returns the settings of a server on `address`, which also may be called `localhost`. It asks for a certificate of
/// `clients` if there is such an authority.
pub(crate) fn config(
    authority: &Authority,
    clients: Option<&Authority>,
    address: IpAddr,
) -> Result<Arc<ServerConfig>> {
    let leaf = authority.server(&[&address.to_string(), "localhost"])?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(leaf.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .context("failed to read the server's certificate")?;
    let key =
        PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).context("failed to read the server's key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("no TLS version is left")?;
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => config.with_client_cert_verifier(verifier(clients, provider)?),
    }
    .with_single_cert(chain, key)
    .context("key and certificate do not fit")?;
    Ok(Arc::new(config))
}

fn verifier(clients: &Authority, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(clients.certificate_pem().as_bytes()) {
        let certificate = certificate.context("failed to read the authority of the clients")?;
        roots.add(certificate).context("the authority of the clients cannot be trusted")?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .context("failed to prepare the check of clients")
}

/// Accepts TLS connections; handshakes run beside each other, so a client that never finishes its own blocks nobody.
pub(crate) struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Starts to accept; to be called on the runtime that `listener` belongs to.
    pub(crate) fn start(listener: TcpListener, address: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let (sender, accepted) = mpsc::channel(16);
        tokio::spawn(accept_all(listener, TlsAcceptor::from(config), sender));
        Self { accepted, address }
    }
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    while let Ok((stream, peer)) = listener.accept().await {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                // Nobody listens any more: the server is going down.
                let _closed = sender.send((stream, peer)).await;
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
