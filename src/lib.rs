//! Callboard, the connecting half: HTTP, adapters, configuration, command line and the composition root.

pub mod app;
pub mod auth;
mod banner;
pub mod blocking;
pub mod cli;
mod cluster_view;
pub mod config;
mod housekeeping;
pub mod http;
pub mod limits;
pub mod llm;
pub mod model_directory;
pub mod redis_client;
mod shutdown;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod tools;
