//! The body of an HTTP tool: JSON in which texts have placeholders.

use std::convert::Infallible;

use reqwest::header::HeaderValue;
use serde_json::{Map, Value};

use super::text_of;
use crate::outbound::media_type;
use crate::placeholders::{BoundedText, Placeholder, Room, TextTemplate, TooLong};

/// Bytes of a body as JSON.
pub(super) const LONGEST_BODY: usize = 4 * 1024 * 1024;

/// JSON with placeholders.
#[derive(Debug)]
pub(super) enum BodyTemplate {
    /// A number, a truth value, nothing.
    Constant(Value),
    /// A text. One that is a placeholder and nothing else becomes the argument, whatever its type; in a text, arguments are text.
    Text(TextTemplate),
    /// A list.
    List(Vec<Self>),
    /// An object. Its names are as they are.
    Object(Vec<(String, Self)>),
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// JSON.
    Json,
    /// `a=1&b=2`, of an object of single values.
    Form,
    /// A text as it is.
    Text,
}

impl BodyFormat {
    /// What a `content-type` asks for.
    pub(super) fn of(content_type: &str) -> Self {
        match media_type(content_type).as_str() {
            "application/x-www-form-urlencoded" => Self::Form,
            essence if essence.ends_with("/json") || essence.ends_with("+json") => Self::Json,
            _ => Self::Text,
        }
    }

    /// What is said of a body if the tool says nothing.
    pub(super) const fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => HeaderValue::from_static("application/json"),
            Self::Form => HeaderValue::from_static("application/x-www-form-urlencoded"),
            Self::Text => HeaderValue::from_static("text/plain; charset=utf-8"),
        }
    }

    /// The body. The error is a sentence for the model.
    pub(super) fn written(self, body: &Value) -> Result<String, String> {
        match (self, body) {
            (Self::Json, body) => Ok(body.to_string()),
            (Self::Text, Value::String(text)) => Ok(text.clone()),
            (Self::Text, _) => Err("the body must be a text".to_owned()),
            (Self::Form, Value::Object(fields)) => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                let appended = append_pairs(fields, |name, value| {
                    form.append_pair(name, value);
                    Ok::<_, Infallible>(())
                });
                appended.map(|()| form.finish()).map_err(|never| match never {})
            }
            (Self::Form, _) => Err("the body must be an object".to_owned()),
        }
    }
}

/// An object as pairs: of a list each entry, of nothing none. Ends with the first that cannot be appended.
pub(super) fn append_pairs<E>(
    fields: &Map<String, Value>,
    mut append: impl FnMut(&str, &str) -> Result<(), E>,
) -> Result<(), E> {
    for (name, value) in fields {
        match value {
            Value::Array(entries) => {
                for text in entries.iter().filter_map(text_of) {
                    append(name, &text)?;
                }
            }
            value => {
                if let Some(text) = text_of(value) {
                    append(name, &text)?;
                }
            }
        }
    }
    Ok(())
}

impl BodyTemplate {
    /// Takes a body apart; the error is a sentence.
    pub(super) fn parse(body: &Value) -> Result<Self, String> {
        Ok(match body {
            Value::String(text) => {
                let template = TextTemplate::parse(text).map_err(|problem| problem.to_string())?;
                if template.secrets().next().is_some() {
                    return Err("a secret can only stand in a header".to_owned());
                }
                Self::Text(template)
            }
            Value::Array(entries) => Self::List(entries.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), Self::parse(value)?)));
                Self::Object(fields.collect::<Result<_, String>>()?)
            }
            constant => Self::Constant(constant.clone()),
        })
    }

    /// Names of the arguments in it.
    pub(super) fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::Text(template) => template.arguments().collect(),
            Self::List(entries) => entries.iter().flat_map(Self::arguments).collect(),
            Self::Object(fields) => fields.iter().flat_map(|(_, value)| value.arguments()).collect(),
        }
    }

    /// Fills in. What arguments bring takes `room`, and nothing is copied for which there is none. `None`: it is one argument, which is not
    /// there; what it would be an entry or a field of goes without it.
    pub(super) fn fill(&self, arguments: &Map<String, Value>, room: &mut Room) -> Result<Option<Value>, TooLong> {
        Ok(Some(match self {
            Self::Constant(value) => value.clone(),
            Self::Text(template) => match template.only_argument() {
                Some(name) => {
                    let Some(value) = arguments.get(name) else {
                        return Ok(None);
                    };
                    room.take_value(value)?;
                    value.clone()
                }
                None => Value::String(filled_text(template, arguments, room)?),
            },
            Self::List(entries) => {
                let entries = entries.iter().map(|entry| entry.fill(arguments, room));
                entries.filter_map(Result::transpose).collect::<Result<_, _>>()?
            }
            Self::Object(fields) => {
                let mut filled = Map::new();
                for (name, value) in fields {
                    if let Some(value) = value.fill(arguments, room)? {
                        filled.insert(name.clone(), value);
                    }
                }
                Value::Object(filled)
            }
        }))
    }
}

