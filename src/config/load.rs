//! Lays the layers over one another: every value is judged alone, on top of the defaults, so that all mistakes are found at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::layers::{self, Override, Written, dotted};
use super::problem::{ConfigErrors, Origin, Problem, explain, is_no_word, words_of};
use super::resolve::{Contradiction, WrittenConfig, resolve};
use super::{Config, DEFAULT_TEXT, bounds};

/// The file that is read if it is there and none is named.
const USUAL_FILE: &str = "./config.toml";

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must be there.
    pub file: Option<PathBuf>,
    /// Environment variables, ours and others.
    pub environment: Vec<(OsString, OsString)>,
}

impl Sources {
    /// This process's environment and the file that was named, or `./config.toml` if there is one.
    pub fn of_this_process(named_file: Option<&Path>) -> Self {
        let usual_file = || Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists());
        Self {
            file: named_file.map(Path::to_owned).or_else(usual_file),
            environment: std::env::vars_os().collect(),
        }
    }
}

/// A value that is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveValue {
    /// The dotted key.
    pub key: String,
    /// The value as TOML.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
}

/// A configuration and where each of its values came from.
#[derive(Debug, Clone)]
pub struct LoadedConfig {
    /// What counts.
    pub config: Config,
    /// Every value, in the order of `config.toml`.
    pub values: Vec<EffectiveValue>,
}

impl LoadedConfig {
    /// Something is wrong with what this key says, or with what it names.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        let written = self.values.iter().find(|value| value.key == key).or_else(|| {
            let mut values = self.values.iter();
            values.find(|value| value.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
        });
        Problem {
            key: Some(key.to_owned()),
            origin: written.map_or(Origin::Default, |value| value.origin.clone()),
            message,
        }
    }
}

/// Reads and checks all layers.
///
/// # Errors
/// All mistakes of all layers at once.
pub fn load(sources: Sources) -> Result<LoadedConfig, ConfigErrors> {
    let mut layering = Layering::of_defaults();
    if let Some(path) = &sources.file {
        let overrides = layers::of_file(path, &mut layering.problems);
        layering.lay(overrides);
    }
    let before = layering.problems.len();
    let overrides = layers::of_environment(sources.environment, &layering.tree, &mut layering.problems);
    let unreadable = layering.problems[before..].iter();
    layering
        .refused
        .extend(unreadable.filter_map(|problem| problem.key.clone()));
    layering.lay(overrides);
    layering.finish()
}

struct Layering {
    defaults: Table,
    /// All layers so far, without the values that are wrong.
    tree: Table,
    /// Values in the order they were first written. Keys are paths.
    order: Vec<Vec<String>>,
    origins: BTreeMap<Vec<String>, Origin>,
    problems: Vec<Problem>,
    /// Dotted keys of values that are not in the tree because they are wrong; of a part of a list with its number, as in `targets.2.weight`.
    refused: BTreeSet<String>,
}

impl Layering {
    fn of_defaults() -> Self {
        let mut problems = Vec::new();
        let overrides = layers::of_toml(DEFAULT_TEXT, |_| Origin::Default, &mut problems);
        let mut layering = Self {
            defaults: Table::new(),
            tree: Table::new(),
            order: Vec::new(),
            origins: BTreeMap::new(),
            problems,
            refused: BTreeSet::new(),
        };
        for default in overrides {
            if let Written::Typed(value) = default.value
                && set(&mut layering.tree, &default.path, value).is_ok()
            {
                layering.remember(default.path, default.origin);
            }
        }
        layering.defaults = layering.tree.clone();
        layering
    }

    fn remember(&mut self, path: Vec<String>, origin: Origin) {
        if !self.order.contains(&path) {
            self.order.push(path.clone());
        }
        self.origins.insert(path, origin);
    }

