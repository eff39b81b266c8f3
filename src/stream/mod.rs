//! Adapters of the port `EventLog`: where the events of runs are kept while they are new, and how readers hear of them.

pub mod memory;
pub mod redis;
