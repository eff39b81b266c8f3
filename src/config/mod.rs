//! Configuration: `config.toml` as compiled in, then a file, then the environment.
//!
//! All mistakes are found at once, each with its key and where it was written; every effective value knows where it came from.
//! Secrets are never part of it: it has only the names of the environment variables that hold them.

use std::collections::BTreeMap;

mod models;
mod sections;
mod values;

pub use models::{ModelCallConfig, ModelConfig, ProviderConfig};
pub use sections::{
    CapacityConfig, EventDurability, EventsConfig, LogConfig, LogFormat, QueueConfig, RunsConfig, ServerConfig,
    StoreConfig, Synchronous, TierConfig, ToolsConfig,
};

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
    /// Models by the name that clients use.
    pub models: BTreeMap<String, ModelConfig>,
    /// Tool calls.
    pub tools: ToolsConfig,
    /// Tiers by name; [`LOCAL_TIER`] is among them.
    pub tiers: BTreeMap<String, TierConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
}
