//! What the model is shown of an answer.

use callboard_actors::ports::ToolError;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::text_of;
use crate::outbound::OutboundAnswer;
use crate::placeholders::{Part, TextTemplate};

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

    /// What the model is shown of an answer.
    pub(super) fn shown(&self, answer: &OutboundAnswer) -> Result<String, ToolError> {
        if self.pointer.is_none() && self.template.is_none() {
            return as_it_is(answer);
        }
        if answer.is_cut {
            let problem = format!("the answer has more than {} bytes; no more is read", answer.body.len());
            return Err(ToolError::new(problem));
        }
        let whole: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| ToolError::new(format!("the answer is not JSON: {}", beginning_of(answer))))?;
        let part = match &self.pointer {
            None => &whole,
            Some(pointer) => whole.pointer(pointer).ok_or_else(|| {
                ToolError::new(format!("the answer has nothing at {pointer}: {}", beginning_of(answer)))
            })?,
        };
        let Some(template) = &self.template else {
            return Ok(text_of(part).unwrap_or_else(|| "null".to_owned()));
        };
        let of_part = |piece: &Part| match piece {
            Part::Text(text) => text.clone(),
            Part::Argument(pointer) => part.pointer(pointer).and_then(text_of).unwrap_or_default(),
            Part::Secret(_) => String::new(),
        };
        Ok(template.parts().iter().map(of_part).collect())
    }
}

/// What the model is told of an answer that tells of a failure.
pub(super) fn failure(answer: &OutboundAnswer) -> ToolError {
    let status = described(answer.status);
    if answer.body.is_empty() {
        return ToolError::new(format!("the server answered {status}"));
    }
    ToolError::new(format!("the server answered {status}: {}", beginning_of(answer)))
}

fn as_it_is(answer: &OutboundAnswer) -> Result<String, ToolError> {
    if answer.body.is_empty() {
        return Ok(format!(
            "the server answered {} and nothing else",
            described(answer.status)
        ));
    }
    let body = match std::str::from_utf8(&answer.body) {
        Ok(text) => text.to_owned(),
        // What is cut may be cut in the middle of a character.
        Err(_) if answer.is_cut || says_text(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        Err(_) => {
            let content_type = content_type(answer).unwrap_or("of no known type");
            return Err(ToolError::new(format!(
                "the answer is no text: {} bytes, {content_type}",
                answer.body.len()
            )));
        }
    };
    Ok(if answer.is_cut {
        format!("{body}\n[cut: no more was read]")
    } else {
        body
    })
}

fn says_text(answer: &OutboundAnswer) -> bool {
    content_type(answer).is_some_and(|content_type| content_type.starts_with("text/"))
}

fn content_type(answer: &OutboundAnswer) -> Option<&str> {
    answer.headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn beginning_of(answer: &OutboundAnswer) -> String {
    let end = answer.body.len().min(SHOWN_OF_A_FAILURE);
    let mut text = String::from_utf8_lossy(&answer.body[..end]).into_owned();
    if end < answer.body.len() {
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
        response.shown(&answer("application/json", body.as_bytes()))
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
            .shown(&answer("image/png", &[0x89, 0x50, 0xff]))
            .expect_err("no text");
        assert_eq!(error.message, "the answer is no text: 3 bytes, image/png");
        assert_eq!(
            plain.shown(&answer("text/plain", b"caf\xe9")).as_deref(),
            Ok("caf\u{fffd}")
        );
        let empty = plain.shown(&answer("text/plain", b""));
        assert_eq!(empty.as_deref(), Ok("the server answered 200 OK and nothing else"));
    }

    #[test]
    fn a_failure_shows_its_beginning() {
        let mut failed = answer("text/plain", "é".repeat(2000).as_bytes());
        failed.status = StatusCode::NOT_FOUND;
        let message = failure(&failed).message;
        assert!(
            message.starts_with("the server answered 404 Not Found: éé"),
            "{message}"
        );
        assert!(message.len() < 2100 && message.ends_with("[cut]"));
    }
}
