//! Callboard, the connecting half: HTTP, adapters, configuration, command line and the composition root.

pub mod auth;
pub mod cli;
pub mod config;
pub mod http;
pub mod llm;
pub mod stream;
pub mod telemetry;
pub mod tools;
