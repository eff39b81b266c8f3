//! JSON Schema (2020-12) of tools' arguments. The only place that knows the validator.
//!
//! Schemas and arguments are somebody else's. So a schema is given to the validator as its [outline](outline) has it, with no keyword whose
//! work is not counted; the [steps](steps) of a check are counted before it begins; and what is [wrong](mistakes) is told without a list of
//! all that is.

mod keywords;
mod mistakes;
mod outline;
mod patterns;
mod steps;
mod taken_apart;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::ports::toolbox::{ArgumentCheck, parse_arguments};
use jsonschema::Validator;
use serde_json::Value;

use self::mistakes::{Telling, shortened, told};
use self::outline::Outline;
use self::steps::values_in;
use crate::blocking::BlockingPool;

/// What a schema takes in memory for each byte of its text, patterns aside; a generous guess.
const MEMORY_OF_A_BYTE: usize = 30;

/// The same for each step of what is taken apart once more.
const MEMORY_OF_A_STEP: u64 = 300;

/// Bytes of arguments that are read where they are asked for.
const SHORT_TEXT: usize = 4 * 1024;

/// Steps of a check that is made there too: some tens of microseconds.
const FEW_STEPS: u64 = 1_000;

/// Steps that a check may take, and for each value in the arguments more: some tens of milliseconds, and a second for some megabytes.
const MOST_STEPS: u64 = 500_000;
const MOST_STEPS_OF_A_VALUE: u64 = 16;

/// A schema, ready to check arguments.
pub struct CompiledSchema {
    outline: Outline,
    validator: Validator,
}

impl CompiledSchema {
    /// Takes a while.
    ///
    /// # Errors
    /// Why it is none, or none that is taken here: arguments are an object, nothing outside of it may be referred to, patterns must be those of the `regex` crate, which
    /// take time in proportion to the text, and of a bounded size, and the work of a check must be countable.
    pub fn of(schema: &Value) -> Result<Arc<Self>, String> {
        if !schema.is_object() {
            return Err("a schema is an object".into());
        }
        jsonschema::draft202012::meta::validate(schema).map_err(|error| shortened(&error))?;
        if !may_be_an_object(schema) {
            return Err(format!(
                "arguments are an object, and of `type` {} none is",
                schema["type"]
            ));
        }
        let (outline, for_validator) = Outline::of(schema)?;
        let validator = patterns::options(patterns::LARGEST).build(&for_validator);
        let validator = validator.map_err(|error| shortened(&error))?;
        Ok(Arc::new(Self { outline, validator }))
    }

    /// The check against it, which uses `pool` where it takes more than a moment.
    pub fn check_on(self: &Arc<Self>, pool: &BlockingPool) -> Arc<dyn ArgumentCheck> {
        Arc::new(SchemaCheck {
            schema: self.clone(),
            pool: pool.clone(),
        })
    }

    /// Bytes of memory that it takes at most, roughly; `text` is its length as it is written.
    pub(super) fn memory(&self, text: usize) -> usize {
        let taken_apart = usize::try_from(self.outline.taken_apart * MEMORY_OF_A_STEP).unwrap_or(usize::MAX);
        text * MEMORY_OF_A_BYTE + self.outline.patterns * 2 * patterns::LARGEST + taken_apart
    }

    /// Whether it takes a moment only to see that these arguments fit, and they do.
    fn fits_at_once(&self, arguments: &Value) -> bool {
        self.outline.steps_within(arguments, FEW_STEPS).is_ok() && self.validator.is_valid(arguments)
    }

    fn check(&self, arguments: &Value) -> Result<(), String> {
        let most = MOST_STEPS + MOST_STEPS_OF_A_VALUE * values_in(arguments);
        let Ok(steps) = self.outline.steps_within(arguments, most) else {
            return Err("it takes too long to check these arguments against the tool's schema".to_owned());
        };
        // (To say what is wrong takes longer than to see that nothing is.)
        if self.validator.is_valid(arguments) {
            return Ok(());
        }
        Err(told(&self.validator, arguments, Telling::of(steps)))
    }
}

/// Whether the schema's own `type` lets an object through; what references and choices say is left to the checks.
fn may_be_an_object(schema: &Value) -> bool {
    match schema.get("type") {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|one| one == "object"),
        Some(only) => only == "object",
    }
}

struct SchemaCheck {
    schema: Arc<CompiledSchema>,
    pool: BlockingPool,
}

#[async_trait]
impl ArgumentCheck for SchemaCheck {
    async fn read(&self, written: String) -> Result<Value, String> {
        let schema = self.schema.clone();
        let read = if written.len() > SHORT_TEXT {
            let reading = self.pool.run(move || {
                let arguments = parse_arguments(&written)?;
                schema.check(&arguments)?;
                Ok(arguments)
            });
            reading.await
        } else {
            let arguments = parse_arguments(&written)?;
            if schema.fits_at_once(&arguments) {
                return Ok(arguments);
            }
            let checking = self.pool.run(move || schema.check(&arguments).map(|()| arguments));
            checking.await
        };
        read.unwrap_or_else(|_| Err("the arguments could not be checked".to_owned()))
    }
}
