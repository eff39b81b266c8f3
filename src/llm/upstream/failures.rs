//! What went wrong with a call, in words of our own: what a provider writes may have keys, URLs or a user's text in it, and is only looked
//! at for the names of errors that are known.

use std::time::Duration;

use callboard_actors::ports::{ModelError, ModelErrorKind};
use serde_json::Value;

use super::limit_headers::{limit_hints, retry_after};

/// The most of an error's body that is read, bytes. It is read for the sake of the connection too, which can then be used again.
const MOST_OF_A_BODY: usize = 64 << 10;

/// The longest wait for the rest of an error's body. The status is known by then.
const BODY_PATIENCE: Duration = Duration::from_millis(500);

/// The answer is not of the provider's protocol, or the request cannot be written in it.
pub(in crate::llm) fn protocol(message: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Protocol, message)
}

/// What to make of an event that is not of the dialect: gateways put errors into streams in a form of their own.
pub(in crate::llm) fn foreign_event(data: &str) -> ModelError {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    if event["error"].is_object() {
        return reported(&event["error"]);
    }
    protocol("the model's provider sent an event that is not of its protocol")
}

/// The stream is over before its answer is.
pub(in crate::llm) fn broke_off() -> ModelError {
    ModelError::new(ModelErrorKind::Connection, "the model's answer broke off")
}

/// The provider ended its answer because it could not go on. Trouble of its own, as a 503 would be.
pub(in crate::llm) fn gave_up() -> ModelError {
    ModelError::new(
        ModelErrorKind::Status(503),
        "the model's provider could not finish its answer",
    )
}

/// A reason to end that nobody has told us of: the answer counts as whole. Only what looks like a name is logged.
pub(in crate::llm) fn log_unknown_reason(name: &str) {
    let is_name = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let reason = if is_name { name } else { "no name" };
    tracing::debug!(
        reason,
        "a model's provider ended an answer for a reason that is not known"
    );
}

/// An error that came as an event, after the answer had begun. It has no status of its own; its code or type stands for one.
pub(in crate::llm) fn reported(error: &Value) -> ModelError {
    let status = status_of(error).unwrap_or(500);
    let message = format!("the model's provider reported an error in its answer ({status})");
    ModelError::new(ModelErrorKind::Status(status), message)
}

/// A response whose status says that there is no answer.
pub(super) async fn refused(response: reqwest::Response) -> ModelError {
    let mut status = response.status().as_u16();
    let hints = limit_hints(response.headers());
    let retry_after = retry_after(response.headers());
    let is_final = response
        .headers()
        .get("x-should-retry")
        .is_some_and(|value| value == "false");
    let body = tokio::time::timeout(BODY_PATIENCE, start_of_body(response)).await;
    let mut message = format!("the model's provider answered {status}");
    if status == 429 && body.is_ok_and(|body| has_no_credit(&body)) {
        // Waiting does not help, and another key may: this is about payment.
        status = 402;
        message = "the model's provider says that there is no credit left for this key".into();
    } else if status == 429 && is_final {
        // Neither does it here, and another key may not either: this is about the request.
        status = 413;
        message = "the model's provider says that its limits never have room for this request; make its input shorter, or lower \
                   limits.max_output_tokens"
            .into();
    }
    ModelError {
        kind: ModelErrorKind::Status(status),
        message,
        retry_after,
        hints: Box::new(hints),
    }
}

async fn start_of_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        if body.len() + bytes.len() > MOST_OF_A_BODY {
            break;
        }
        body.extend_from_slice(&bytes);
    }
    body
}

fn has_no_credit(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    status_of(&body["error"]) == Some(402)
}

/// The HTTP status that an error object amounts to. `code` may be one itself; the other names are those of OpenAI and Anthropic.
fn status_of(error: &Value) -> Option<u16> {
    let number = error["code"].as_u64().or_else(|| error["status"].as_u64());
    if let Some(status) = number.and_then(|number| u16::try_from(number).ok())
        && (400..600).contains(&status)
    {
        return Some(status);
    }
    [&error["code"], &error["type"]]
        .into_iter()
        .filter_map(Value::as_str)
        .find_map(status_named)
}

fn status_named(name: &str) -> Option<u16> {
    let status = match name {
        "invalid_request_error" | "invalid_prompt" | "context_length_exceeded" | "bad_request" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "insufficient_quota" | "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        "api_error" | "server_error" | "internal_server_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" | "server_overloaded" => 529,
        name => name.parse().ok().filter(|status| (400..600).contains(status))?,
    };
    Some(status)
}

/// Says what went wrong without saying where: reqwest's own text has the URL in it.
pub(super) fn connection(error: &reqwest::Error) -> ModelError {
    if error.is_connect() && error.is_timeout() {
        return ModelError::new(
            ModelErrorKind::Timeout,
            "connecting to the model's provider took too long",
        );
    }
    let message = if error.is_connect() {
        "the model's provider cannot be reached"
    } else {
        "the connection to the model's provider broke"
    };
    ModelError::new(ModelErrorKind::Connection, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_in_a_stream_amount_to_a_status_and_are_not_quoted() {
        for (error, status) in [
            (json!({"type": "overloaded_error", "message": "sk-123"}), 529),
            (
                json!({"type": "invalid_request_error", "code": "rate_limit_exceeded"}),
                429,
            ),
            (json!({"code": 502, "message": "sk-123"}), 502),
            (json!({"code": "503"}), 503),
            (json!({"code": 7, "type": "sk-123"}), 500),
            (json!("sk-123"), 500),
            (json!(null), 500),
        ] {
            let said = reported(&error);
            assert_eq!(said.kind, ModelErrorKind::Status(status), "{error}");
            assert!(!said.message.contains("sk-123"));
        }
    }

    #[test]
    fn a_key_without_credit_is_not_one_that_is_used_too_fast() {
        assert!(has_no_credit(
            br#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#
        ));
        assert!(!has_no_credit(
            br#"{"error":{"type":"requests","code":"rate_limit_exceeded"}}"#
        ));
        assert!(!has_no_credit(b"<html>"));
    }
}
