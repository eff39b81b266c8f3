//! How much work it is to check arguments against a schema. Schemas are somebody else's: with references that branch, one of a few lines
//! keeps a validator busy for years. So the steps are counted before it begins, on the same way through schema and arguments.

use serde_json::Value;

use super::keywords::PartOf;
use super::outline::{Outline, Subschema};

/// How deep schemas may be in each other, references followed. Further down the validator's own stack would be in danger.
pub(super) const DEEPEST: usize = 200;

/// Bytes of a text, or of a name, that count as a value.
pub(super) const BYTES_OF_A_VALUE: usize = 16;

/// Lists whose items are compared one with each other, to find out whether they are unique, have so many at most.
const FEW_ITEMS: usize = 15;

/// What it takes to divide a number by one that is not whole; from a thousand million million on its digits are gone through.
const STEPS_OF_A_DIVISION: u64 = 10;
const STEPS_OF_A_LONG_DIVISION: u64 = 300;
const LONG_NUMBER: f64 = 1e15;

/// The check takes more steps than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// How many steps a check takes: about 50 ns each, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) all: u64,
    /// The most that are for one value and the choices that it has (`anyOf`, `oneOf`).
    pub(super) for_a_choice: u64,
}

impl Outline {
    /// Counts the steps of a check, no further than `most`.
    ///
    /// # Errors
    /// There are more, or the schema goes too deep.
    pub(super) fn steps_within(&self, arguments: &Value, most: u64) -> Result<Steps, TooMuch> {
        let mut walk = Walk {
            schemas: &self.schemas,
            left: most,
            depth: 0,
            is_in_a_choice: false,
            for_a_choice: 0,
        };
        walk.check(0, arguments)?;
        Ok(Steps {
            all: most - walk.left,
            for_a_choice: walk.for_a_choice,
        })
    }
}

/// Values within a value, itself included. A long text counts as many.
pub(super) fn values_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values_in).sum::<u64>(),
        Value::Object(fields) => {
            let fields = fields.iter();
            1 + fields
                .map(|(name, value)| further_pieces(name) + values_in(value))
                .sum::<u64>()
        }
        Value::String(text) => 1 + further_pieces(text),
        _ => 1,
    }
}

fn further_pieces(text: &str) -> u64 {
    (text.len() / BYTES_OF_A_VALUE) as u64
}

struct Walk<'outline> {
    schemas: &'outline [Subschema],
    left: u64,
    depth: usize,
    is_in_a_choice: bool,
    for_a_choice: u64,
}

impl Walk<'_> {
    fn spend(&mut self, steps: u64) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(steps).ok_or(TooMuch)?;
        Ok(())
    }

    fn go_down(&mut self) -> Result<(), TooMuch> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(TooMuch) } else { Ok(()) }
    }

    /// A check of a value against a schema.
    fn check(&mut self, schema: usize, value: &Value) -> Result<(), TooMuch> {
        self.go_down()?;
        let schema = &self.schemas[schema];
        self.look(schema, value)?;
        if let Some(target) = schema.reference {
            self.check(target, value)?;
        }
        let (was_in_a_choice, mut for_choices) = (self.is_in_a_choice, 0);
        for part in &schema.parts {
            let before = self.left;
            self.is_in_a_choice |= part.of == PartOf::Choice;
            self.check_part(&part.of, part.schema, value)?;
            self.is_in_a_choice = was_in_a_choice;
            if part.of == PartOf::Choice {
                for_choices += before - self.left;
            }
        }
        if !was_in_a_choice {
            self.for_a_choice = self.for_a_choice.max(for_choices);
        }
        if schema.finds_out_evaluated {
            self.mark(schema, value)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Finds out which properties or items of a value a schema has looked at. The validator asks the parts once more for that, and each part
    /// for what it has looked at itself.
    fn mark(&mut self, schema: &Subschema, value: &Value) -> Result<(), TooMuch> {
        self.go_down()?;
        self.look(schema, value)?;
        if let Some(target) = schema.reference {
            self.mark(&self.schemas[target], value)?;
        }
        for part in schema.parts.iter().filter(|part| part.marks) {
            self.check_part(&part.of, part.schema, value)?;
            if matches!(part.of, PartOf::Same | PartOf::Choice) {
                self.mark(&self.schemas[part.schema], value)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn check_part(&mut self, of: &PartOf, schema: usize, value: &Value) -> Result<(), TooMuch> {
        match (of, value) {
            (PartOf::Same | PartOf::Choice, _) => self.check(schema, value)?,
            (PartOf::Property(name), Value::Object(fields)) => {
                if let Some(field) = fields.get(&**name) {
                    self.check(schema, field)?;
                }
            }
            (PartOf::EachProperty, Value::Object(fields)) => {
                for field in fields.values() {
                    self.check(schema, field)?;
                }
            }
            (PartOf::EachName, Value::Object(fields)) => {
                for name in fields.keys() {
                    // (For the copy, which the validator makes too.)
                    self.spend(further_pieces(name))?;
                    self.check(schema, &Value::String(name.clone()))?;
                }
            }
            (PartOf::Item(index), Value::Array(items)) => {
                if let Some(item) = items.get(*index) {
                    self.check(schema, item)?;
                }
            }
            (PartOf::EachItem, Value::Array(items)) => {
                for item in items {
                    self.check(schema, item)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The steps of the keywords of a schema itself.
    fn look(&mut self, schema: &Subschema, value: &Value) -> Result<(), TooMuch> {
        self.spend(schema.own)?;
        match value {
            Value::String(text) => {
                if schema.counts_characters {
                    self.spend(further_pieces(text).div_ceil(8))?;
                }
                self.spend(schema.of_text * (1 + further_pieces(text)))
            }
            Value::Number(number) if schema.divides => {
                let is_long = number.as_f64().is_none_or(|number| number.abs() >= LONG_NUMBER);
                self.spend(if is_long {
                    STEPS_OF_A_LONG_DIVISION
                } else {
                    STEPS_OF_A_DIVISION
                })
            }
            Value::Array(items) if schema.wants_unique_items => {
                let times = if items.len() <= FEW_ITEMS { items.len() } else { 2 };
                self.spend_on_values(value, times as u64)
            }
            Value::Object(fields) if schema.of_names > 0 => {
                for name in fields.keys() {
                    self.spend(schema.of_names * (1 + further_pieces(name)))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// So many steps for each value within a value. (It is left as soon as there are too many.)
    fn spend_on_values(&mut self, value: &Value, steps: u64) -> Result<(), TooMuch> {
        self.spend(steps)?;
        match value {
            Value::Array(items) => {
                for item in items {
                    self.spend_on_values(item, steps)?;
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.spend(steps * further_pieces(name))?;
                    self.spend_on_values(field, steps)?;
                }
            }
            Value::String(text) => self.spend(steps * further_pieces(text))?,
            _ => {}
        }
        Ok(())
    }
}
