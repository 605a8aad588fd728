//! Signatures as the Standard Webhooks specification has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>): HMAC-SHA256 over
//! `id.timestamp.body`, in base64 after `v1,`. For what we send and for what we are sent.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use crate::config::Secret;

pub const ID: HeaderName = HeaderName::from_static("webhook-id");
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A key that messages are signed with.
pub struct Key(hmac::Key);

impl Key {
    /// Reads a secret: base64 after `whsec_`, anything else as it is.
    pub fn new(secret: &Secret) -> Self {
        let text = secret.expose();
        let decoded = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let bytes = decoded.unwrap_or_else(|| text.as_bytes().to_vec());
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// Returns the signature of a message; `timestamp` is seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, &signed(id, timestamp, body))))
    }

    /// Says whether one of the signatures is that of the message, in a time that does not depend on where they differ.
    pub fn verify(&self, signatures: &str, id: &str, timestamp: &str, body: &[u8]) -> bool {
        let message = signed(id, timestamp, body);
        let versions = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let mut known = versions.filter_map(|signature| STANDARD.decode(signature).ok());
        known.any(|signature| hmac::verify(&self.0, &message, &signature).is_ok())
    }
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_the_one_of_the_specifications_libraries() {
        // The vector in the tests of the libraries that the specification links.
        let key = Key::new(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()));
        let (id, timestamp, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(key.sign(id, timestamp, body), signature);
        assert!(key.verify(&format!("v2,abc {signature}"), id, timestamp, body));
        assert!(!key.verify(signature, id, "1614265331", body));
        assert!(!key.verify(&signature[3..], id, timestamp, body));
    }
}
