//! Adapters of the `Model` port, and the simulated provider as an upstream of its own.

pub mod answer_cache;
pub mod anthropic;
pub mod openai;
pub mod openai_responses;
pub mod simulate_server;
pub mod simulated;
pub mod upstream;
