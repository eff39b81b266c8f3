//! Adapters of the port `RateLimits` that need another service.

pub mod redis;
