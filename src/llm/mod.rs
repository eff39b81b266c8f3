//! Adapters of the `Model` port, and the simulated provider as an upstream of its own.

pub mod openai;
pub mod simulate_server;
pub mod simulated;
