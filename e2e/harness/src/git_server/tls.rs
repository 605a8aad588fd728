//! A certificate authority for one test, and a listener that speaks TLS under it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Signs the certificates of a test's servers; nothing else trusts it.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority with its own key.
    pub fn create() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Skiff lab authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("failed to make the authority's key")?;
        let certificate = params.self_signed(&key).context("failed to sign the authority's certificate")?;
        Ok(Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Returns the certificate that a client has to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the settings of a server on `address`, which it also may be called `localhost` on.
    pub(super) fn server(&self, address: IpAddr) -> Result<Arc<ServerConfig>> {
        let names = vec![address.to_string(), "localhost".to_owned()];
        let key = KeyPair::generate().context("failed to make a server's key")?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .with_context(|| format!("failed to sign the certificate of {address}"))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| anyhow::anyhow!("failed to encode a server's key: {reason}"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS version is left")?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .context("key and certificate do not fit")?;
        Ok(Arc::new(config))
    }
}

/// Accepts TLS connections; handshakes run beside each other, so a client that never finishes its own blocks nobody.
pub(super) struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Starts to accept; to be called on the runtime that `listener` belongs to.
    pub(super) fn start(listener: TcpListener, address: SocketAddr, config: Arc<ServerConfig>) -> Self {
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