    fn lay(&mut self, overrides: Vec<Override>) {
        for single in overrides {
            let (value, wrong) = match self.judge(&single) {
                Ok(value) => (Some(value), Vec::new()),
                Err(message) => self.judge_parts(&single).unwrap_or_else(|| (None, vec![message])),
            };
            if value.is_none() {
                self.refused.insert(dotted(&single.path));
            }
            self.problems.extend(wrong.into_iter().map(|message| Problem {
                key: Some(dotted(&single.path)),
                origin: single.origin.clone(),
                message,
            }));
            // It was set on the defaults, so it can be set on what is laid over them.
            if let Some(value) = value
                && set(&mut self.tree, &single.path, value).is_ok()
            {
                self.remember(single.path, single.origin);
            }
        }
    }

    /// The value with its key's type, if it is right by itself.
    fn judge(&self, single: &Override) -> Result<Value, String> {
        let mut first_problem = None;
        for candidate in self.readings(single) {
            match self.has_its_keys_type(&single.path, &candidate) {
                Ok(()) => return bounds::violation(&single.path, &candidate).map_or(Ok(candidate), Err),
                Err(problem) => first_problem = first_problem.or(Some(problem)),
            }
        }
        Err(first_problem.unwrap_or_else(|| "cannot be read".to_owned()))
    }

    /// Of a wrong list of tables (a model's targets): what is right of it, and what is wrong with each of its tables. `None` if the value is
    /// something else, or no single part of it is wrong.
    fn judge_parts(&mut self, single: &Override) -> Option<(Option<Value>, Vec<String>)> {
        let found = self.readings(single).into_iter().next()?;
        let mut tables: Vec<Table> = found.try_into().ok()?;
        let mut wrong = Vec::new();
        for (index, table) in tables.iter_mut().enumerate() {
            for (key, value) in std::mem::take(table) {
                let alone = Value::Array(vec![Value::Table(Table::from_iter([(key.clone(), value.clone())]))]);
                match self.has_its_keys_type(&single.path, &alone) {
                    Ok(()) => {
                        table.insert(key, value);
                    }
                    Err(problem) => {
                        let number = index + 1;
                        wrong.push(format!("target {number}: {key}: {problem}"));
                        self.refused.insert(format!("{}.{number}.{key}", dotted(&single.path)));
                    }
                }
            }
        }
        let right = Value::Array(tables.into_iter().map(Value::Table).collect());
        let is_right = !wrong.is_empty() && self.has_its_keys_type(&single.path, &right).is_ok();
        is_right.then_some((Some(right), wrong))
    }

    /// What the value may be meant as, the likeliest first.
    fn readings(&self, single: &Override) -> Vec<Value> {
        let text = match &single.value {
            Written::Typed(value) => return vec![value.clone()],
            Written::Text(text) => text,
        };
        let as_text = Value::String(text.clone());
        let as_list = || {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Value::Array(words.map(|word| Value::String(word.to_owned())).collect())
        };
        let as_toml = toml::de::ValueDeserializer::parse(text)
            .ok()
            .and_then(|value| serde::Deserialize::deserialize(value).ok());
        match (get(&self.tree, &single.path), as_toml) {
            (Some(Value::String(_)), _) => vec![as_text],
            (Some(Value::Array(_)), Some(list @ Value::Array(_))) => vec![list],
            (Some(Value::Array(_)), _) => vec![as_list()],
            (_, Some(value)) => vec![value, as_text],
            (_, None) => vec![as_text],
        }
    }

    fn has_its_keys_type(&self, path: &[String], value: &Value) -> Result<(), String> {
        if get(&self.defaults, path).is_some_and(Value::is_table) && !value.is_table() {
            return Err("must be a table".to_owned());
        }
        let Err(message) = self.read_with(path, value)? else {
            return Ok(());
        };
        if is_no_word(&message)
            // What it says of a word that is none names those there are.
            && let Err(of_a_word) = self.read_with(path, &Value::String(String::new()))?
            && let Some(words) = words_of(&of_a_word)
        {
            return Err(format!("must be {words}, not {value}"));
        }
        Err(explain(&message))
    }

    /// What serde says of the defaults with this value.
    fn read_with(&self, path: &[String], value: &Value) -> Result<Result<(), String>, String> {
        let mut tree = self.defaults.clone();
        set(&mut tree, path, value.clone())?;
        let outcome: Result<WrittenConfig, toml::de::Error> = tree.try_into();
        Ok(outcome.map(drop).map_err(|error| error.message().to_owned()))
    }

