//! The sections of `config.toml` as types. What each key means, its unit and its default stand in that file; the docs here say
//! what the code needs beyond that.

mod server;
mod storage;
mod tools;

pub use server::{CapacityConfig, LogConfig, LogFormat, QueueConfig, RunsConfig, ServerConfig, TierConfig};
pub use storage::{
    AnswerCacheConfig, EventDurability, EventsConfig, FilesConfig, FleetConfig, StoreConfig, Synchronous,
};
pub use tools::{DocumentsConfig, ToolLimitsConfig, ToolsConfig};
