//! Reads what a registry says to who is not logged in: where it wants a token from (RFC 6750, and the distribution
//! specification's token authentication).

/// Where a token is given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    pub realm: String,
    pub service: Option<String>,
    pub scope: Option<String>,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; nothing if it asks for something else than a token.
    pub(super) fn read(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge = Self::default();
        while let Some((key, value)) = rest.split_once('=') {
            let (text, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_at(value.find(',').unwrap_or(value.len())),
            };
            match key.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => text.clone_into(&mut challenge.realm),
                "service" => challenge.service = Some(text.to_owned()),
                "scope" => challenge.scope = Some(text.to_owned()),
                _ => {}
            }
            rest = after;
        }
        (!challenge.realm.is_empty()).then_some(challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_quoted_and_bare() {
        let read = Challenge::read(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        );
        let challenge = Challenge {
            realm: "https://auth.example/token".to_owned(),
            service: Some("registry.example".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        };
        assert_eq!(read, Some(challenge));
        let bare =
            Challenge::read("bearer service=x, realm=https://auth.example/token, error=\"invalid\"").unwrap();
        assert_eq!((bare.realm.as_str(), bare.service.as_deref()), ("https://auth.example/token", Some("x")));
    }

    #[test]
    fn other_schemes_and_broken_ones_ask_for_no_token() {
        for header in ["Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"x", ""] {
            assert_eq!(Challenge::read(header), None, "{header}");
        }
    }
}
