//! Objects that are read as a whole. What serde says of one that does not fit becomes the error that a field read by hand would get.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::fields::{invalid_value, wrong_type};
use crate::http::error::{ApiError, ErrorCode};

/// Reads an object; errors name the field below `path`.
pub(crate) fn read_declared<T: DeserializeOwned>(map: Map<String, Value>, path: &str) -> Result<T, ApiError> {
    let whole = Value::Object(map);
    serde_path_to_error::deserialize(&whole).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { "" } else { &place };
        refusal(value_at(&whole, error.path()), path, place, &error.inner().to_string())
    })
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
    if said.starts_with("invalid type: ")
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
        "u8" | "u16" | "u32" | "u64" | "usize" | "NonZeroU32" | "NonZeroU64" => {
            "a whole number that is not negative, and not too large"
        }
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

fn value_at<'value>(whole: &'value Value, place: &Path) -> Option<&'value Value> {
    place.iter().try_fold(whole, |value, step| match step {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_actors::tool_use::{ClientTool, HttpTool};
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
}
