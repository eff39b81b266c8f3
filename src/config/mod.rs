//! Configuration: `config.toml` as compiled in, then a file, then the environment.
//!
//! All mistakes are found at once, each with its key and where it was written; every effective value knows where it came from.
//! Secrets are never part of it: it has only the names of the environment variables and files that hold them.

use std::collections::BTreeMap;

use callboard_actors::capacity::CapacityParameters;
use callboard_actors::services::{Durability, RunSettings};

use crate::tools::SearchOptions;

mod bounds;
mod budgets;
mod layers;
mod load;
mod machine;
mod mcp;
mod mcp_oauth;
mod models;
mod outbound;
mod problem;
mod providers;
mod resolve;
mod resolve_models;
mod resolve_providers;
mod sections;
mod tools;
mod values;
mod variable_names;

#[cfg(test)]
mod mcp_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use load::{EffectiveValue, LoadedConfig, Sources, load};
pub use machine::this_machine;
pub use mcp::{McpConfig, McpPlace, McpServerConfig, McpSettingsConfig};
pub use models::{ModelCallConfig, ModelConfig, TargetConfig};
pub use outbound::{OutboundConfig, SecretConfig};
pub use problem::{ConfigErrors, Origin, Problem};
pub use providers::{
    Dialect, KeyPlace, KeySource, LimitsPer, OutputLimitName, ProviderConfig, ProviderLimitsConfig, ProviderService,
};
pub use sections::{
    AnswerCacheConfig, CapacityConfig, DocumentsConfig, EventDurability, EventsConfig, FilesConfig, FleetConfig,
    LogConfig, LogFormat, QueueConfig, RunsConfig, ServerConfig, StoreConfig, Synchronous, TierConfig,
    ToolLimitsConfig, ToolsConfig,
};
pub use tools::{DatabaseConfig, DatabasePlaceConfig, DatabaseTable, SearchTable};
pub(crate) use values::{parse_duration, parse_size};

/// `config.toml` as it was when this was compiled: the default of every value.
pub const DEFAULT_TEXT: &str = include_str!("../../config.toml");

/// The tier of the one account that a server without API keys serves. It always exists.
pub const LOCAL_TIER: &str = "local";

/// All settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The HTTP side.
    pub server: ServerConfig,
    /// How much this instance takes on.
    pub capacity: CapacityConfig,
    /// Runs that wait.
    pub queue: QueueConfig,
    /// What a client may ask for.
    pub runs: RunsConfig,
    /// The database.
    pub store: StoreConfig,
    /// The event log.
    pub events: EventsConfig,
    /// Several instances on one database.
    pub fleet: FleetConfig,
    /// Providers by name: those of the file, and those of models that say themselves whom to ask.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Answers that are given again.
    pub answer_cache: AnswerCacheConfig,
    /// Models by the name that clients use.
    pub models: BTreeMap<String, ModelConfig>,
    /// Uploaded files.
    pub files: FilesConfig,
    /// Tool calls.
    pub tools: ToolsConfig,
    /// MCP servers, and how they are treated.
    pub mcp: McpConfig,
    /// The search endpoint.
    pub search: Option<SearchOptions>,
    /// Databases that runs may read, by name.
    pub databases: BTreeMap<String, DatabaseConfig>,
    /// Requests to addresses that others choose.
    pub outbound: OutboundConfig,
    /// Secrets that go out with such requests, by name.
    pub secrets: BTreeMap<String, SecretConfig>,
    /// Tiers by name; [`LOCAL_TIER`] is among them.
    pub tiers: BTreeMap<String, TierConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        // The text is compiled in, and a test loads it.
        let shipped = load(Sources::default()).expect("the compiled-in config.toml is right");
        shipped.config
    }
}

impl Config {
    /// The constants of the sizing formulas.
    pub fn capacity_parameters(&self) -> CapacityParameters {
        CapacityParameters {
            runs_per_cpu: self.capacity.runs_per_cpu,
            memory_per_run: self.capacity.memory_per_run,
            ceiling: self.capacity.ceiling,
            max_concurrent_runs: self.capacity.max_concurrent_runs,
            blocking_threads_minimum: self.capacity.blocking_threads_minimum,
            connections_per_run: self.store.connections_per_run,
            connection_headroom: self.store.connection_headroom,
            connections_ceiling: self.store.connections_ceiling,
            max_connections: self.store.max_connections,
        }
    }

    /// Whether any model's answers are given again.
    pub fn shares_answers(&self) -> bool {
        self.models.values().any(|model| model.calls.cache_for.is_some())
    }

    /// What the run actors go by.
    pub fn run_settings(&self) -> RunSettings {
        RunSettings {
            durability: match self.events.durability {
                EventDurability::Strict => Durability::Strict {
                    delta_interval: self.events.strict_delta_interval,
                },
                EventDurability::Relaxed => Durability::Relaxed {
                    flush_interval: self.events.relaxed_flush_interval,
                },
            },
            tool_timeout: self.tools.timeout,
            approval_deadline: self.tools.approval_deadline,
            tool_max_output: self.tools.max_output,
            max_parallel_tools: self.tools.max_parallel,
            max_tool_calls_per_answer: self.tools.max_calls_per_answer,
            max_answer_bytes: self.runs.max_answer,
            max_history_bytes: self.runs.max_history,
            max_recoveries: self.runs.max_recoveries,
            max_unwritten_bytes: self.events.max_unwritten,
        }
    }
}
