//! A collector that tells which headers it was sent.

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

pub struct Collector {
    address: std::net::SocketAddr,
    received: Mutex<mpsc::UnboundedReceiver<HeaderMap>>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, received) = mpsc::unbounded_channel();
        let take = move |headers: HeaderMap| {
            let taken = sender.send(headers);
            async move { assert!(taken.is_ok(), "somebody listens") }
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, received: Mutex::new(received) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for the next request and returns one of its headers.
    pub async fn next(&self, name: &str) -> String {
        let headers = self.received.lock().await.recv().await.expect("a request");
        headers[name].to_str().expect("a text").to_owned()
    }
}
