//! JSON Schema (2020-12) of tools' arguments. The only place that knows the validator.

use std::sync::Arc;

use callboard_actors::ports::toolbox::ArgumentCheck;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// Mistakes that a model is told of at once.
const MOST_MISTAKES: usize = 5;

/// Bytes of each.
const LONGEST_MISTAKE: usize = 300;

struct SchemaCheck(Validator);

/// A check against this schema. `Err` says why it is none: nothing outside of it may be referred to, and patterns must be those of the `regex`
/// crate, which take time in proportion to the text.
pub fn argument_check(schema: &Value) -> Result<Arc<dyn ArgumentCheck>, String> {
    if !schema.is_object() {
        return Err("a schema is an object".into());
    }
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| shortened(error.to_string()))?;
    Ok(Arc::new(SchemaCheck(validator)))
}

impl ArgumentCheck for SchemaCheck {
    fn check(&self, arguments: &Value) -> Result<(), String> {
        let mistakes: Vec<String> = self
            .0
            .iter_errors(arguments)
            .take(MOST_MISTAKES)
            .map(|error| {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() {
                    "the arguments".to_owned()
                } else {
                    place
                };
                shortened(format!("{place}: {error}"))
            })
            .collect();
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(format!("wrong arguments: {}", mistakes.join("; ")))
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_MISTAKE {
        text.truncate(text.floor_char_boundary(LONGEST_MISTAKE));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_that_do_not_fit_are_told_by_place() {
        let schema = json!({
            "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"type": "integer", "maximum": 7}}
        });
        let check = argument_check(&schema).expect("a schema");
        assert_eq!(check.check(&json!({"city": "Kyiv", "days": 3})), Ok(()));
        let told = check
            .check(&json!({"city": "kyiv", "days": 30, "x": 1}))
            .expect_err("three mistakes");
        assert!(
            told.contains("/city") && told.contains("/days") && told.contains("'x'"),
            "{told}"
        );
        assert!(check.check(&json!([])).is_err());
    }

    #[test]
    fn what_is_no_schema_or_reaches_outside_is_refused() {
        for schema in [
            json!([]),
            json!({"type": "objekt"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"x": {"pattern": "(?<=a)b"}}}),
        ] {
            assert!(argument_check(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_pattern_cannot_make_it_think_for_ever() {
        let schema = json!({"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}});
        let check = argument_check(&schema).expect("a schema");
        assert!(check.check(&json!({"x": format!("{}b", "a".repeat(100_000))})).is_err());
    }
}
