//! What a check does at each place of a schema, worked out once: so that the steps of a check can be counted at little cost, and so that
//! the validator is given nothing but what is counted.
//!
//! The validator acts on keywords of old drafts too, and a reference may lead to a place where no schema is looked for. A list of what is
//! dangerous would be wrong with its next release. So it never sees a schema as somebody wrote it: it gets a copy
//! that is made of [keywords](super::keywords) whose meaning is known, and of places that were visited.

use std::collections::{BTreeMap, HashMap};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::keywords::{Meaning, PartOf, marks, meaning_of};
use super::patterns;
use super::steps::values_in;
use super::taken_apart::taken_apart;

/// Names that are looked up in an object, or compared, in the time of a step.
const NAMES_OF_A_STEP: u64 = 4;

/// Patterns that a schema may have.
const MOST_PATTERNS: usize = 32;

/// The schemas within a schema, by number; the whole is the first.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) schemas: Vec<Subschema>,
    /// Regular expressions in it.
    pub(super) patterns: usize,
    /// What is taken apart once more to find out what is evaluated.
    pub(super) taken_apart: u64,
}

/// A schema within a schema.
#[derive(Debug, Default)]
pub(super) struct Subschema {
    /// Steps of each look at a value, whatever it is.
    pub(super) own: u64,
    /// Steps for each piece of a text that patterns look through.
    pub(super) of_text: u64,
    /// The same for each name of a property.
    pub(super) of_names: u64,
    pub(super) counts_characters: bool,
    pub(super) wants_unique_items: bool,
    /// Numbers are divided by one that is not whole.
    pub(super) divides: bool,
    /// It has to know which properties or items others have looked at.
    pub(super) finds_out_evaluated: bool,
    pub(super) reference: Option<usize>,
    pub(super) parts: Vec<Part>,
}

/// A schema that values are checked against as part of another one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) of: PartOf,
    pub(super) schema: usize,
    /// Whether it is asked once more when somebody has to know what is evaluated.
    pub(super) marks: bool,
}

/// Where a schema stands in the text that it is of.
type Place = *const Value;

struct Visit<'schema> {
    root: &'schema Value,
    schemas: Vec<Subschema>,
    numbers: HashMap<Place, usize>,
    /// Seen, and not yet looked at.
    waiting: Vec<(usize, &'schema Value)>,
    referred_to: BTreeMap<usize, &'schema Value>,
    prices: HashMap<&'schema str, u64>,
    patterns: usize,
}

impl Outline {
    /// Of a schema that its meta-schema has passed; and that schema as the validator is to have it.
    ///
    /// # Errors
    /// Why the steps of checks against it cannot be counted: its references must be pointers to schemas within it.
    pub(super) fn of(schema: &Value) -> Result<(Self, Value), String> {
        let mut visit = Visit {
            root: schema,
            schemas: Vec::new(),
            numbers: HashMap::new(),
            waiting: Vec::new(),
            referred_to: BTreeMap::new(),
            prices: HashMap::new(),
            patterns: 0,
        };
        visit.number_of(schema);
        while let Some((number, schema)) = visit.waiting.pop() {
            visit.schemas[number] = visit.outlined(number, schema)?;
        }
        let for_validator = visit.for_validator();
        let is_referred_to = |number| visit.referred_to.contains_key(&number);
        let taken_apart = taken_apart(&visit.schemas, is_referred_to)?;
        let outline = Self {
            schemas: visit.schemas,
            patterns: visit.patterns,
            taken_apart,
        };
        Ok((outline, for_validator))
    }
}

impl<'schema> Visit<'schema> {
    fn number_of(&mut self, schema: &'schema Value) -> usize {
        let next = self.schemas.len();
        let number = *self.numbers.entry(std::ptr::from_ref(schema)).or_insert(next);
        if number == next {
            self.schemas.push(Subschema::default());
            self.waiting.push((number, schema));
        }
        number
    }

