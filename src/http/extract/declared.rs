//! Objects that are read as a whole. What serde says of one that does not fit becomes the error that a field read by hand would get.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::fields::{invalid_value, wrong_type};
use crate::http::error::{ApiError, ErrorCode};

/// Reads an object, in which `null` is the same as leaving a field out; errors name the field below `path`.
pub(crate) fn read_declared<T: DeserializeOwned>(mut map: Map<String, Value>, path: &str) -> Result<T, ApiError> {
    map.retain(|_, value| !value.is_null());
    let whole = Value::Object(map);
    serde_path_to_error::deserialize(&whole).map_err(|error| {
        let place = Place::of(error.path());
        let mut said = error.inner().to_string();
        if EXPECTS_A_NAME.iter().any(|end| said.ends_with(end))
            && let Some(names) = names_that_fit::<T>(whole.clone(), &place)
        {
            said = format!("invalid type: expected {names}");
        }
        refusal(place.value_in(&whole), path, &place.to_string(), &said)
    })
}

/// What serde says of a value that is not even of the type of an enum's names.
const EXPECTS_A_NAME: [&str; 2] = ["expected string or map", "expected unit"];

/// The names that an enum at this place has: serde lists them when it meets another name.
fn names_that_fit<T: DeserializeOwned>(mut whole: Value, place: &Place) -> Option<String> {
    *place.value_mut_in(&mut whole)? = Value::String(String::new());
    let error = serde_path_to_error::deserialize::<_, T>(&whole).err()?;
    let said = error.inner().to_string();
    let names = said.strip_prefix("unknown variant ``, expected ")?;
    Some(names.to_owned())
}

/// Where in an object something stands; an enum's variants are no places.
struct Place(Vec<Segment>);

impl Place {
    fn of(path: &Path) -> Self {
        let steps = path.iter().cloned();
        Self(
            steps
                .take_while(|step| matches!(step, Segment::Map { .. } | Segment::Seq { .. }))
                .collect(),
        )
    }

    fn value_in<'value>(&self, whole: &'value Value) -> Option<&'value Value> {
        self.0.iter().try_fold(whole, |value, step| match step {
            Segment::Map { key } => value.get(key),
            Segment::Seq { index } => value.get(index),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
    }

    fn value_mut_in<'value>(&self, whole: &'value mut Value) -> Option<&'value mut Value> {
        self.0.iter().try_fold(whole, |value, step| match step {
            Segment::Map { key } => value.get_mut(key),
            Segment::Seq { index } => value.get_mut(index),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            let is_key_below = index > 0 && matches!(step, Segment::Map { .. });
            write!(formatter, "{}{step}", if is_key_below { "." } else { "" })?;
        }
        Ok(())
    }
}

/// `place` is where serde stopped, `found` what stands there, and `said` its words: "missing field `name`", "invalid type: integer `5`, expected a string".
fn refusal(found: Option<&Value>, path: &str, place: &str, said: &str) -> ApiError {
    let param = joined(path, place);
    if let Some(name) = quoted_after(said, "missing field ") {
        let param = joined(&param, name);
        return ApiError::new(ErrorCode::MissingField, format!("`{param}` is missing")).with_param(param);
    }
    if let Some(name) = quoted_after(said, "unknown field ") {
        let is_named = place == name || place.ends_with(&format!(".{name}"));
        let param = if is_named { param } else { joined(&param, name) };
        let known = said.split_once("expected ").map_or("", |(_, known)| known);
        let known = known.trim_start_matches("one of ").replace('`', "");
        let message = format!("there is no field `{param}`; known here: {known}");
        return ApiError::new(ErrorCode::UnknownField, message).with_param(param);
    }
    let expected = said
        .split_once("expected ")
        .map_or("something else", |(_, words)| words);
    let expected = in_plain_words(expected);
    // (A number that is no whole one, or too large for any, is still a number.)
    let is_another_number = found.is_some_and(Value::is_number) && expected.contains("number");
    if said.starts_with("invalid type: ")
        && !is_another_number
        && let Some(found) = found
    {
        return wrong_type(&param, expected, found);
    }
    invalid_value(&param, &format!("`{param}` must be {expected}"))
}

/// What stands in backquotes behind these words.
fn quoted_after<'said>(said: &'said str, words: &str) -> Option<&'said str> {
    let (name, _) = said.strip_prefix(words)?.strip_prefix('`')?.split_once('`')?;
    Some(name)
}

