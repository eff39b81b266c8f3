//! How much work it is to check arguments against a schema. Schemas are somebody else's: with references that branch, one of a few lines
//! keeps a validator busy for years. So the steps are counted before it begins, on the same way through schema and arguments.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// How deep subschemas may be in each other, references followed. Further down the validator's own stack would be in danger.
const DEEPEST: usize = 200;

/// Bytes that a pattern looks through in the time of a step.
const BYTES_OF_A_STEP: usize = 16;

/// Stands for the name of any property.
static A_NAME: Value = Value::String(String::new());

/// The check takes more steps than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// What a subschema is for.
#[derive(Debug, Clone, Copy)]
enum Part<'schema> {
    /// The same value as the schema that it stands in.
    Same,
    Property(&'schema str),
    EachProperty,
    EachName,
    Item(usize),
    EachItem,
    /// Nothing, unless it is referred to.
    Kept,
}

/// Counts the steps of a check, no further than `most`.
///
/// # Errors
/// There are more, or the schema goes too deep.
pub(super) fn steps_within(schema: &Value, arguments: &Value, most: u64) -> Result<(), TooMuch> {
    let mut walk = Walk {
        root: schema,
        left: most,
        depth: 0,
    };
    walk.check(schema, arguments)
}

/// Values within a value, itself included.
pub(super) fn values_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values_in).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(values_in).sum::<u64>(),
        _ => 1,
    }
}

/// Why the steps of checks against this schema cannot be counted, if they cannot: its references must be pointers within it.
pub(super) fn uncountable(schema: &Value) -> Option<String> {
    fn look(schema: &Value, is_root: bool) -> Option<String> {
        let fields = schema.as_object()?;
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if fields.contains_key(keyword) {
                return Some(format!("{keyword} is not taken here"));
            }
        }
        if !is_root && fields.contains_key("$id") {
            return Some("$id is taken at the top only".to_owned());
        }
        let is_within = |reference: &str| reference == "#" || reference.starts_with("#/");
        match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) if !is_within(reference) => {
                Some("$ref must be a pointer within the schema, such as \"#/$defs/item\"".to_owned())
            }
            _ => subschemas(fields).find_map(|(_, subschema)| look(subschema, false)),
        }
    }
    look(schema, true)
}

/// Regular expressions in a schema.
pub(super) fn patterns_in(schema: &Value) -> usize {
    let Some(fields) = schema.as_object() else { return 0 };
    let of_names = fields.get("patternProperties").and_then(Value::as_object);
    let own = usize::from(fields.contains_key("pattern")) + of_names.map_or(0, Map::len);
    own + subschemas(fields)
        .map(|(_, subschema)| patterns_in(subschema))
        .sum::<usize>()
}

/// The subschemas of a schema of draft 2020-12, each with what it is for.
fn subschemas<'schema>(schema: &'schema Map<String, Value>) -> impl Iterator<Item = (Part<'schema>, &'schema Value)> {
    schema.iter().flat_map(|(keyword, value)| match keyword.as_str() {
        "not" | "if" | "then" | "else" => vec![(Part::Same, value)],
        "allOf" | "anyOf" | "oneOf" => in_list(value, |_| Part::Same),
        "dependentSchemas" => by_name(value, |_| Part::Same),
        "properties" => by_name(value, Part::Property),
        "patternProperties" => by_name(value, |_| Part::EachProperty),
        "additionalProperties" | "unevaluatedProperties" => vec![(Part::EachProperty, value)],
        "propertyNames" => vec![(Part::EachName, value)],
        "prefixItems" => in_list(value, Part::Item),
        "items" | "contains" | "unevaluatedItems" => vec![(Part::EachItem, value)],
        "$defs" | "definitions" => by_name(value, |_| Part::Kept),
        _ => Vec::new(),
    })
}

fn in_list(list: &Value, part: impl Fn(usize) -> Part<'static>) -> Vec<(Part<'_>, &Value)> {
    let entries = list.as_array().into_iter().flatten().enumerate();
    entries.map(|(index, value)| (part(index), value)).collect()
}

fn by_name<'schema>(
    fields: &'schema Value,
    part: impl Fn(&'schema str) -> Part<'schema>,
) -> Vec<(Part<'schema>, &'schema Value)> {
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(name, value)| (part(name), value)).collect()
}

struct Walk<'schema> {
    root: &'schema Value,
    left: u64,
    depth: usize,
}

