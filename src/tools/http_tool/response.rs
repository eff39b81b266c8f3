//! What the model is shown of an answer.

use std::convert::Infallible;

use callboard_actors::ports::ToolError;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::text_of;
use crate::outbound::OutboundAnswer;
use crate::placeholders::{BoundedText, Placeholder, TextTemplate, Unfilled};
use crate::secrets::HiddenSecrets;

/// Bytes that are shown of an answer that tells of a failure.
const SHOWN_OF_A_FAILURE: usize = 2000;

/// What is made of a good answer.
#[derive(Debug, Default)]
pub(super) struct ResponseTemplate {
    /// The part of a JSON answer that counts.
    pointer: Option<String>,
    /// A text in which pointers stand for parts of that.
    template: Option<TextTemplate>,
}

impl ResponseTemplate {
    /// The error has the name of the field and a sentence.
    pub(super) fn parse(pointer: Option<&str>, template: Option<&str>) -> Result<Self, (&'static str, String)> {
        let is_pointer = |text: &str| text.is_empty() || text.starts_with('/');
        if !pointer.is_none_or(is_pointer) {
            return Err((
                "response_pointer",
                "must be a JSON Pointer (RFC 6901), such as \"/data/0/name\"".to_owned(),
            ));
        }
        let wrong = |problem: String| ("response_template", problem);
        let template = template.map(TextTemplate::parse).transpose();
        let template = template.map_err(|problem| wrong(problem.to_string()))?;
        if let Some(template) = &template {
            if template.secrets().next().is_some() {
                return Err(wrong("a secret can only stand in a header".to_owned()));
            }
            if let Some(name) = template.arguments().find(|name| !name.starts_with('/')) {
                let problem = format!("`{name}` must be a JSON Pointer (RFC 6901), such as {{{{/data/0/name}}}}");
                return Err(wrong(problem));
            }
        }
        Ok(Self {
            pointer: pointer.map(str::to_owned),
            template,
        })
    }

    /// What the model is shown of an answer, and nothing of what is hidden. A template makes at most `most` bytes of it.
    pub(super) fn shown(
        &self,
        answer: &OutboundAnswer,
        hidden: &HiddenSecrets,
        most: usize,
    ) -> Result<String, ToolError> {
        if self.pointer.is_none() && self.template.is_none() {
            return as_it_is(answer, hidden);
        }
        if answer.is_cut {
            let problem = format!("the answer has more than {} bytes; no more is read", answer.body.len());
            return Err(ToolError::new(problem));
        }
        let whole: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| ToolError::new(format!("the answer is not JSON: {}", beginning_of(answer, hidden))))?;
        let part = match &self.pointer {
            None => &whole,
            Some(pointer) => whole.pointer(pointer).ok_or_else(|| {
                let beginning = beginning_of(answer, hidden);
                ToolError::new(format!("the answer has nothing at {pointer}: {beginning}"))
            })?,
        };
        let Some(template) = &self.template else {
            let text = text_of(part).unwrap_or("null".into());
            return Ok(hidden.replaced_in(text.into_owned()));
        };
        let mut text = BoundedText::new(most);
        let filled = template.fill(&mut text, |placeholder| match placeholder {
            Placeholder::Argument(pointer) => Ok(part.pointer(pointer).and_then(text_of).unwrap_or_default()),
            Placeholder::Secret(_) => Ok::<_, Infallible>("".into()),
        });
        let text = text.into_text();
        match filled {
            Ok(()) => Ok(hidden.replaced_in(text)),
            Err(Unfilled::TooLong) => Ok(format!("{}\n[cut]", hidden.replaced_in_beginning(text))),
            Err(Unfilled::NoValue(never)) => match never {},
        }
    }
}

/// What the model is told of an answer that tells of a failure.
pub(super) fn failure(answer: &OutboundAnswer, hidden: &HiddenSecrets) -> ToolError {
    let status = described(answer.status);
    if answer.body.is_empty() {
        return ToolError::new(format!("the server answered {status}"));
    }
    ToolError::new(format!(
        "the server answered {status}: {}",
        beginning_of(answer, hidden)
    ))
}

fn as_it_is(answer: &OutboundAnswer, hidden: &HiddenSecrets) -> Result<String, ToolError> {
    if answer.body.is_empty() {
        return Ok(format!(
            "the server answered {} and nothing else",
            described(answer.status)
        ));
    }
    // What is cut may be cut in the middle of a character.
    if !answer.is_cut && !says_text(answer) && std::str::from_utf8(&answer.body).is_err() {
        let content_type = content_type(answer).unwrap_or("of no known type");
        return Err(ToolError::new(format!(
            "the answer is no text: {} bytes, {content_type}",
            answer.body.len()
        )));
    }
    let body = text_without(hidden, answer);
    Ok(if answer.is_cut {
        format!("{body}\n[cut: no more was read]")
    } else {
        body
    })
}

/// All that was read of the body, as text.
fn text_without(hidden: &HiddenSecrets, answer: &OutboundAnswer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    if !answer.is_cut {
        return hidden.replaced_in(text.into_owned());
    }
    // Half a character at the end, which may be one of a secret.
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    hidden.replaced_in_beginning(whole.to_owned())
}

fn says_text(answer: &OutboundAnswer) -> bool {
    content_type(answer).is_some_and(|content_type| content_type.starts_with("text/"))
}

