//! What a Redis event log needs to know.

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::redis_client::{RedisAddress, RedisConnectOptions};

/// How events travel through Redis.
#[derive(Debug, Clone)]
pub struct RedisLogOptions {
    /// Where Redis is.
    pub address: RedisAddress,
    /// PEM file of the authority that signed the server's certificate; `None`: those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key and channel begins with; fleets that share a Redis need different ones.
    pub key_prefix: String,
    /// How long a run's stream stays in Redis after the run's end.
    pub kept_after_end: Duration,
    /// How long a stream to which nothing is added stays, if its end never comes. Longer than any run is silent.
    pub kept_without_end: Duration,
    /// Events of one run within this time travel together; the first of them at once.
    pub coalesce: Duration,
    /// How often a run that is followed here and silent is compared with the store and Redis: a net below the subscription.
    pub check_interval: Duration,
    /// The same while Redis is away, when the store alone tells what is new.
    pub away_interval: Duration,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a command may take before the connection is suspected.
    pub response_timeout: Duration,
    /// Where all input and output and all tasks run, whoever calls.
    pub runtime: Handle,
}

impl RedisLogOptions {
    /// The defaults.
    pub fn new(address: RedisAddress, runtime: Handle) -> Self {
        Self {
            address,
            ca_file: None,
            key_prefix: "callboard:".to_owned(),
            kept_after_end: Duration::from_secs(600),
            kept_without_end: Duration::from_secs(24 * 3600),
            coalesce: Duration::from_millis(4),
            check_interval: Duration::from_secs(30),
            away_interval: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(3),
            runtime,
        }
    }

    pub(super) fn connect(&self) -> RedisConnectOptions {
        RedisConnectOptions {
            address: self.address.clone(),
            ca_file: self.ca_file.clone(),
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
        }
    }
}
