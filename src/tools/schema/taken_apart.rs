//! What it takes the validator to be made ready for `unevaluatedProperties` and `unevaluatedItems`. From each of them it takes apart, once
//! more, what may look at the same value, on every way through the references that there is: where each schema refers to the next one twice,
//! thirty lines make a thousand million ways.

use super::keywords::PartOf;
use super::outline::{Part, Subschema};
use super::steps::DEEPEST;

/// How much may be taken apart, in steps of a look at each schema: some tens of milliseconds.
const MOST: u64 = 20_000;

/// How much is taken apart.
///
/// # Errors
/// Too much.
pub(super) fn taken_apart(schemas: &[Subschema], is_referred_to: impl Fn(usize) -> bool) -> Result<u64, String> {
    let mut taking = TakingApart {
        schemas,
        sizes: vec![None; schemas.len()],
        is_elsewhere: (0..schemas.len()).map(is_referred_to).collect(),
        way: Vec::new(),
        taken: 0,
    };
    for (number, schema) in schemas.iter().enumerate() {
        if schema.finds_out_evaluated {
            taking.take_apart(number)?;
        }
    }
    Ok(taking.taken)
}

struct TakingApart<'outline> {
    schemas: &'outline [Subschema],
    sizes: Vec<Option<u64>>,
    /// Whether a schema is referred to, and so stands apart from that which it is part of.
    is_elsewhere: Vec<bool>,
    way: Vec<usize>,
    taken: u64,
}

impl TakingApart<'_> {
    fn take_apart(&mut self, number: usize) -> Result<(), String> {
        self.taken += self.size(number);
        if self.taken > MOST || self.way.len() == DEEPEST {
            return Err("unevaluatedProperties and unevaluatedItems have too much to look at here".to_owned());
        }
        if self.way.contains(&number) {
            return Ok(());
        }
        self.way.push(number);
        let schema = &self.schemas[number];
        let same = |part: &&Part| matches!(part.of, PartOf::Same | PartOf::Choice);
        let parts = schema.parts.iter().filter(same).map(|part| part.schema);
        for part in parts.chain(schema.reference) {
            self.take_apart(part)?;
        }
        self.way.pop();
        Ok(())
    }

    /// Of a schema with all that stands in it.
    fn size(&mut self, number: usize) -> u64 {
        if let Some(size) = self.sizes[number] {
            return size;
        }
        let schema = &self.schemas[number];
        let mut size = schema.own + schema.parts.len() as u64;
        for part in &schema.parts {
            if !self.is_elsewhere[part.schema] {
                size += self.size(part.schema);
            }
        }
        self.sizes[number] = Some(size);
        size
    }
}