    fn finish(mut self) -> Result<LoadedConfig, ConfigErrors> {
        let resolved = match self.tree.clone().try_into() {
            Ok(written) => resolve(written),
            Err(error) => Err(vec![Contradiction {
                keys: Vec::new(),
                message: explain(error.message()),
            }]),
        };
        match resolved {
            Ok(config) if self.problems.is_empty() => Ok(LoadedConfig {
                config,
                values: self.values(),
            }),
            Ok(_) => Err(ConfigErrors(self.problems)),
            Err(contradictions) => {
                for contradiction in contradictions {
                    // What is missing because it was refused has been said.
                    let has_been_said = self.is_refused(&contradiction);
                    let problem = self.locate(contradiction);
                    if !has_been_said {
                        self.problems.push(problem);
                    }
                }
                Err(ConfigErrors(self.problems))
            }
        }
    }

    /// Whether it is about a value that was refused.
    fn is_refused(&self, contradiction: &Contradiction) -> bool {
        contradiction.keys.iter().any(|key| self.refused.contains(key))
    }

    /// Blames the first of the keys that was not left at its default.
    fn locate(&self, contradiction: Contradiction) -> Problem {
        let located = contradiction.keys.iter().map(|key| (key, self.origin_near(key)));
        let changed = located.clone().find(|(_, origin)| *origin != Origin::Default);
        let blamed = changed.or_else(|| located.clone().next());
        Problem {
            key: blamed.as_ref().map(|(key, _)| (*key).clone()),
            origin: blamed.map_or(Origin::Default, |(_, origin)| origin),
            message: contradiction.message,
        }
    }

    /// Where this key was written; for one that is missing, where the rest of its table was.
    fn origin_near(&self, key: &str) -> Origin {
        let written = |wanted: &dyn Fn(&str) -> bool| {
            let mut paths = self.order.iter();
            let path = paths.find(|path| wanted(&dotted(path)))?;
            self.origins.get(path).cloned()
        };
        let parent = key.rsplit_once('.').map_or(key, |(parent, _)| parent);
        written(&|other| other == key)
            .or_else(|| written(&|other| other == parent))
            .or_else(|| written(&|other| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))))
            .or_else(|| written(&|other| other.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))))
            .unwrap_or(Origin::Default)
    }

    fn values(&self) -> Vec<EffectiveValue> {
        let section_order: Vec<&String> = self.defaults_sections();
        let mut paths: Vec<&Vec<String>> = self.order.iter().collect();
        // A stable sort: within its section each key stays where it was first written.
        paths.sort_by_key(|path| section_order.iter().position(|section| **section == path[0]));
        let effective = |path: &Vec<String>| {
            Some(EffectiveValue {
                key: dotted(path),
                value: get(&self.tree, path).filter(|value| !value.is_table())?.clone(),
                origin: self.origins.get(path)?.clone(),
            })
        };
        paths.into_iter().filter_map(effective).collect()
    }

    fn defaults_sections(&self) -> Vec<&String> {
        let mut sections: Vec<&String> = Vec::new();
        for path in &self.order {
            if !sections.contains(&&path[0]) {
                sections.push(&path[0]);
            }
        }
        sections
    }
}

fn get<'tree>(tree: &'tree Table, path: &[String]) -> Option<&'tree Value> {
    let (last, tables) = path.split_last()?;
    let mut level = tree;
    for part in tables {
        level = level.get(part)?.as_table()?;
    }
    level.get(last)
}

/// Sets one value and makes the tables on the way to it.
fn set(tree: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let Some((last, tables)) = path.split_last() else {
        return Ok(());
    };
    let mut level = tree;
    for (depth, part) in tables.iter().enumerate() {
        let entry = level.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
        level = entry
            .as_table_mut()
            .ok_or_else(|| format!("{} is a single value; there are no keys in it", dotted(&path[..=depth])))?;
    }
    match level.get(last) {
        // An empty table says nothing about the one that is there.
        Some(Value::Table(_)) if value.as_table().is_some_and(Table::is_empty) => {}
        _ => {
            level.insert(last.clone(), value);
        }
    }
    Ok(())
}
