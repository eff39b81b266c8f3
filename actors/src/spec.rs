//! What a run was asked to do: pinned when it starts, the same for all its steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent::AgentPin;
use crate::money::Money;
use crate::tool_use::ToolUse;

/// The settings of a run. A stored agent is resolved into one of these when its run is posted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The stored agent that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentPin>,
    /// A model name of `config.toml`.
    pub model: String,
    /// Models that are asked in turn if none of the providers of `model` can answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_models: Vec<String>,
    /// What the model is told before the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolUse>,
    /// Options for the model: sampling parameters, or `simulate` for the simulated model.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub model_options: Map<String, Value>,
    /// Free text that travels with the run and comes back unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// When to stop it.
    pub limits: RunLimits,
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

/// What a run or an agent says about how runs are to be; what it leaves open is decided elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// As [`RunSpec::model`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As [`RunSpec::fallback_models`]; `None` leaves it open, none says that there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_models: Option<Vec<String>>,
    /// As [`RunSpec::instructions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// As [`RunSpec::tools`]; `None` leaves it open, none says that there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ToolUse>>,
    /// As [`RunSpec::model_options`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_options: Option<Map<String, Value>>,
    /// As [`RunSpec::limits`].
    #[serde(default, skip_serializing_if = "LimitSettings::is_open")]
    pub limits: LimitSettings,
}

/// As [`RunLimits`]; `None` leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "as the fields of `RunLimits`")]
pub struct LimitSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
}

impl RunSettings {
    /// These, and where they leave something open, what `base` says. A list or object that is given takes the place of the base's whole;
    /// limits are taken one by one.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        let (limits, base_limits) = (self.limits, base.limits);
        Self {
            model: self.model.or(base.model),
            fallback_models: self.fallback_models.or(base.fallback_models),
            instructions: self.instructions.or(base.instructions),
            tools: self.tools.or(base.tools),
            model_options: self.model_options.or(base.model_options),
            limits: LimitSettings {
                max_steps: limits.max_steps.or(base_limits.max_steps),
                max_output_tokens: limits.max_output_tokens.or(base_limits.max_output_tokens),
                max_total_tokens: limits.max_total_tokens.or(base_limits.max_total_tokens),
                max_cost_usd: limits.max_cost_usd.or(base_limits.max_cost_usd),
                deadline_seconds: limits.deadline_seconds.or(base_limits.deadline_seconds),
            },
        }
    }
}

impl LimitSettings {
    fn is_open(&self) -> bool {
        *self == Self::default()
    }
}
