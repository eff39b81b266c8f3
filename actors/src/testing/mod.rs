//! Conformance suites and scripted adapters, for the tests of whoever implements or uses a port.

pub mod store_conformance;
