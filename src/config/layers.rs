//! Where values come from: a file and the environment, each as a list of single values with their origin.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

use super::problem::{Origin, Problem};

/// Every variable that starts so is a key of ours, or a mistake.
const PREFIX: &str = "CALLBOARD__";
const SEPARATOR: &str = "__";

/// Names that the system before this one had; operators know them. A variable with [`PREFIX`] wins over them.
const WELL_KNOWN: [(&str, [&str; 2]); 2] = [
    ("MAX_CONCURRENT_AGENT_RUNS", ["capacity", "max_concurrent_runs"]),
    ("DATABASE_MAX_CONNECTIONS", ["store", "max_connections"]),
];

/// One value that a layer sets.
#[derive(Debug, Clone)]
pub(super) struct Override {
    /// From the top: section, key.
    pub(super) path: Vec<String>,
    pub(super) value: Written,
    pub(super) origin: Origin,
}

/// A value as it was written.
#[derive(Debug, Clone)]
pub(super) enum Written {
    /// It has a type.
    Typed(Value),
    /// It is text whose type is the key's.
    Text(String),
}

/// A path as one dotted key, quoted where TOML needs it.
pub(super) fn dotted(path: &[String]) -> String {
    let is_bare = |part: &String| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !part.is_empty() && part.bytes().all(allowed)
    };
    let parts: Vec<String> = path
        .iter()
        .map(|part| {
            if is_bare(part) {
                part.clone()
            } else {
                format!("{part:?}")
            }
        })
        .collect();
    parts.join(".")
}

/// The single values of a TOML text, in the order they are written. Syntax errors are collected; what could be read is kept.
pub(super) fn of_toml(text: &str, origin_at: impl Fn(usize) -> Origin, problems: &mut Vec<Problem>) -> Vec<Override> {
    let line_at = |offset: usize| {
        1 + text
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|byte| **byte == b'\n')
            .count()
    };
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    for error in syntax_errors {
        problems.push(Problem {
            key: None,
            origin: origin_at(error.span().map_or(1, |span| line_at(span.start))),
            message: format!("this is not TOML: {}", error.message()),
        });
    }
    let mut leaves = Vec::new();
    collect_leaves(table.into_inner(), &mut Vec::new(), &mut leaves);
    leaves.sort_by_key(|leaf| leaf.offset);
    let to_override = |leaf: Leaf| Override {
        origin: origin_at(line_at(leaf.offset)),
        path: leaf.path,
        value: Written::Typed(leaf.value),
    };
    leaves.into_iter().map(to_override).collect()
}

struct Leaf {
    path: Vec<String>,
    offset: usize,
    value: Value,
}

fn collect_leaves(table: DeTable<'_>, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    for (key, value) in table {
        let offset = key.span().start;
        path.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) if !inner.is_empty() => collect_leaves(inner, path, leaves),
            leaf => {
                let spanned = Spanned::new(offset..offset, leaf);
                // Only a number beyond 64 bits cannot be held; as text it will be refused as what it is.
                let value = Value::deserialize(ValueDeserializer::from(spanned))
                    .unwrap_or_else(|error| Value::String(error.message().to_owned()));
                leaves.push(Leaf {
                    path: path.clone(),
                    offset,
                    value,
                });
            }
        }
        path.pop();
    }
}

/// The single values of a file.
pub(super) fn of_file(path: &Path, problems: &mut Vec<Problem>) -> Vec<Override> {
    let origin_at = |line| Origin::File {
        path: path.to_owned(),
        line,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => of_toml(&text, |line| origin_at(Some(line)), problems),
        Err(error) => {
            problems.push(Problem {
                key: None,
                origin: origin_at(None),
                message: format!("cannot be read: {error}"),
            });
            Vec::new()
        }
    }
}

/// The values that environment variables set, least important first. `known` is the tree so far: it tells which spelling of a
/// name is meant, as variables cannot have every character (`GPT_4_1` is `gpt-4.1` if there is one).
pub(super) fn of_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    known: &Table,
    problems: &mut Vec<Problem>,
) -> Vec<Override> {
    let mut well_known = Vec::new();
    let mut prefixed = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else {
            continue;
        };
        let alias = WELL_KNOWN.iter().find(|(variable, _)| *variable == name);
        let path: Vec<String> = match (alias, name.strip_prefix(PREFIX)) {
            (Some((_, path)), _) => path.iter().map(|part| (*part).to_owned()).collect(),
            (None, Some(rest)) => spelled_as_known(rest, known),
            (None, None) => continue,
        };
        let origin = Origin::Environment {
            variable: name.to_owned(),
        };
        let Some(text) = value.to_str() else {
            problems.push(Problem {
                key: Some(dotted(&path)),
                origin,
                message: "its value is not UTF-8".to_owned(),
            });
            continue;
        };
        if text.is_empty() {
            continue;
        }
        let list = if alias.is_some() {
            &mut well_known
        } else {
            &mut prefixed
        };
        list.push(Override {
            path,
            value: Written::Text(text.to_owned()),
            origin,
        });
    }
    // The order of the environment is not ours to rely on.
    prefixed.sort_by(|one: &Override, other: &Override| one.origin.cmp(&other.origin));
    well_known.into_iter().chain(prefixed).collect()
}

fn spelled_as_known(name: &str, known: &Table) -> Vec<String> {
    let as_variable = |key: &str| key.to_ascii_lowercase().replace(['-', '.'], "_");
    let mut level = Some(known);
    let mut path = Vec::new();
    for part in name.split(SEPARATOR) {
        let part = part.to_ascii_lowercase();
        let spelled = level.and_then(|table| {
            let exact = table.keys().find(|key| **key == part);
            exact.or_else(|| table.keys().find(|key| as_variable(key) == as_variable(&part)))
        });
        let spelled = spelled.cloned().unwrap_or(part);
        level = level.and_then(|table| table.get(&spelled)).and_then(Value::as_table);
        path.push(spelled);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_quotes_have_them() {
        let path = ["models", "gpt-4.1", "base_url"].map(str::to_owned);
        assert_eq!(dotted(&path), "models.\"gpt-4.1\".base_url");
    }

    #[test]
    fn a_variable_finds_the_name_it_cannot_spell() {
        let known: Table = "[models.'gpt-4.1']\nprovider = 'openai'".parse().expect("TOML");
        let path = spelled_as_known("MODELS__GPT_4_1__BASE_URL", &known);
        assert_eq!(dotted(&path), "models.\"gpt-4.1\".base_url");
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let mut problems = Vec::new();
        let origin_at = |line| Origin::File {
            path: "x.toml".into(),
            line: Some(line),
        };
        let text = "[server]\nbind = \nworkers = 3\nworkers = 4\n";
        let leaves = of_toml(text, origin_at, &mut problems);
        let origins: Vec<String> = problems.iter().map(|problem| problem.origin.to_string()).collect();
        assert_eq!(origins, ["x.toml:2", "x.toml:4"]);
        assert!(leaves.iter().any(|leaf| dotted(&leaf.path) == "server.workers"));
    }
}