fn filled_text(template: &TextTemplate, arguments: &Map<String, Value>, room: &mut Room) -> Result<String, TooLong> {
    let mut text = BoundedText::new(room.left());
    let filled = template.fill(&mut text, |placeholder| match placeholder {
        Placeholder::Argument(name) => Ok(arguments.get(name).and_then(text_of).unwrap_or_default()),
        Placeholder::Secret(_) => Ok::<_, Infallible>("".into()),
    });
    filled.map_err(|_| TooLong)?;
    room.take(text.as_str().len())?;
    Ok(text.into_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: Value, arguments: Value) -> Option<Value> {
        let template = BodyTemplate::parse(&template).expect("a template");
        let room = &mut Room::of(LONGEST_BODY);
        template
            .fill(arguments.as_object().expect("an object"), room)
            .expect("there is room")
    }

    #[test]
    fn a_body_is_filled_up_to_its_bound_and_no_further() {
        let long = "x".repeat(3_000_000);
        let arguments = json!({"a": long, "list": [long]});
        // Filled in they would have gigabytes.
        for template in [
            json!("-{{a}}".repeat(10_000)),
            json!(vec!["{{a}}"; 10_000]),
            json!({"texts": vec!["{{a}}!"; 10_000]}),
            json!({"lists": {"a": "{{list}}", "b": "{{list}}"}}),
        ] {
            let template = BodyTemplate::parse(&template).expect("a template");
            let filled = template.fill(arguments.as_object().expect("an object"), &mut Room::of(LONGEST_BODY));
            assert_eq!(filled, Err(TooLong));
        }
        assert!(filled(json!({"once": "{{a}}"}), arguments).is_some());
    }

    #[test]
    fn a_placeholder_alone_is_the_argument_and_in_a_text_it_is_text() {
        let template = json!({
            "to": "{{to}}", "text": "Dear {{name}}, {{count}} new{{missing}}", "fixed": [1, true, null, "x"],
            "tags": ["{{tag}}", "{{missing}}"], "left_out": "{{missing}}", "null": "{{nothing}}",
        });
        let arguments = json!({
            "to": ["a", "b"], "name": "\"O\\Neil\" {{to}}", "count": 3, "tag": {"k": 1}, "nothing": null,
        });
        assert_eq!(
            filled(template, arguments),
            Some(json!({
                "to": ["a", "b"], "text": "Dear \"O\\Neil\" {{to}}, 3 new", "fixed": [1, true, null, "x"],
                "tags": [{"k": 1}], "null": null,
            }))
        );
        assert_eq!(
            filled(json!("{{all}}"), json!({"all": {"a": 1}})),
            Some(json!({"a": 1}))
        );
        assert_eq!(filled(json!("{{all}}"), json!({})), None);
        assert!(BodyTemplate::parse(&json!({"a": ["{{secret:K}}"]})).is_err());
        assert!(BodyTemplate::parse(&json!({"a": "{{"})).is_err());
    }

    #[test]
    fn a_body_is_written_as_its_type_says() {
        let body = json!({"a": "1 & 2", "b": [1, "x"], "c": null, "d": {"e": 1}});
        let form = BodyFormat::of("Application/X-WWW-Form-Urlencoded; charset=utf-8");
        assert_eq!(
            form.written(&body).as_deref(),
            Ok("a=1+%26+2&b=1&b=x&d=%7B%22e%22%3A1%7D")
        );
        assert!(form.written(&json!([])).is_err());
        assert_eq!(BodyFormat::of("application/ld+json"), BodyFormat::Json);
        assert_eq!(BodyFormat::of("application/json; charset=utf-8"), BodyFormat::Json);
        let text = BodyFormat::of("application/xml");
        assert_eq!(text.written(&json!("<a/>")).as_deref(), Ok("<a/>"));
        assert!(text.written(&json!({})).is_err());
    }
}
