//! JSON Schema (2020-12) of tools' arguments. The only place that knows the validator.

use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::ports::toolbox::ArgumentCheck;
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::schema_cost::{patterns_in, steps_within, uncountable, values_in};
use crate::blocking::BlockingPool;

/// Mistakes that a model is told of at once.
const MOST_MISTAKES: usize = 5;

/// Bytes of each.
const LONGEST_MISTAKE: usize = 300;

/// Patterns that a schema may have, and the memory that each may take: a short one can be a huge machine.
const MOST_PATTERNS: usize = 32;
const LARGEST_PATTERN: usize = 128 * 1024;

/// What a schema takes in memory for each byte of its text, patterns aside; a generous guess.
const MEMORY_OF_A_BYTE: usize = 10;

/// Steps of a check that is made where it is asked for: some tens of microseconds.
const FEW_STEPS: u64 = 1_000;

/// Steps that a check may take, and for each value in the arguments more: some tens of milliseconds.
const MOST_STEPS: u64 = 100_000;
const MOST_STEPS_OF_A_VALUE: u64 = 16;

/// A schema, ready to check arguments.
pub struct CompiledSchema {
    schema: Value,
    validator: Validator,
}

impl CompiledSchema {
    /// Takes a while.
    ///
    /// # Errors
    /// Why it is none: nothing outside of it may be referred to, and patterns must be those of the `regex` crate, which take time in
    /// proportion to the text, and of a bounded size.
    pub fn of(schema: &Value) -> Result<Arc<Self>, String> {
        if !schema.is_object() {
            return Err("a schema is an object".into());
        }
        if let Some(problem) = uncountable(schema) {
            return Err(problem);
        }
        if patterns_in(schema) > MOST_PATTERNS {
            return Err(format!("a schema may have at most {MOST_PATTERNS} patterns"));
        }
        let patterns = PatternOptions::regex()
            .size_limit(LARGEST_PATTERN)
            .dfa_size_limit(LARGEST_PATTERN);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| shortened(error.to_string()))?;
        let schema = schema.clone();
        Ok(Arc::new(Self { schema, validator }))
    }

    /// The check against it, which uses `pool` where it takes more than a moment.
    pub fn check_on(self: &Arc<Self>, pool: &BlockingPool) -> Arc<dyn ArgumentCheck> {
        Arc::new(SchemaCheck {
            schema: self.clone(),
            pool: pool.clone(),
        })
    }
}

struct SchemaCheck {
    schema: Arc<CompiledSchema>,
    pool: BlockingPool,
}

/// Bytes of memory that a check against this schema takes at most, roughly; `text` is its length as it is written.
pub(super) fn memory_of(schema: &Value, text: usize) -> usize {
    text * MEMORY_OF_A_BYTE + patterns_in(schema) * 2 * LARGEST_PATTERN
}

#[async_trait]
impl ArgumentCheck for SchemaCheck {
    async fn check(&self, arguments: &Arc<Value>) -> Result<(), String> {
        if steps_within(&self.schema.schema, arguments, FEW_STEPS).is_ok() {
            return self.schema.check(arguments);
        }
        let (compiled, arguments) = (self.schema.clone(), arguments.clone());
        let checking = self.pool.run(move || {
            let most = MOST_STEPS + MOST_STEPS_OF_A_VALUE * values_in(&arguments);
            match steps_within(&compiled.schema, &arguments, most) {
                Ok(()) => compiled.check(&arguments),
                Err(_) => Err("it takes too long to check these arguments against the tool's schema".to_owned()),
            }
        });
        let checked = checking.await;
        checked.unwrap_or_else(|_| Err("the arguments could not be checked".to_owned()))
    }
}

impl CompiledSchema {
    fn check(&self, arguments: &Value) -> Result<(), String> {
        // (To say what is wrong takes longer than to see that nothing is.)
        if self.validator.is_valid(arguments) {
            return Ok(());
        }
        let mistakes: Vec<String> = self
            .validator
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
    use tokio::runtime::Handle;

    fn check_of(schema: &Value) -> Result<Arc<dyn ArgumentCheck>, String> {
        Ok(CompiledSchema::of(schema)?.check_on(&BlockingPool::new(Handle::current(), 2)))
    }

    async fn checked(schema: &Value, arguments: Value) -> Result<(), String> {
        check_of(schema).expect("a schema").check(&Arc::new(arguments)).await
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_told_by_place() {
        let schema = json!({
            "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "days": {"type": "integer", "maximum": 7}}
        });
        assert_eq!(checked(&schema, json!({"city": "Kyiv", "days": 3})).await, Ok(()));
        let told = checked(&schema, json!({"city": "kyiv", "days": 30, "x": 1})).await;
        let told = told.expect_err("three mistakes");
        assert!(
            told.contains("/city") && told.contains("/days") && told.contains("'x'"),
            "{told}"
        );
        assert!(checked(&schema, json!([])).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_schema_or_reaches_outside_is_refused() {
        let patterns: serde_json::Map<String, Value> =
            (0..100).map(|index| (format!("p{index}"), json!(true))).collect();
        for schema in [
            json!([]),
            json!({"type": "objekt"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"properties": {"x": {"pattern": "(?<=a)b"}}}),
            json!({"properties": {"x": {"pattern": "(?i)([\\p{L}\\p{N}]{1,60}-){3}"}}}),
            json!({"patternProperties": patterns}),
        ] {
            assert!(check_of(&schema).is_err(), "{schema}");
        }
    }

    #[tokio::test]
    async fn a_pattern_cannot_make_it_think_for_ever() {
        let schema = json!({"properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}});
        let text = format!("{}b", "a".repeat(100_000));
        assert!(checked(&schema, json!({"x": text})).await.is_err());
    }

    #[tokio::test]
    async fn references_cannot_make_it_think_for_ever() {
        let twice = json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"a": deep});
        }
        let told = checked(&twice, deep).await.expect_err("2^60 steps");
        assert!(told.contains("too long"), "{told}");
        assert_eq!(checked(&twice, json!({"a": {"a": {}}})).await, Ok(()));
    }

    #[tokio::test]
    async fn many_arguments_are_checked_too() {
        let schema =
            json!({"properties": {"rows": {"items": {"type": "object", "properties": {"n": {"type": "integer"}}}}}});
        let mut rows = vec![json!({"n": 1}); 20_000];
        assert_eq!(checked(&schema, json!({"rows": rows})).await, Ok(()));
        rows.push(json!({"n": "one"}));
        let told = checked(&schema, json!({"rows": rows})).await.expect_err("a mistake");
        assert!(told.contains("/rows/20000/n"), "{told}");
    }
}
