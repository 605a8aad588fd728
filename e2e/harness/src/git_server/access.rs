//! Whom the Git server lets in, and what it says to the others.

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::plain;

/// Whom the server lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Anyone,
    Basic {
        username: String,
        password: String,
    },
    Bearer {
        token: String,
    },
}

impl Access {
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let expected = match self {
            Self::Anyone => return true,
            Self::Basic { username, password } => {
                format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
            }
            Self::Bearer { token } => format!("Bearer {token}"),
        };
        headers.get(AUTHORIZATION).is_some_and(|sent| sent.as_bytes() == expected.as_bytes())
    }

    pub(crate) fn challenge(&self) -> Response {
        let mut response = plain(StatusCode::UNAUTHORIZED, "who are you?");
        let scheme = match self {
            Self::Bearer { .. } => "Bearer realm=\"lab\"",
            Self::Basic { .. } | Self::Anyone => "Basic realm=\"lab\"",
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        response
    }
}
