//! Callboard, the connecting half: HTTP, adapters, configuration, command line and the composition root.

pub mod auth;
pub mod config;
pub mod http;
pub mod llm;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod tools;