fn content_type(answer: &OutboundAnswer) -> Option<&str> {
    answer.headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn beginning_of(answer: &OutboundAnswer, hidden: &HiddenSecrets) -> String {
    let mut text = text_without(hidden, answer);
    if text.len() > SHOWN_OF_A_FAILURE {
        text.truncate(text.floor_char_boundary(SHOWN_OF_A_FAILURE));
        text.push_str(" [cut]");
    }
    text
}

/// Such as `404 Not Found`.
fn described(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, HeaderValue};

    const MOST: usize = 1000;

    fn hidden() -> HiddenSecrets {
        HiddenSecrets::new(&["hidden-token".into()])
    }

    fn answer(content_type: &'static str, body: &[u8]) -> OutboundAnswer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        OutboundAnswer {
            url: "http://a.example/".parse().expect("a URL"),
            status: StatusCode::OK,
            headers,
            body: body.to_vec().into(),
            is_cut: false,
        }
    }

    fn shown(pointer: Option<&str>, template: Option<&str>, body: &str) -> Result<String, ToolError> {
        let response = ResponseTemplate::parse(pointer, template).expect("a template");
        response.shown(&answer("application/json", body.as_bytes()), &hidden(), MOST)
    }

    #[test]
    fn a_pointer_takes_a_part_and_a_template_makes_a_text() {
        let body = r#"{"data": {"name": "Kyiv {{/x}}", "days": [1, 2]}, "none": null}"#;
        assert_eq!(shown(None, None, body).as_deref(), Ok(body));
        assert_eq!(shown(Some("/data/name"), None, body).as_deref(), Ok("Kyiv {{/x}}"));
        assert_eq!(shown(Some("/data/days"), None, body).as_deref(), Ok("[1,2]"));
        assert_eq!(shown(Some("/none"), None, body).as_deref(), Ok("null"));
        let template = Some("{{/name}}: {{/days/1}}{{/missing}}");
        assert_eq!(shown(Some("/data"), template, body).as_deref(), Ok("Kyiv {{/x}}: 2"));
        let missing = shown(Some("/other"), None, body).expect_err("nothing there");
        assert!(
            missing.message.starts_with("the answer has nothing at /other: {"),
            "{missing}"
        );
        assert!(
            shown(Some("/a"), None, "<html>")
                .expect_err("no JSON")
                .message
                .contains("not JSON")
        );
        for (pointer, template, field) in [
            (Some("data"), None, "response_pointer"),
            (None, Some("{{name}}"), "response_template"),
            (None, Some("{{secret:K}}"), "response_template"),
            (None, Some("{{"), "response_template"),
        ] {
            assert_eq!(ResponseTemplate::parse(pointer, template).expect_err("wrong").0, field);
        }
    }

    #[test]
    fn what_is_no_text_is_told_and_not_shown() {
        let plain = ResponseTemplate::default();
        let error = plain
            .shown(&answer("image/png", &[0x89, 0x50, 0xff]), &hidden(), MOST)
            .expect_err("no text");
        assert_eq!(error.message, "the answer is no text: 3 bytes, image/png");
        assert_eq!(
            plain
                .shown(&answer("text/plain", b"caf\xe9"), &hidden(), MOST)
                .as_deref(),
            Ok("caf\u{fffd}")
        );
        let empty = plain.shown(&answer("text/plain", b""), &hidden(), MOST);
        assert_eq!(empty.as_deref(), Ok("the server answered 200 OK and nothing else"));
    }

    #[test]
    fn a_failure_shows_its_beginning() {
        let mut failed = answer("text/plain", "é".repeat(2000).as_bytes());
        failed.status = StatusCode::NOT_FOUND;
        let message = failure(&failed, &hidden()).message;
        assert!(
            message.starts_with("the server answered 404 Not Found: éé"),
            "{message}"
        );
        assert!(message.len() < 2100 && message.ends_with("[cut]"));
    }

    #[test]
    fn a_template_is_filled_up_to_its_bound_and_no_further() {
        // Filled in it would have gigabytes.
        let template = "{{/long}}".repeat(10_000);
        let body = serde_json::json!({"long": "x".repeat(400)}).to_string();
        let cut = shown(None, Some(&template), &body).expect("what there is room for");
        assert_eq!(cut, format!("{}\n[cut]", "x".repeat(800)));
        let body = serde_json::json!({"long": "x".repeat(4_000_000)}).to_string();
        assert_eq!(shown(None, Some(&template), &body).as_deref(), Ok("\n[cut]"));
    }

    #[test]
    fn no_part_of_a_secret_is_shown_where_an_answer_is_cut() {
        let plain = ResponseTemplate::default();
        let mut cut = answer("text/plain", b"it is hidden-tok");
        cut.is_cut = true;
        let shown_of_it = plain.shown(&cut, &hidden(), MOST);
        assert_eq!(shown_of_it.as_deref(), Ok("it is \n[cut: no more was read]"));
        // The beginning of a failure ends within the secret.
        let mut failed = answer("text/plain", format!("{}hidden-token", "x".repeat(1995)).as_bytes());
        failed.status = StatusCode::BAD_REQUEST;
        let message = failure(&failed, &hidden()).message;
        assert!(message.ends_with("xx[secr [cut]"), "{message}");
        // A template puts it together, and JSON writes it otherwise.
        let halves = shown(None, Some("{{/a}}{{/b}}"), r#"{"a": "hidden-", "b": "token"}"#);
        assert_eq!(halves.as_deref(), Ok("[secret]"));
        let escaped = shown(Some("/a"), None, r#"{"a": "hidden\u002dtoken"}"#);
        assert_eq!(escaped.as_deref(), Ok("[secret]"));
        let begun = format!(r#"{{"a": "{}", "b": "hidden-", "c": "token"}}"#, "x".repeat(990));
        let begun = shown(None, Some("{{/a}}{{/b}}{{/c}}"), &begun).expect("a part");
        assert!(begun.ends_with("x\n[cut]"), "{begun}");
    }
}
