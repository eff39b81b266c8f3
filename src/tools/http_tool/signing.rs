//! Signatures of requests, in the form of [Standard Webhooks](https://www.standardwebhooks.com): the receiver knows that a request is from
//! here, is whole, and is new.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// What a secret in the form of Standard Webhooks begins with; base64 follows.
const ENCODED: &str = "whsec_";

/// Why nothing can be signed with a secret. Says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret begins with \"whsec_\", and what follows is not base64")]
pub(super) struct NotAKey;

/// The key that a secret is: what follows `whsec_`, decoded, or the secret as it is.
fn key_of(secret: &SecretString) -> Result<Vec<u8>, NotAKey> {
    match secret.expose_secret().strip_prefix(ENCODED) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| NotAKey),
        None => Ok(secret.expose_secret().as_bytes().to_vec()),
    }
}

/// Whether it can be signed with.
pub(super) fn check_key(secret: &SecretString) -> Result<(), NotAKey> {
    key_of(secret).map(drop)
}

/// `webhook-id`, `webhook-timestamp` (seconds of Unix time) and `webhook-signature` for this body.
pub(super) fn signature_headers(
    secret: &SecretString,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<HeaderMap, NotAKey> {
    // A key of HMAC may have any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key_of(secret)?).map_err(|_| NotAKey)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let mut headers = HeaderMap::new();
    let fields = [
        ("webhook-id", id),
        ("webhook-timestamp", &timestamp.to_string()),
        ("webhook-signature", &signature),
    ];
    for (name, value) in fields {
        // Ids, numbers and base64 are ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let headers = signature_headers(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).expect("a key");
        assert_eq!(
            headers["webhook-signature"],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        assert_eq!(headers["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
    }

    #[test]
    fn a_key_is_encoded_only_if_it_says_so() {
        assert!(check_key(&"whsec_not base64!".into()).is_err());
        assert!(check_key(&"any text at all".into()).is_ok());
        let same = |one: &str, other: &str| {
            let headers = |secret: &str| signature_headers(&secret.into(), "id", 1, b"body").expect("a key");
            headers(one) == headers(other)
        };
        assert!(same("whsec_YWJj", "abc"));
        assert!(!same("whsec_YWJj", "YWJj"));
    }
}