impl<'schema> Walk<'schema> {
    fn spend(&mut self, steps: usize) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(steps as u64).ok_or(TooMuch)?;
        Ok(())
    }

    fn check(&mut self, schema: &'schema Value, value: &Value) -> Result<(), TooMuch> {
        self.spend(1)?;
        // (`true` and `false` are schemas too.)
        let Some(schema) = schema.as_object() else {
            return Ok(());
        };
        if self.depth == DEEPEST {
            return Err(TooMuch);
        }
        self.depth += 1;
        self.spend(own_steps(schema, value))?;
        // What is evaluated is found out beside the check itself.
        let finds_out = schema.contains_key("unevaluatedItems") || schema.contains_key("unevaluatedProperties");
        let times = if finds_out { 2 } else { 1 };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.target(reference)?;
            for _ in 0..times {
                self.check(target, value)?;
            }
        }
        for (part, subschema) in subschemas(schema) {
            match (part, value) {
                (Part::Same, _) => {
                    for _ in 0..times {
                        self.check(subschema, value)?;
                    }
                }
                (Part::Property(name), Value::Object(fields)) => {
                    if let Some(field) = fields.get(name) {
                        self.check(subschema, field)?;
                    }
                }
                (Part::EachProperty, Value::Object(fields)) => {
                    for field in fields.values() {
                        self.check(subschema, field)?;
                    }
                }
                (Part::EachName, Value::Object(fields)) => {
                    for _ in fields {
                        self.check(subschema, &A_NAME)?;
                    }
                }
                (Part::Item(index), Value::Array(items)) => {
                    if let Some(item) = items.get(index) {
                        self.check(subschema, item)?;
                    }
                }
                (Part::EachItem, Value::Array(items)) => {
                    for item in items {
                        self.check(subschema, item)?;
                    }
                }
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn target(&self, reference: &str) -> Result<&'schema Value, TooMuch> {
        let pointer = percent_decode_str(reference.trim_start_matches('#')).decode_utf8_lossy();
        self.root.pointer(&pointer).ok_or(TooMuch)
    }
}

/// Those of the keywords of the schema itself.
fn own_steps(schema: &Map<String, Value>, value: &Value) -> usize {
    let mut steps = schema.len();
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        steps += choices.len();
    }
    match value {
        Value::String(text) if schema.contains_key("pattern") => steps += text.len() / BYTES_OF_A_STEP,
        Value::Array(items) if schema.contains_key("uniqueItems") => steps += items.len(),
        Value::Object(fields) => {
            let patterns = schema.get("patternProperties").and_then(Value::as_object);
            let bytes: usize = fields.keys().map(|name| BYTES_OF_A_STEP + name.len()).sum();
            steps += patterns.map_or(0, Map::len) * bytes / BYTES_OF_A_STEP;
        }
        _ => {}
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each of so many definitions refers to the next one twice.
    fn doubling(levels: usize) -> Value {
        let mut kept = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            kept.insert(format!("d{level}"), json!({"allOf": [next, next]}));
        }
        kept.insert(format!("d{levels}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/d0", "$defs": kept})
    }

    #[test]
    fn references_that_branch_are_too_much_before_anything_is_checked() {
        assert_eq!(steps_within(&doubling(5), &json!({}), 2_000), Ok(()));
        assert_eq!(steps_within(&doubling(60), &json!({}), 1_000_000), Err(TooMuch));
        // The same, along the arguments.
        let again = json!({"properties": {"a": {"$ref": "#"}}});
        let schema = json!({"allOf": [again, again]});
        let mut arguments = json!({});
        for _ in 0..60 {
            arguments = json!({"a": arguments});
        }
        assert_eq!(steps_within(&schema, &arguments, 1_000_000), Err(TooMuch));
        // One that only goes round.
        assert_eq!(steps_within(&json!({"$ref": "#"}), &json!({}), 1_000_000), Err(TooMuch));
    }

    #[test]
    fn schemas_that_people_write_take_few_steps() {
        let tree = json!({
            "type": "object", "$defs": {"node": {"type": "object", "properties": {
                "value": {"type": "number"}, "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}
            }}},
            "properties": {"root": {"$ref": "#/$defs/node"}, "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}}}
        });
        let mut node = json!({"value": 1});
        for value in 0..40 {
            node = json!({"value": value, "left": node, "right": {"value": 2}});
        }
        let arguments = json!({"root": node, "tags": vec!["tag"; 50]});
        assert_eq!(steps_within(&tree, &arguments, 2_000), Ok(()));
        assert_eq!(uncountable(&tree), None);
        assert_eq!(patterns_in(&tree), 1);
        assert_eq!(values_in(&json!({"a": [1, 2, {}]})), 5);
    }

    #[test]
    fn references_that_are_no_pointers_within_are_refused() {
        for schema in [
            json!({"properties": {"x": {"$ref": "https://example.com/schema"}}}),
            json!({"anyOf": [{"$dynamicRef": "#x"}]}),
            json!({"$defs": {"x": {"$id": "https://example.com/x"}}}),
            json!({"items": {"$ref": "#name"}}),
        ] {
            assert!(uncountable(&schema).is_some(), "{schema}");
        }
        // What stands where no schema does is none.
        let harmless = json!({"$id": "https://example.com/x", "properties": {"$ref": {"const": {"$dynamicRef": 1}}}});
        assert_eq!(uncountable(&harmless), None);
    }
}
