//! `Idempotency-Key`: the same request twice is one run.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use callboard_actors::ports::store::Idempotency;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::request::RunRequest;
use crate::http::error::{ApiError, ErrorCode};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// The key of this request, if the client gave one, and the hash of what it asks for.
pub(super) fn idempotency_of(request: &HttpRequest, asked: &RunRequest) -> Result<Option<Idempotency>, ApiError> {
    let mut values = request.headers().get_all(&IDEMPOTENCY_KEY);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.as_bytes();
    let fits = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if !fits || values.next().is_some() {
        return Err(ApiError::new(
            ErrorCode::InvalidIdempotencyKey,
            format!("`Idempotency-Key` must be 1 to {MAX_KEY_BYTES} visible ASCII characters, sent once"),
        )
        .with_param("Idempotency-Key"));
    }
    Ok(Some(Idempotency {
        key: String::from_utf8_lossy(key).into_owned(),
        request_hash: request_hash(asked)?,
    }))
}

/// SHA-256 over the parsed request, with the keys of every object sorted: neither white space, nor the order of keys, nor `null` for
/// "not given" makes a difference.
pub(super) fn request_hash(asked: &RunRequest) -> Result<[u8; 32], ApiError> {
    let value = serde_json::to_value(asked).map_err(|error| {
        tracing::error!(%error, "a parsed request could not be written");
        ApiError::internal()
    })?;
    let mut canonical = String::new();
    write_canonical(&value, &mut canonical);
    Ok(Sha256::digest(canonical.as_bytes()).into())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for value in values {
                write_canonical(value, out);
                out.push(',');
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::http::extract::strict_json;
    use crate::http::options::RunRequestLimits;

    fn hash(body: &str) -> [u8; 32] {
        let body = strict_json::parse(body.as_bytes()).unwrap();
        request_hash(&RunRequest::read(&body, &RunRequestLimits::default(), None).unwrap()).unwrap()
    }

    #[test]
    fn the_same_request_in_other_words_has_the_same_hash() {
        let plain = hash(r#"{"input":"hi","model_options":{"a":1,"b":{"c":2,"d":3}}}"#);
        let others = [
            r#" { "model_options" : {"b":{"d":3,"c":2},"a":1}, "input":"hi" } "#,
            r#"{"input":"hi","stream":true,"model_options":{"a":1,"b":{"c":2,"d":3}}}"#,
            r#"{"input":"hi","model":null,"tools":[],"limits":{},"model_options":{"a":1,"b":{"c":2,"d":3}}}"#,
            r#"{"input":"\u0068i","on_limit":"queue","model_options":{"a":1,"b":{"c":2,"d":3}}}"#,
            r#"{"input":[{"role":"user","content":"hi"}],"model_options":{"a":1,"b":{"c":2,"d":3}}}"#,
        ];
        for other in others {
            assert_eq!(hash(other), plain, "{other}");
        }
    }

    #[test]
    fn another_request_has_another_hash() {
        let plain = hash(r#"{"input":"hi"}"#);
        let others = [
            r#"{"input":"ho"}"#,
            r#"{"input":"hi","model":"simulated"}"#,
            r#"{"input":"hi","on_limit":"refuse"}"#,
            r#"{"input":"hi","tools":["clock"]}"#,
            r#"{"input":"hi","limits":{"max_steps":3}}"#,
            r#"{"input":"hi","metadata":{"a":"b"}}"#,
            r#"{"input":[{"role":"system","content":"hi"}]}"#,
        ];
        for other in others {
            assert_ne!(hash(other), plain, "{other}");
        }
    }
}
