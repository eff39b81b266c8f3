//! `model_options.simulate`: what a simulated model is to do. Every key may be left out.

use callboard_actors::ports::model::InvalidOption;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::troubles::{SlowStart, check_share};

/// Settings of one simulated answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulateOptions {
    /// Chooses the words; without it they follow from the conversation.
    pub seed: Option<u64>,
    /// Milliseconds before the first token.
    pub first_token_ms: u64,
    /// Tokens of the text.
    pub tokens: u32,
    /// Tokens per second; 0 is as fast as possible.
    pub tokens_per_second: u32,
    /// This text instead of made-up words.
    pub text: Option<String>,
    /// Tokens of reasoning before the text.
    pub reasoning_tokens: u32,
    /// Tokens of the input that are said to have been in a cache; all of them at most.
    pub cached_input_tokens: u64,
    /// Tokens of the input that are said to have been put into a cache; at most those that were not in it.
    pub cache_write_input_tokens: u64,
    /// Makes each token carry the time at which it was sent: `t=<microseconds since 1970> `.
    pub stamp: bool,
    /// Tools to call, all at once, before the text.
    pub tool_calls: Vec<SimulatedToolCall>,
    /// How often to call them, one answer each, before the text.
    pub tool_rounds: u32,
    /// How to fail.
    pub fail: Option<SimulatedFailure>,
    /// Makes answers begin late, by chance.
    pub slow_start: Option<SlowStart>,
    /// The share of answers that break off, by chance. Chance follows from seed, conversation and attempt.
    pub break_share: f64,
}

/// A tool call to make.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedToolCall {
    /// Which tool.
    pub name: String,
    /// With what; `{}` if left out. A string is sent as it is, so that it may be no JSON.
    #[serde(default)]
    pub arguments: Value,
}

/// A failure to simulate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedFailure {
    /// What goes wrong.
    pub kind: FailureKind,
    /// The HTTP status of `kind = "status"`, and what an `error_event` stands for.
    #[serde(default = "default_status")]
    pub status: u16,
    /// Text tokens before it goes wrong; not for `status` and `connect`, which come first.
    #[serde(default)]
    pub after_tokens: u32,
    /// Tries of each call that fail before one succeeds.
    #[serde(default = "every_attempt")]
    pub attempts: u32,
    /// What `Retry-After` says, for `status`.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// An HTTP error.
    Status,
    /// No connection.
    Connect,
    /// The connection breaks.
    Break,
    /// Nothing more comes.
    Stall,
    /// What comes is not the protocol.
    Garbage,
    /// The stream tells of an error in the way of its dialect, and ends.
    ErrorEvent,
    /// The adapter's own code panics (in process only; over HTTP the connection breaks).
    Panic,
}

const fn default_status() -> u16 {
    503
}

const fn every_attempt() -> u32 {
    u32::MAX
}

impl Default for SimulateOptions {
    fn default() -> Self {
        Self {
            seed: None,
            first_token_ms: 0,
            tokens: 24,
            tokens_per_second: 0,
            text: None,
            reasoning_tokens: 0,
            cached_input_tokens: 0,
            cache_write_input_tokens: 0,
            stamp: false,
            tool_calls: Vec::new(),
            tool_rounds: 1,
            fail: None,
            slow_start: None,
            break_share: 0.0,
        }
    }
}

impl SimulateOptions {
    /// The longest wait for a first token, ms.
    pub const MAX_FIRST_TOKEN_MS: u64 = 3_600_000;
    /// The most tokens of an answer.
    pub const MAX_TOKENS: u32 = 1_000_000;
    /// The most tool calls of an answer.
    pub const MAX_TOOL_CALLS: usize = 256;

    /// Reads `simulate` out of a run's `model_options`, over `defaults` where it is silent about everything.
    pub fn from_model_options(options: &Map<String, Value>, defaults: &Self) -> Result<Self, InvalidOption> {
        match options.get("simulate") {
            Some(value) => Self::from_value(value),
            None => Ok(defaults.clone()),
        }
    }

    /// Reads and checks a `simulate` object.
    pub fn from_value(value: &Value) -> Result<Self, InvalidOption> {
        let read: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." {
                "simulate".to_owned()
            } else {
                format!("simulate.{path}")
            };
            InvalidOption {
                key,
                problem: error.into_inner().to_string(),
            }
        })?;
        read.check()?;
        Ok(read)
    }

    /// Checks the figures. `Err` has the key below `simulate`.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let at_most = |key: &str, limit: u64, is: u64| {
            if is <= limit {
                return Ok(());
            }
            Err(InvalidOption {
                key: format!("simulate.{key}"),
                problem: format!("{is} is more than {limit}"),
            })
        };
        at_most("first_token_ms", Self::MAX_FIRST_TOKEN_MS, self.first_token_ms)?;
        at_most("tokens", Self::MAX_TOKENS.into(), self.tokens.into())?;
        at_most(
            "reasoning_tokens",
            Self::MAX_TOKENS.into(),
            self.reasoning_tokens.into(),
        )?;
        at_most("tool_calls", Self::MAX_TOOL_CALLS as u64, self.tool_calls.len() as u64)?;
        check_share("simulate.break_share", self.break_share)?;
        if let Some(slow_start) = &self.slow_start {
            slow_start.check("simulate.slow_start")?;
        }
        let status = self.fail.as_ref().map_or(503, |fail| fail.status);
        if !(400..600).contains(&status) {
            let problem = format!("{status} is not an HTTP error status");
            return Err(InvalidOption {
                key: "simulate.fail.status".into(),
                problem,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_are_named_by_their_key() {
        let cases = [
            (json!({"tokns": 3}), "simulate.tokns"),
            (json!({"tokens": "many"}), "simulate.tokens"),
            (json!({"tokens": 2_000_000}), "simulate.tokens"),
            (json!({"fail": {"kind": "fire"}}), "simulate.fail.kind"),
            (json!({"break_share": 2}), "simulate.break_share"),
            (
                json!({"fail": {"kind": "status", "status": 200}}),
                "simulate.fail.status",
            ),
            (json!({"tool_calls": [{"nam": "now"}]}), "simulate.tool_calls[0].nam"),
            (json!("fast"), "simulate"),
        ];
        for (value, key) in cases {
            let error = SimulateOptions::from_value(&value).expect_err("a mistake");
            assert_eq!(error.key, key, "{error}");
        }
    }

    #[test]
    fn silence_means_the_defaults() {
        let defaults = SimulateOptions {
            tokens: 7,
            ..SimulateOptions::default()
        };
        let read = SimulateOptions::from_model_options(&Map::new(), &defaults).expect("nothing wrong");
        assert_eq!(read, defaults);
    }
}
