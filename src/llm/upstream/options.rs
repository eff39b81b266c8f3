//! `model_options` in the form of OpenAI's chat completions, for the dialects that write the same thing in another way.

use callboard_actors::ports::ModelError;
use callboard_actors::ports::model::InvalidOption;
use serde_json::{Map, Value};

use super::failures::protocol;

/// An option that cannot be used.
pub(in crate::llm) fn invalid(key: &str, problem: impl Into<String>) -> InvalidOption {
    InvalidOption {
        key: key.into(),
        problem: problem.into(),
    }
}

/// Refuses the first option that is not one of `taken`.
pub(in crate::llm) fn refuse_unknown(options: &Map<String, Value>, taken: &[&str]) -> Result<(), InvalidOption> {
    match options.keys().find(|key| !taken.contains(&key.as_str())) {
        Some(key) => {
            let problem = format!("this model takes no such option; it takes {}", taken.join(", "));
            Err(invalid(key, problem))
        }
        None => Ok(()),
    }
}

/// The options of a run that was admitted although it should not have been: they are checked before.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(in crate::llm) fn unusable_options(problem: InvalidOption) -> ModelError {
    protocol(&format!("this model cannot take the option {}", problem.key))
}

/// `tool_choice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) enum ToolChoice<'a> {
    /// The model decides.
    Auto,
    /// No tools.
    None,
    /// Some tool.
    Required,
    /// This one.
    Function(&'a str),
}

impl<'a> ToolChoice<'a> {
    /// `None` if the options are silent.
    pub(in crate::llm) fn of(options: &'a Map<String, Value>) -> Result<Option<Self>, InvalidOption> {
        let Some(value) = options.get("tool_choice") else {
            return Ok(None);
        };
        let choice = match value.as_str() {
            Some("auto") => Self::Auto,
            Some("none") => Self::None,
            Some("required") => Self::Required,
            _ => match (value["type"].as_str(), value["function"]["name"].as_str()) {
                (Some("function"), Some(name)) => Self::Function(name),
                _ => {
                    let forms = r#""auto", "none", "required" or {"type": "function", "function": {"name": …}}"#;
                    return Err(invalid("tool_choice", format!("this model takes {forms}")));
                }
            },
        };
        Ok(Some(choice))
    }
}

/// `response_format`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::llm) enum ResponseFormat<'a> {
    /// Anything.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON of this schema: `name`, `schema`, `strict`, `description`.
    JsonSchema(&'a Map<String, Value>),
}

impl<'a> ResponseFormat<'a> {
    /// `None` if the options are silent.
    pub(in crate::llm) fn of(options: &'a Map<String, Value>) -> Result<Option<Self>, InvalidOption> {
        let Some(value) = options.get("response_format") else {
            return Ok(None);
        };
        let format = match value["type"].as_str() {
            Some("text") => Self::Text,
            Some("json_object") => Self::JsonObject,
            Some("json_schema") => match value["json_schema"].as_object() {
                Some(described) if described.get("schema").is_some_and(Value::is_object) => Self::JsonSchema(described),
                _ => {
                    return Err(invalid(
                        "response_format.json_schema.schema",
                        "it must be a JSON Schema",
                    ));
                }
            },
            _ => {
                let problem = "it must be `text`, `json_object` or `json_schema`";
                return Err(invalid("response_format.type", problem));
            }
        };
        Ok(Some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn tool_choice_has_four_forms() {
        for (value, choice) in [
            (json!("auto"), ToolChoice::Auto),
            (json!("none"), ToolChoice::None),
            (json!("required"), ToolChoice::Required),
            (
                json!({"type": "function", "function": {"name": "now"}}),
                ToolChoice::Function("now"),
            ),
        ] {
            assert_eq!(
                ToolChoice::of(&options(json!({"tool_choice": value}))),
                Ok(Some(choice))
            );
        }
        assert_eq!(ToolChoice::of(&Map::new()), Ok(None));
        for wrong in [
            json!("any"),
            json!(7),
            json!({"type": "function"}),
            json!({"type": "allowed_tools"}),
        ] {
            let options = options(json!({"tool_choice": wrong}));
            assert_eq!(ToolChoice::of(&options).expect_err("wrong").key, "tool_choice");
        }
    }

    #[test]
    fn response_format_has_three_forms() {
        let schema = options(json!({"response_format":
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}}));
        assert!(matches!(
            ResponseFormat::of(&schema),
            Ok(Some(ResponseFormat::JsonSchema(_)))
        ));
        for (wrong, key) in [
            (json!({"type": "xml"}), "response_format.type"),
            (json!("json"), "response_format.type"),
            (json!({"type": "json_schema"}), "response_format.json_schema.schema"),
        ] {
            let wrong = options(json!({"response_format": wrong}));
            assert_eq!(ResponseFormat::of(&wrong).expect_err("wrong").key, key);
        }
    }

    #[test]
    fn an_option_that_is_not_taken_is_refused_by_name() {
        let error = refuse_unknown(&options(json!({"a": 1, "b": 2})), &["a", "c"]).expect_err("b is not taken");
        assert_eq!(error.to_string(), "b: this model takes no such option; it takes a, c");
    }
}
