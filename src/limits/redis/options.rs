//! What rate limits in Redis need to know.

use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::local_limits::LimitTimes;
use tokio::runtime::Handle;

use crate::redis_client::{RedisAddress, RedisConnectOptions};

/// How limits are shared through Redis.
#[derive(Debug, Clone)]
pub struct RedisLimitsOptions {
    /// Where Redis is.
    pub address: RedisAddress,
    /// PEM file of the authority that signed the server's certificate; `None`: those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with; fleets that share a Redis need different ones.
    pub key_prefix: String,
    /// The times of the contract.
    pub times: LimitTimes,
    /// How long an answer may take, because a model call waits for it. Beyond it this instance decides alone.
    pub answer_within: Duration,
    /// How long it decides alone before it asks Redis again.
    pub alone_for: Duration,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a ping may take before the connection is given up.
    pub response_timeout: Duration,
    /// Where the background work runs, and where every call must be made.
    pub runtime: Handle,
}

impl RedisLimitsOptions {
    /// The defaults.
    pub fn new(address: RedisAddress, runtime: Handle) -> Self {
        Self {
            address,
            ca_file: None,
            key_prefix: "callboard:".to_owned(),
            times: LimitTimes::default(),
            answer_within: Duration::from_millis(100),
            alone_for: Duration::from_secs(3),
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
