//! The keywords of a schema, and what each of them makes of values.

/// Which values are checked against a part of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartOf {
    /// The value itself.
    Same,
    /// The same, as one of several choices: why none fits is gathered before it is told.
    Choice,
    Property(Box<str>),
    EachProperty,
    EachName,
    Item(usize),
    EachItem,
}

/// What is done with a keyword of draft 2020-12.
pub(super) enum Meaning {
    /// It looks at the value alone.
    Assertion,
    One(PartOf),
    List(fn(usize) -> PartOf),
    ByName(fn(&str) -> PartOf),
    /// Schemas that do nothing unless something refers to them.
    Kept,
    Reference,
    /// It would be acted on, and its steps cannot be counted.
    Refused,
    /// It changes nothing in a check.
    Note,
}

pub(super) fn meaning_of(keyword: &str) -> Meaning {
    match keyword {
        "type" | "const" | "enum" | "multipleOf" | "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum"
        | "maxLength" | "minLength" | "pattern" | "maxItems" | "minItems" | "uniqueItems" | "maxContains"
        | "minContains" | "maxProperties" | "minProperties" | "required" | "dependentRequired" => Meaning::Assertion,
        "not" | "if" | "then" | "else" => Meaning::One(PartOf::Same),
        "allOf" => Meaning::List(|_| PartOf::Same),
        "anyOf" | "oneOf" => Meaning::List(|_| PartOf::Choice),
        // (`dependencies` is of older drafts, and acted on in all of them.)
        "dependentSchemas" | "dependencies" => Meaning::ByName(|_| PartOf::Same),
        "properties" => Meaning::ByName(|name| PartOf::Property(name.into())),
        "patternProperties" => Meaning::ByName(|_| PartOf::EachProperty),
        "additionalProperties" | "unevaluatedProperties" => Meaning::One(PartOf::EachProperty),
        "propertyNames" => Meaning::One(PartOf::EachName),
        "prefixItems" => Meaning::List(PartOf::Item),
        "items" | "contains" | "unevaluatedItems" => Meaning::One(PartOf::EachItem),
        "$defs" | "definitions" => Meaning::Kept,
        "$ref" => Meaning::Reference,
        "$dynamicRef" | "$recursiveRef" => Meaning::Refused,
        _ => Meaning::Note,
    }
}

/// Whether a keyword is asked once more to find out what is evaluated.
pub(super) fn marks(keyword: &str, of: &PartOf) -> bool {
    match of {
        PartOf::Same | PartOf::Choice => true,
        _ => matches!(keyword, "contains" | "unevaluatedItems" | "unevaluatedProperties"),
    }
}
