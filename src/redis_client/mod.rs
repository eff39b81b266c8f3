//! How every adapter that uses Redis reaches it: one server or a Cluster, with or without TLS, through one connection for commands that is kept
//! open and looked after.

mod address;
mod connection;
mod link;
#[cfg(test)]
pub(crate) mod test_server;

pub(crate) use self::address::RedisConnectOptions;
pub use self::address::{RedisAddress, RedisSetupError};
pub(crate) use self::connection::{Connection, Endpoint, check_setup};
pub(crate) use self::link::{Backoff, Link, describe, jittered};
