//! What a run was asked to do: pinned when it starts, the same for all its steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::money::Money;

/// The settings of a run. Stored agents will be resolved into one of these when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// A model name of `config.toml`.
    pub model: String,
    /// Models that are asked in turn if none of the providers of `model` can answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_models: Vec<String>,
    /// What the model is told before the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Names of tools the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Options for the model: sampling parameters, or `simulate` for the simulated model.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub model_options: Map<String, Value>,
    /// Free text that travels with the run and comes back unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How much of its thread it goes on with. Without effect outside threads.
    #[serde(default, skip_serializing_if = "HistorySettings::is_default")]
    pub history: HistorySettings,
    /// When to stop it.
    pub limits: RunLimits,
}

/// How much of its thread a run goes on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistorySettings {
    /// What is done about a thread that is too long.
    pub policy: HistoryPolicy,
    /// Tokens that the history may take, by estimate; `None`: what the model's context window leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
}

impl HistorySettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What is done about a thread that is too long for the model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryPolicy {
    /// The oldest turns are left out, whole.
    #[default]
    DropOldestTurns,
    /// Nothing: the model gets all of it, or the run fails.
    None,
}

impl HistoryPolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::DropOldestTurns, Self::None];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropOldestTurns => "drop_oldest_turns",
            Self::None => "none",
        }
    }
}

/// When to stop a run. Filled in from `config.toml` where the client is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLimits {
    /// Model calls the run may make (retries of one call count once).
    pub max_steps: u32,
    /// Output tokens over all model calls; `None` leaves it to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Tokens, read and written, over all model calls; `None` is no limit. Checked before each call: one call may go over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_tokens: Option<u64>,
    /// US dollars over all model calls, by the prices in `config.toml`; `None` is no limit. Checked as `max_total_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<Money>,
    /// Seconds from the first start to the end, whatever happens in between.
    pub deadline_seconds: u64,
}