fn joined(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// The names of types mean nothing to clients.
fn in_plain_words(expected: &str) -> &str {
    let number = expected.trim_start_matches("a nonzero ");
    match number {
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number from 0 to 18446744073709551615",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_actors::tool_use::{ClientTool, HttpTool, McpToolUse, ServerToolUse};
    use serde_json::json;

    fn told<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> (String, String, String) {
        let map = value.as_object().expect("an object").clone();
        let error = read_declared::<T>(map, "tools[0]").expect_err("a mistake");
        let body = error.body(None);
        let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
        (text("code"), text("param"), text("message"))
    }

    #[test]
    fn mistakes_have_the_codes_of_fields_that_are_read_by_hand() {
        for (value, code, param) in [
            (json!({"url": "https://x.example/"}), "missing_field", "tools[0].name"),
            (json!({"name": 5, "url": ""}), "invalid_type", "tools[0].name"),
            (
                json!({"name": "x", "url": "", "headers": {"a": 5}}),
                "invalid_type",
                "tools[0].headers.a",
            ),
            (
                json!({"name": "x", "url": "", "headers": []}),
                "invalid_type",
                "tools[0].headers",
            ),
            (
                json!({"name": "x", "url": "", "colour": 1}),
                "unknown_field",
                "tools[0].colour",
            ),
            (
                json!({"name": "x", "url": "", "method": "FLY"}),
                "invalid_value",
                "tools[0].method",
            ),
            (
                json!({"name": "x", "url": "", "timeout_seconds": -1}),
                "invalid_value",
                "tools[0].timeout_seconds",
            ),
        ] {
            let (told_code, told_param, message) = told::<HttpTool>(value.clone());
            assert_eq!(
                (told_code.as_str(), told_param.as_str()),
                (code, param),
                "{value}: {message}"
            );
            assert!(!message.contains("u64") && !message.contains("struct"), "{message}");
        }
        let (code, ..) = told::<ClientTool>(json!({"name": "x", "parameters": {}, "requires_approval": "yes"}));
        assert_eq!(code, "invalid_type");
    }

    #[test]
    fn a_name_of_another_type_is_told_which_names_there_are() {
        let tool = |field: &str, value: Value| {
            let mut tool = json!({"name": "x", "url": "", "parameters": {}});
            tool[field] = value;
            told::<HttpTool>(tool)
        };
        for wrong in [json!(5), json!(["safe"]), json!({"safe": 1})] {
            let (code, param, message) = tool("retry", wrong.clone());
            assert_eq!(
                (code.as_str(), param.as_str()),
                ("invalid_type", "tools[0].retry"),
                "{message}"
            );
            assert!(
                message.contains("`idempotent`") && message.contains("`unsafe`"),
                "{wrong}: {message}"
            );
        }
        let (.., message) = tool("method", json!(true));
        assert_eq!(
            message,
            "`tools[0].method` must be one of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, not true or false"
        );
        let (code, _, message) = told::<ClientTool>(json!({"name": "x", "parameters": {}, "on_deadline": 1}));
        assert_eq!(code, "invalid_type");
        assert!(message.contains("`tell_model` or `fail_run`"), "{message}");
    }

    #[test]
    fn numbers_are_told_their_bounds() {
        for (field, value, bound) in [
            ("max_concurrent", json!(-1), "from 0 to 4294967295"),
            ("max_concurrent", json!(5_000_000_000_u64), "from 0 to 4294967295"),
            ("timeout_seconds", json!(1.5), "from 0 to 18446744073709551615"),
        ] {
            let (code, _, message) = told::<HttpTool>(json!({"name": "x", "url": "", field: value}));
            assert_eq!(code, "invalid_value", "{message}");
            assert!(message.ends_with(bound), "{message}");
        }
    }

    #[test]
    fn null_means_that_a_field_is_not_given() {
        fn read<T: DeserializeOwned>(value: &Value) -> T {
            read_declared(value.as_object().expect("an object").clone(), "tools[0]").expect("it fits")
        }
        /// The required fields, and all the others as `null`.
        fn with_nulls<T: DeserializeOwned + serde::Serialize>(required: &Value, others: &[&str]) {
            let mut written = required.clone();
            for field in others {
                written[field] = Value::Null;
            }
            let plain: T = read(required);
            let read: T = read(&written);
            let as_json = |tool: &T| serde_json::to_value(tool).expect("JSON");
            assert_eq!(as_json(&read), as_json(&plain));
        }
        with_nulls::<ServerToolUse>(&json!({"name": "now"}), &["requires_approval"]);
        let client = ["description", "deadline_seconds", "on_deadline", "requires_approval"];
        with_nulls::<ClientTool>(&json!({"name": "x", "parameters": {}}), &client);
        let http = [
            "description",
            "method",
            "headers",
            "body",
            "response_pointer",
            "response_template",
            "signing_secret",
            "retry",
            "timeout_seconds",
            "max_concurrent",
            "requires_approval",
        ];
        with_nulls::<HttpTool>(&json!({"name": "x", "url": "", "parameters": {}}), &http);
        let mcp = ["url", "headers", "allowed_tools", "requires_approval"];
        with_nulls::<McpToolUse>(&json!({"server": "files"}), &mcp);
        let (code, param, _) = told::<ClientTool>(json!({"name": "x", "parameters": null}));
        assert_eq!(
            (code.as_str(), param.as_str()),
            ("missing_field", "tools[0].parameters")
        );
    }
}
