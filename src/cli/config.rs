//! `callboard config check|print`.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::CliError;
use crate::app::outside_problems;
use crate::config::{ConfigErrors, EffectiveValue, LoadedConfig, Origin};

/// Room for a value before it is told where it came from: with the keys, no more than 80 columns. Longer ones take what they need.
const VALUE_WIDTH: usize = 24;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say "ok", or list all mistakes and exit with 2
    Check {
        /// Do not look whether the keys, secrets and addresses are there that it names variables and files for
        #[arg(long)]
        no_keys: bool,
    },
    /// Show every value in force and where it came from
    Print(PrintArguments),
}

#[derive(Debug, Args)]
pub(super) struct PrintArguments {
    /// As JSON
    #[arg(long, conflicts_with = "default")]
    json: bool,
    /// Show the built-in file with its comments instead
    #[arg(long)]
    pub(super) default: bool,
    /// Only what differs from the built-in file's place: values that a file or the environment set
    #[arg(long, conflicts_with = "default")]
    changed: bool,
}

pub(super) fn run(command: &ConfigCommand, loaded: &LoadedConfig, output: &mut impl Write) -> Result<(), CliError> {
    match command {
        ConfigCommand::Check { no_keys } => {
            check(loaded, *no_keys)?;
            writeln!(output, "ok")?;
        }
        ConfigCommand::Print(arguments) => print(arguments, loaded, output)?,
    }
    Ok(())
}

/// What can only be looked at when every value is right by itself: whether a server could start, as far as that can be said without one.
///
/// # Errors
/// All that is wrong.
pub(super) fn check(loaded: &LoadedConfig, no_keys: bool) -> Result<(), ConfigErrors> {
    let mut problems = loaded.tool_limit_problems();
    if !no_keys {
        let outside = outside_problems(&loaded.config).into_iter();
        problems.extend(outside.map(|problem| loaded.problem(&problem.key, problem.message)));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ConfigErrors(problems))
    }
}

fn print(arguments: &PrintArguments, loaded: &LoadedConfig, output: &mut impl Write) -> io::Result<()> {
    let is_wanted = |value: &&EffectiveValue| !arguments.changed || value.origin != Origin::Default;
    let values: Vec<&EffectiveValue> = loaded.values.iter().filter(is_wanted).collect();
    if arguments.json {
        return writeln!(output, "{:#}", as_json(&values));
    }
    let key_width = values.iter().map(|value| value.key.chars().count()).max().unwrap_or(0);
    for value in values {
        let mut lines = lines_of(&value.value);
        let last = lines.pop().unwrap_or_default();
        let mut key = value.key.as_str();
        for line in lines {
            writeln!(output, "{key:key_width$}  {line}")?;
            key = "";
        }
        writeln!(output, "{key:key_width$}  {last:VALUE_WIDTH$}  {}", value.origin)?;
    }
    Ok(())
}

/// A value as TOML, on one line; a list of tables has a line for each of them.
fn lines_of(value: &toml::Value) -> Vec<String> {
    let tables = value.as_array().filter(|list| list.iter().any(toml::Value::is_table));
    let Some(tables) = tables else {
        return vec![value.to_string()];
    };
    let mut lines: Vec<String> = tables.iter().map(|table| format!(" {table},")).collect();
    if let Some(first) = lines.first_mut() {
        first.replace_range(..1, "[");
    }
    if let Some(last) = lines.last_mut() {
        last.pop();
        last.push(']');
    }
    lines
}

/// `{"server.bind": {"value": …, "from": "file", "file": …, "line": …}, …}`
fn as_json(values: &[&EffectiveValue]) -> Value {
    let entry = |value: &&EffectiveValue| {
        let mut fields = match &value.origin {
            Origin::Default => json!({"from": "default"}),
            Origin::File { path, line } => json!({"from": "file", "file": path, "line": line}),
            Origin::Environment { variable } => json!({"from": "environment", "variable": variable}),
        };
        fields["value"] = json!(value.value);
        (value.key.clone(), fields)
    };
    Value::Object(values.iter().map(entry).collect::<Map<String, Value>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn loaded() -> LoadedConfig {
        let environment = vec![("CALLBOARD__SERVER__WORKERS".into(), "3".into())];
        load(Sources {
            file: None,
            environment,
        })
        .expect("it is right")
    }

    fn printed(json: bool, changed: bool) -> String {
        let command = ConfigCommand::Print(PrintArguments {
            json,
            default: false,
            changed,
        });
        let mut output = Vec::new();
        run(&command, &loaded(), &mut output).expect("a vector takes it");
        String::from_utf8(output).expect("UTF-8")
    }

    #[test]
    fn each_value_says_where_it_came_from() {
        let text = printed(false, false);
        let line = |key: &str| {
            text.lines()
                .find(|line| line.contains(key))
                .expect("it is there")
                .to_owned()
        };
        assert!(line("server.workers").contains("env CALLBOARD__SERVER__WORKERS"));
        assert!(line("server.bind").contains("\"127.0.0.1:8700\"") && line("server.bind").contains("default"));
        assert_eq!(printed(false, true).lines().count(), 1);
    }

    #[test]
    fn lines_are_short_and_each_target_has_its_own() {
        // But for the list that is longer than its column.
        let is_list = |line: &str| line.starts_with("tools.enabled");
        let wide = |line: &&str| line.ends_with("default") && line.chars().count() > 92 && !is_list(line);
        assert_eq!(printed(false, false).lines().find(wide), None);
        let targets: toml::Table = "targets = [{ provider = \"a\" }, { provider = \"b\", weight = 2 }]"
            .parse()
            .expect("TOML");
        assert_eq!(
            lines_of(&targets["targets"]),
            ["[{ provider = \"a\" },", " { provider = \"b\", weight = 2 }]"]
        );
    }

    #[test]
    fn json_has_values_with_their_types() {
        let json: Value = serde_json::from_str(&printed(true, false)).expect("JSON");
        assert_eq!(
            json["server.workers"],
            json!({"value": 3, "from": "environment", "variable": "CALLBOARD__SERVER__WORKERS"})
        );
        assert_eq!(
            json["tools.enabled"]["value"],
            json!(["now", "echo", "wait", "calculator", "fetch_url", "parse_file"])
        );
    }

    #[test]
    fn a_right_configuration_is_ok() {
        let mut output = Vec::new();
        run(&ConfigCommand::Check { no_keys: false }, &loaded(), &mut output).expect("a vector takes it");
        assert_eq!(output, b"ok\n");
    }
}
