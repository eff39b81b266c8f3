//! The adapters that a configuration names: the store, and the log of events over it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::Context;
use callboard_actors::capacity::MachineSize;
use callboard_actors::local_limits::LocalRateLimits;
use callboard_actors::ports::{Agents, Budgets, EventLog, Files, Fleet, RateLimits, Store, Threads};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use super::outside::{postgres_url, redis_address};
use crate::config::{Config, Synchronous};
use crate::limits::redis::{RedisLimitsOptions, RedisRateLimits};
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::sqlite::{self, SqliteOptions, SqliteStore};
use crate::stream::memory::{MemoryEventLog, MemoryLogOptions};
use crate::stream::redis::{RedisEventLog, RedisLogOptions};

/// Connections of a command that works beside servers.
const CONNECTIONS_OF_A_COMMAND: u32 = 4;

/// The store that the configuration names.
pub(super) enum OpenStore {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl OpenStore {
    /// For a server on a machine of this size.
    pub(super) async fn for_server(config: &Config, machine: MachineSize, io: &Handle) -> anyhow::Result<Self> {
        let Some(url) = postgres_url(config)? else {
            let opened = SqliteStore::open(sqlite_options(config), io).await;
            let opened = opened.with_context(|| format!("the store {} cannot be opened", shown(config)))?;
            return Ok(Self::Sqlite(opened));
        };
        let parameters = config.capacity_parameters();
        let runs = parameters.concurrent_runs(machine).runs;
        let connections = parameters.database_connections(runs);
        Ok(Self::Postgres(open_postgres(config, url, connections, io).await?))
    }

    /// For a command that works beside servers, or without one.
    pub(super) async fn for_command(config: &Config) -> anyhow::Result<Self> {
        let io = Handle::current();
        match postgres_url(config)? {
            Some(url) => Ok(Self::Postgres(
                open_postgres(config, url, CONNECTIONS_OF_A_COMMAND, &io).await?,
            )),
            None => Ok(Self::Sqlite(
                SqliteStore::open_shared(sqlite_options(config), &io).await?,
            )),
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// Stored agents.
    pub(super) fn agents(&self) -> Arc<dyn Agents> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// The conversations.
    pub(super) fn threads(&self) -> Arc<dyn Threads> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What counts what accounts use.
    pub(super) fn budgets(&self) -> Arc<dyn Budgets> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What knows which files there are.
    pub(super) fn files(&self) -> Arc<dyn Files> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }

    /// What connects its instances, if it can have several.
    pub(super) fn fleet(&self) -> Option<Arc<dyn Fleet>> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(store) => Some(Arc::new(store.clone())),
        }
    }

    pub(super) async fn close(self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Where the store is, without a secret.
pub(super) fn shown(config: &Config) -> String {
    match &config.store.postgres_url_env {
        Some(variable) => format!("PostgreSQL ({variable})"),
        None => config.store.path.display().to_string(),
    }
}

async fn open_postgres(
    config: &Config,
    url: SecretString,
    connections: u32,
    io: &Handle,
) -> anyhow::Result<PostgresStore> {
    let store = &config.store;
    let options = PostgresOptions {
        url: url.expose_secret().to_owned(),
        lanes: store.postgres_writers,
        connections,
        commit_batch: store.commit_batch,
        inbox: store.queue,
        acquire_timeout: store.acquire_timeout,
        longest_standstill: config.fleet.lease / 2,
    };
    let opened = PostgresStore::open(options, io).await;
    opened.with_context(|| format!("the store {} cannot be opened", shown(config)))
}

pub(super) fn sqlite_options(config: &Config) -> SqliteOptions {
    let store = &config.store;
    SqliteOptions {
        synchronous: match store.synchronous {
            Synchronous::Full => sqlite::Synchronous::Full,
            Synchronous::Normal => sqlite::Synchronous::Normal,
        },
        readers: store.readers,
        commit_batch: store.commit_batch,
        inbox: store.queue,
        acquire_timeout: store.acquire_timeout,
        busy_timeout: store.busy_timeout,
        lock_timeout: store.lock_timeout,
        path: store.path.clone(),
    }
}

/// The log of events: in this process, and in Redis if the configuration names one.
pub(super) struct OpenEventLog {
    pub(super) log: Arc<dyn EventLog>,
    redis: Option<RedisEventLog>,
}

impl OpenEventLog {
    pub(super) fn over(store: &Arc<dyn Store>, config: &Config, io: &Handle) -> anyhow::Result<Self> {
        let events = &config.events;
        let options = MemoryLogOptions {
            memory_per_run: events.memory_per_run,
            memory_total: events.memory_total,
            linger_after_end: events.linger_after_end,
            read_chunk: events.read_chunk,
        };
        let local: Arc<dyn EventLog> = Arc::new(MemoryEventLog::asking_on(store.clone(), options, io.clone()));
        let Some(address) = redis_address(config)? else {
            return Ok(Self {
                log: local,
                redis: None,
            });
        };
        let options = RedisLogOptions {
            ca_file: events.redis_ca_file.clone(),
            key_prefix: events.redis_key_prefix.clone(),
            kept_after_end: events.redis_kept_after_end,
            coalesce: events.redis_coalesce,
            ..RedisLogOptions::new(address, io.clone())
        };
        let redis = RedisEventLog::start(local, store.clone(), options).context("events.redis_url_env")?;
        Ok(Self {
            log: Arc::new(redis.clone()),
            redis: Some(redis),
        })
    }

    /// Whether readers of other instances see what is written here.
    pub(super) fn is_shared(&self) -> bool {
        self.redis.is_some()
    }

    /// Sends what is not sent yet, for at most this time. What stays behind is in the store, where the readers find it.
    pub(super) async fn flush(&self, longest: Duration) {
        if let Some(redis) = &self.redis
            && tokio::time::timeout(longest, redis.flush()).await.is_err()
        {
            tracing::warn!("the last events did not reach Redis; readers get them from the database");
        }
    }
}

/// Rate limits of a command that calls models beside servers: nobody else's count.
pub(super) fn own_rate_limits() -> Arc<dyn RateLimits> {
    Arc::new(LocalRateLimits::default())
}

/// Rate limits of the providers' keys: counted in this process, or in Redis if the configuration names one. `instances` is how many instances
/// live, which the caller keeps current: while Redis is away each keeps to its share.
pub(super) fn open_rate_limits(
    config: &Config,
    instances: Arc<AtomicU32>,
    io: &Handle,
) -> anyhow::Result<Arc<dyn RateLimits>> {
    let events = &config.events;
    let Some(address) = redis_address(config)? else {
        return Ok(Arc::new(LocalRateLimits::default()));
    };
    let options = RedisLimitsOptions {
        ca_file: events.redis_ca_file.clone(),
        key_prefix: events.redis_key_prefix.clone(),
        ..RedisLimitsOptions::new(address, io.clone())
    };
    let limits = RedisRateLimits::start(options, instances);
    let limits = limits.context("events.redis_url_env")?;
    Ok(Arc::new(limits))
}
