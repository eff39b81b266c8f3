//! `callboard config check|print`.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::text::table;
use crate::config::{EffectiveValue, LoadedConfig, Origin};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say "ok", or list all mistakes and exit with 2
    Check,
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

pub(super) fn run(command: &ConfigCommand, loaded: &LoadedConfig, output: &mut impl Write) -> io::Result<()> {
    let ConfigCommand::Print(arguments) = command else {
        return writeln!(output, "ok");
    };
    let is_wanted = |value: &&EffectiveValue| !arguments.changed || value.origin != Origin::Default;
    let values: Vec<&EffectiveValue> = loaded.values.iter().filter(is_wanted).collect();
    if arguments.json {
        return writeln!(output, "{:#}", as_json(&values));
    }
    let row = |value: &&EffectiveValue| [value.key.clone(), value.value.to_string(), value.origin.to_string()];
    let rows = values.iter().map(row).collect();
    writeln!(output, "{}", table(["key", "value", "from"], rows, &[]))
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
        assert_eq!(printed(false, true).lines().count(), 5);
    }

    #[test]
    fn json_has_values_with_their_types() {
        let json: Value = serde_json::from_str(&printed(true, false)).expect("JSON");
        assert_eq!(
            json["server.workers"],
            json!({"value": 3, "from": "environment", "variable": "CALLBOARD__SERVER__WORKERS"})
        );
        assert_eq!(json["tools.enabled"]["value"], json!(["now", "echo", "wait"]));
    }

    #[test]
    fn a_right_configuration_is_ok() {
        let mut output = Vec::new();
        run(&ConfigCommand::Check, &loaded(), &mut output).expect("a vector takes it");
        assert_eq!(output, b"ok\n");
    }
}
