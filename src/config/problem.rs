//! Mistakes in a configuration: all of them, each with its key and where it was written.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the compiled-in `config.toml`.
    Default,
    /// In a file.
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1; `None` if the whole file is meant.
        line: Option<usize>,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line: None } => write!(formatter, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(formatter, "env {variable}"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key; `None` if a file cannot be read at all.
    pub key: Option<String>,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong, in a sentence that fits after a colon.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(formatter, "{key} ({}): {}", self.origin, self.message),
            None => write!(formatter, "{}: {}", self.origin, self.message),
        }
    }
}

/// All mistakes of a configuration; never empty. `Display` lists them, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => formatter.write_str("the configuration has a mistake:")?,
            count => write!(formatter, "the configuration has {count} mistakes:")?,
        }
        for problem in &self.0 {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Turns what serde says about one value into what an operator can act on.
pub(super) fn explain(serde_message: &str) -> String {
    if let Some((found, wanted)) = between(serde_message, "invalid type: ") {
        return format!("must be {}, not {}", plain_wanted(wanted), plain_found(found));
    }
    if let Some((found, wanted)) = between(serde_message, "invalid value: ") {
        let wanted = plain_wanted(wanted);
        return format!(
            "must be {wanted} of at least 0 and not beyond reason, not {}",
            plain_found(found)
        );
    }
    if let Some((found, wanted)) = between(serde_message, "unknown field ") {
        let known = quoted_names(wanted);
        let found = found.trim_matches('`');
        return match closest(found, &known) {
            Some(name) => format!("there is no such key; did you mean \"{name}\"?"),
            None => format!("there is no such key; there are {}", known.join(", ")),
        };
    }
    if let Some((found, _)) = between(serde_message, "unknown variant ")
        && let Some(words) = words_of(serde_message)
    {
        return format!("must be {words}, not {:?}", found.trim_matches('`'));
    }
    if let Some((_, wanted)) = between(serde_message, "invalid length ")
        && wanted.starts_with("struct ")
    {
        return "must be a table".to_owned();
    }
    if serde_message == "invalid socket address syntax" {
        return "must be an IP address and a port, such as \"127.0.0.1:8700\" or \"[::1]:8700\"".to_owned();
    }
    serde_message.to_owned()
}

/// Whether it says that a word was wanted, one of some, and something else was there.
pub(super) fn is_no_word(serde_message: &str) -> bool {
    serde_message.starts_with("invalid type: ") && serde_message.ends_with("expected string only")
}

/// The words that there are, if it is about a word that is none of them.
pub(super) fn words_of(serde_message: &str) -> Option<String> {
    let (_, wanted) = between(serde_message, "unknown variant ")?;
    let known: Vec<String> = quoted_names(wanted).iter().map(|name| format!("{name:?}")).collect();
    Some(known.join(" or "))
}

/// `<prefix><found>, expected <wanted>`.
fn between<'message>(message: &'message str, prefix: &str) -> Option<(&'message str, &'message str)> {
    message.strip_prefix(prefix)?.rsplit_once(", expected ")
}

fn plain_wanted(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" | "string" => "text",
        "a sequence" => "a list, such as [\"now\", \"echo\"]",
        "socket address" => "an IP address and a port, such as \"127.0.0.1:8700\"",
        "a map" => "a table",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted if wanted.contains("enum ") => "text",
        wanted => wanted,
    }
}

fn plain_found(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`').to_owned(),
        _ if found == "map" => "a table".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ => found.to_owned(),
    }
}

/// The names between back-ticks.
fn quoted_names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The known name that was probably meant.
pub(super) fn closest<'name>(found: &str, known: &[&'name str]) -> Option<&'name str> {
    const SIMILAR: f64 = 0.75;
    let similarity = |name: &str| strsim::normalized_damerau_levenshtein(found, name);
    let best = known
        .iter()
        .max_by(|one, other| similarity(one).total_cmp(&similarity(other)))?;
    let starts_alike = best.starts_with(found) || found.starts_with(best);
    (starts_alike || similarity(best) >= SIMILAR).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_is_put_into_plain_words() {
        for (serde_message, plain) in [
            (
                "invalid type: string \"many\", expected u32",
                "must be a whole number, not the text \"many\"",
            ),
            (
                "invalid type: boolean `true`, expected a string",
                "must be text, not true",
            ),
            (
                "invalid type: floating point `1.5`, expected a map",
                "must be a table, not 1.5",
            ),
            (
                "unknown variant `fast`, expected `full` or `normal`",
                "must be \"full\" or \"normal\", not \"fast\"",
            ),
            (
                "unknown field `bnid`, expected one of `bind`, `workers`",
                "there is no such key; did you mean \"bind\"?",
            ),
            (
                "unknown field `colour`, expected `level` or `format`",
                "there is no such key; there are level, format",
            ),
            (
                "invalid length 0, expected struct ToolsConfig with 11 elements",
                "must be a table",
            ),
        ] {
            assert_eq!(explain(serde_message), plain);
        }
    }
}
