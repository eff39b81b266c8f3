//! Callboard, the connecting half: HTTP, adapters, configuration, command line and the composition root.

pub mod app;
pub mod auth;
mod banner;
pub mod blocking;
mod budget_view;
mod budget_watch;
pub mod cli;
mod cluster_view;
pub mod config;
pub mod files;
mod housekeeping;
pub mod http;
mod json_durations;
pub mod limits;
pub mod llm;
pub mod model_directory;
pub mod redis_client;
mod shutdown;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod tools;
mod usage_view;
