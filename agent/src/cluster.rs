//! The cluster: every request that the agent sends to the API server, and every answer it reads.
//!
//! Adapter beside the whole pipeline: it carries out what the machine asks ([`requests`], [`state`]),
//! tells it what happens ([`watch`]) and what there is ([`discovery`]). It decides nothing: an answer is
//! classed by [`classify`] and handed on as a value of `skiff_shared`.

pub mod chance;
pub mod classify;
pub mod connection;
pub mod discovery;
mod error;
pub mod events;
pub mod generations;
mod live;
pub mod look;
pub mod marked;
mod path;
pub mod requests;
pub mod secrets;
pub mod watch;

use kube::api::{ListMeta, ListParams};

pub use connection::Connection;
pub use error::{ClusterError, words};
pub use generations::Generations;

/// Returns what asks for the page after one, if there is one: a token that is empty is none.
pub fn next_page(params: &ListParams, page: &ListMeta) -> Option<ListParams> {
    let token = page.continue_.as_deref().filter(|token| !token.is_empty())?;
    Some(params.clone().continue_token(token))
}
