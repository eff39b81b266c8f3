//! Conformance suites and scripted adapters, for the tests of whoever implements or uses a port.

pub mod agents_conformance;
pub mod budget_conformance;
pub mod event_log_conformance;
pub mod files_conformance;
pub mod fixed_tools;
pub mod fleet_conformance;
pub mod memory_store;
pub mod rate_limits_conformance;
pub mod store_conformance;
pub mod threads_conformance;
