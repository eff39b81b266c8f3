//! A fleet on one machine: real servers, the PostgreSQL and the Redis behind them, a network between them that can be cut, and clients
//! that follow runs across all of it and write down what they saw.
//!
//! A module, not an example: `examples/chaos`, `examples/fleet`, `examples/rate_limits` and `tests/it` include it. What it starts ends
//! with the value that stands for it, also when that is merely dropped. What does not come about within [`PATIENCE`] is an error that
//! shows what the processes printed.

#![allow(
    dead_code,
    unused_imports,
    reason = "each program that includes it uses a part of it"
)]

mod addresses;
mod binary;
mod certificates;
mod client;
mod fleet;
mod fleet_client;
mod follower;
mod instance;
mod postgres;
mod process;
mod proxy;
mod reader;
mod redis;
mod rules;
mod services;
mod settings;
mod upstream;

pub(crate) use addresses::{Address, Addresses};
pub(crate) use binary::{Binary, ServerProcess};
pub(crate) use certificates::Certificates;
pub(crate) use client::{Client, OpenError, Reply, is_terminal, until_some};
pub(crate) use fleet::{Fleet, InstanceOptions};
pub(crate) use fleet_client::FleetClient;
pub(crate) use follower::{Followed, Follower, Following, Violation, ViolationKind};
pub(crate) use instance::Instance;
pub(crate) use postgres::{Postgres, PostgresOptions, PostgresStop};
pub(crate) use process::{Printed, Process};
pub(crate) use proxy::{Network, Proxy};
pub(crate) use reader::{EventReader, SeenEvent, StreamError};
pub(crate) use redis::{Redis, RedisMemory};
pub(crate) use rules::{Seen, lasting, lost_in, problems_of_log};
pub(crate) use services::{address_of, fresh_key_prefix, fresh_schema, shared_postgres_url, shared_redis_url, through};
pub(crate) use settings::{Settings, UNHURRIED};
pub(crate) use upstream::Upstream;

use std::future::Future;
use std::time::Duration;

use anyhow::Context;

/// How long anything may take before it counts as broken. Far more than it needs: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between two questions of somebody who waits for a server that cannot answer now, unless it becomes known earlier that asking again
/// makes sense. Without it, hundreds of waiting clients would take the machine from the servers they wait for.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits for `what` with [`PATIENCE`].
pub(crate) async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> anyhow::Result<T> {
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.with_context(|| format!("waited {PATIENCE:?} in vain for {what}"))
}