    fn outlined(&mut self, number: usize, schema: &'schema Value) -> Result<Subschema, String> {
        let mut outlined = Subschema {
            own: 1,
            ..Subschema::default()
        };
        let fields = match schema {
            Value::Object(fields) => fields,
            Value::Bool(_) => return Ok(outlined),
            _ => return Err("where a schema is to be, there must be an object, true or false".to_owned()),
        };
        if number != 0 && fields.contains_key("$id") {
            return Err("$id is taken at the top only".to_owned());
        }
        let mut names = 0;
        for (keyword, value) in fields {
            match meaning_of(keyword) {
                Meaning::Note => {}
                Meaning::Refused => return Err(format!("{keyword} is not taken here")),
                Meaning::Reference => outlined.reference = Some(self.target(value)?),
                Meaning::Kept => {
                    for kept in value.as_object().into_iter().flat_map(Map::values) {
                        self.number_of(kept);
                    }
                }
                Meaning::Assertion => {
                    outlined.own += 1;
                    self.assertion(keyword, value, &mut outlined)?;
                }
                Meaning::One(of) => {
                    outlined.own += 1;
                    let schema = self.number_of(value);
                    outlined.add(keyword, of, schema);
                }
                Meaning::List(of) => {
                    outlined.own += 1;
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        let schema = self.number_of(value);
                        outlined.add(keyword, of(index), schema);
                    }
                }
                Meaning::ByName(of) => {
                    outlined.own += 1;
                    for (name, value) in value.as_object().into_iter().flatten() {
                        names += 1;
                        if keyword == "patternProperties" {
                            // (Where more properties are spoken of, the pattern is asked again.)
                            outlined.of_names += 2 * self.price_of(name)?;
                        }
                        match value.as_array() {
                            Some(required) => names += required.len() as u64,
                            None => {
                                let schema = self.number_of(value);
                                outlined.add(keyword, of(name), schema);
                            }
                        }
                    }
                }
            }
            outlined.finds_out_evaluated |= keyword.starts_with("unevaluated");
        }
        outlined.own += names.div_ceil(NAMES_OF_A_STEP);
        Ok(outlined)
    }

    fn assertion(&mut self, keyword: &str, value: &'schema Value, to: &mut Subschema) -> Result<(), String> {
        match (keyword, value) {
            ("enum" | "const", _) => to.own += values_in(value),
            ("required" | "dependentRequired", _) => to.own += values_in(value).div_ceil(NAMES_OF_A_STEP),
            ("minLength" | "maxLength", _) => to.counts_characters = true,
            ("uniqueItems", Value::Bool(true)) => to.wants_unique_items = true,
            ("multipleOf", Value::Number(number)) => {
                to.divides = number.as_f64().is_none_or(|number| number.fract() != 0.0);
            }
            ("pattern", Value::String(pattern)) => to.of_text += self.price_of(pattern)?,
            _ => {}
        }
        Ok(())
    }

    fn price_of(&mut self, pattern: &'schema str) -> Result<u64, String> {
        self.patterns += 1;
        if self.patterns > MOST_PATTERNS {
            return Err(format!("a schema may have at most {MOST_PATTERNS} patterns"));
        }
        let price = self.prices.entry(pattern);
        Ok(*price.or_insert_with(|| patterns::steps_of(pattern)))
    }

    fn target(&mut self, reference: &Value) -> Result<usize, String> {
        let within = || "$ref must be a pointer within the schema, such as \"#/$defs/item\"".to_owned();
        let pointer = reference.as_str().and_then(|reference| reference.strip_prefix('#'));
        let pointer = percent_decode_str(pointer.ok_or_else(within)?).decode_utf8();
        let pointer = pointer.map_err(|_| within())?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(within());
        }
        let target = self.root.pointer(&pointer);
        let target = target.ok_or_else(|| "$ref leads to nothing in the schema".to_owned())?;
        let number = self.number_of(target);
        self.referred_to.insert(number, target);
        Ok(number)
    }

    /// The same schema, of that alone which was visited. What references lead to stands in `$defs`, under its number, and nowhere else.
    fn for_validator(&self) -> Value {
        let mut whole = self.copied(self.root);
        let kept = self.referred_to.iter().filter(|(number, _)| **number != 0);
        let kept: Map<String, Value> = kept
            .map(|(number, schema)| (number.to_string(), self.copied(schema)))
            .collect();
        if let (Some(fields), false) = (whole.as_object_mut(), kept.is_empty()) {
            fields.insert("$defs".to_owned(), Value::Object(kept));
        }
        whole
    }

    fn copied(&self, schema: &Value) -> Value {
        let Some(fields) = schema.as_object() else {
            return schema.clone();
        };
        let copied = fields.iter().filter_map(|(keyword, value)| {
            let copied = match (meaning_of(keyword), value) {
                (Meaning::Note | Meaning::Refused | Meaning::Kept, _) => return None,
                (Meaning::Assertion, _) => value.clone(),
                (Meaning::Reference, _) => reference_to(self.reference_of(schema)?),
                (Meaning::List(_), Value::Array(list)) => list.iter().map(|part| self.part(part)).collect(),
                (Meaning::ByName(_), Value::Object(by_name)) => {
                    let parts = by_name.iter().map(|(name, part)| (name.clone(), self.part(part)));
                    Value::Object(parts.collect())
                }
                _ => self.part(value),
            };
            Some((keyword.clone(), copied))
        });
        Value::Object(copied.collect())
    }

    fn reference_of(&self, schema: &Value) -> Option<usize> {
        let number = self.numbers.get(&std::ptr::from_ref(schema))?;
        self.schemas[*number].reference
    }

    fn part(&self, part: &Value) -> Value {
        match self.numbers.get(&std::ptr::from_ref(part)) {
            Some(number) if self.referred_to.contains_key(number) => json!({"$ref": reference_to(*number)}),
            Some(_) => self.copied(part),
            // A list of names.
            None => part.clone(),
        }
    }
}

fn reference_to(number: usize) -> Value {
    match number {
        0 => "#".into(),
        _ => format!("#/$defs/{number}").into(),
    }
}

impl Subschema {
    fn add(&mut self, keyword: &str, of: PartOf, schema: usize) {
        let marks = marks(keyword, &of);
        self.parts.push(Part { of, schema, marks });
    }
}
