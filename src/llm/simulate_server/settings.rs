//! How the simulated provider is set up: the form of its file (TOML or JSON), whose every key may be left out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::rate_limits::KeyLimits;
use serde::{Deserialize, Serialize};

use crate::llm::simulated::options::SimulateOptions;
use crate::llm::simulated::troubles::Troubles;

/// What the provider allows, to whom, and what goes wrong with it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulateServerSettings {
    /// How long "per minute" is, ms: what was used counts for exactly so long.
    pub window_ms: u64,
    /// What a call may write, for the sake of its limit, if it does not say.
    pub default_max_output_tokens: u64,
    /// Limits of each key that has none of its own.
    pub limits: LimitSettings,
    /// The keys there are; if none are listed, every key is taken, and no key too.
    pub keys: Vec<KeySettings>,
    /// What goes wrong.
    pub troubles: Troubles,
    /// What to do where a request has no `simulate` of its own.
    pub simulate: SimulateOptions,
}

/// Limits of a key; one that is left out is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Calls in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and written, in any minute.
    pub tokens_per_minute: Option<u64>,
    /// Calls at the same time.
    pub concurrent_calls: Option<u64>,
}

/// A key that is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The whole key. It opens nothing but this simulation, and is no secret.
    pub key: String,
    /// Its limits; left out, those of all keys.
    pub limits: Option<LimitSettings>,
    /// From when on it is refused, ms after the start; never if left out.
    pub refused_from_ms: Option<u64>,
}

/// What is wrong with a file of settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML or JSON of the right form.
    #[error("{}: {problem}", path.display())]
    WrongForm {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// A value is not allowed.
    #[error(transparent)]
    Value(#[from] InvalidOption),
}

impl Default for SimulateServerSettings {
    fn default() -> Self {
        Self {
            window_ms: 60_000,
            default_max_output_tokens: 1_024,
            limits: LimitSettings::default(),
            keys: Vec::new(),
            troubles: Troubles::default(),
            simulate: SimulateOptions::default(),
        }
    }
}

impl SimulateServerSettings {
    /// The longest "minute", ms: an hour.
    pub const MAX_WINDOW_MS: u64 = 3_600_000;
    /// Letters of a key that tell it from the others.
    pub const KEY_ENDING: usize = 4;

    /// Reads a file; one that ends in `.json` is JSON, else it is TOML. The values are not checked yet.
    pub fn from_file(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let read = if path.extension().is_some_and(|extension| extension == "json") {
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&text))
                .map_err(|error| error.to_string())
        } else {
            toml::from_str(&text).map_err(|error| error.to_string())
        };
        read.map_err(|problem| SettingsError::WrongForm {
            path: path.to_owned(),
            problem,
        })
    }

    /// Checks every value. `Err` has the key.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let wrong = |key: String, problem: &str| {
            let problem = problem.to_owned();
            Err(InvalidOption { key, problem })
        };
        if !(1..=Self::MAX_WINDOW_MS).contains(&self.window_ms) {
            return wrong("window_ms".into(), "is not from 1 to 3600000");
        }
        for (index, key) in self.keys.iter().enumerate() {
            let name = format!("keys[{index}].key");
            if key.key.len() < 2 * Self::KEY_ENDING || !key.key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return wrong(name, "is not 8 or more visible ASCII characters");
            }
            let same_ending = |other: &&KeySettings| ending_of(&other.key) == ending_of(&key.key);
            if self.keys[..index].iter().any(|other| same_ending(&other)) {
                return wrong(
                    name,
                    "ends in the same four characters as another, by which keys are told apart",
                );
            }
        }
        self.troubles.check()?;
        self.simulate.check()
    }

    pub(super) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }
}

impl From<LimitSettings> for KeyLimits {
    fn from(settings: LimitSettings) -> Self {
        Self {
            requests_per_minute: settings.requests_per_minute,
            tokens_per_minute: settings.tokens_per_minute,
            concurrent_calls: settings.concurrent_calls,
        }
    }
}

impl From<KeyLimits> for LimitSettings {
    fn from(limits: KeyLimits) -> Self {
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrent_calls: limits.concurrent_calls,
        }
    }
}

/// The last four characters of a key.
pub(super) fn ending_of(key: &str) -> &str {
    let start = key.char_indices().rev().nth(SimulateServerSettings::KEY_ENDING - 1);
    start.map_or(key, |(start, _)| &key[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        window_ms = 10000
        [limits]
        requests_per_minute = 60
        [[keys]]
        key = "sk-simulated-0001"
        refused_from_ms = 5000
        [[keys]]
        key = "sk-simulated-0002"
        limits = { tokens_per_minute = 9000 }
        [troubles]
        seed = 3
        break_share = 0.02
        slow_start = { share = 0.1, median_ms = 500, p99_ms = 3000 }
        [[troubles.outages]]
        from_ms = 20000
        until_ms = 30000
        status = 529
        [simulate]
        tokens = 100
    "#;

    fn read(name: &str, text: &str) -> Result<SimulateServerSettings, SettingsError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        let settings = SimulateServerSettings::from_file(&path)?;
        settings.check()?;
        Ok(settings)
    }

    #[test]
    fn a_file_says_it_all() {
        let settings = read("a.toml", TOML).expect("it is right");
        assert_eq!(
            settings.keys[1].limits.and_then(|limits| limits.tokens_per_minute),
            Some(9_000)
        );
        assert_eq!(
            (settings.window_ms, settings.default_max_output_tokens),
            (10_000, 1_024)
        );
        let json = read("a.json", r#"{"limits": {"concurrent_calls": 3}}"#).expect("it is right");
        assert_eq!(json.limits.concurrent_calls, Some(3));
    }

    #[test]
    fn mistakes_are_named() {
        let same = r#"{"keys": [{"key": "sk-simulated-0001"}, {"key": "sk-imitated-0001"}]}"#;
        for (name, text, said) in [
            ("a.toml", "windo_ms = 3", "windo_ms"),
            (
                "a.json",
                r#"{"limits": {"requests_per_minute": -1}}"#,
                "limits.requests_per_minute",
            ),
            ("a.json", same, "keys[1].key"),
            ("a.json", r#"{"window_ms": 0}"#, "window_ms"),
            (
                "a.json",
                r#"{"troubles": {"break_share": 3.0}}"#,
                "troubles.break_share",
            ),
        ] {
            let error = read(name, text).expect_err("a mistake").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
