//! What instances stand on.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::rig::{Binary, Fleet, Postgres, PostgresOptions, Redis, RedisMemory, Upstream};

/// The shipped values of what the rig has made shorter for tests.
const SHIPPED: &str = "[server]\nheartbeat_interval = \"15s\"\n[fleet]\nheartbeat = \"1s\"\nlease = \"5s\"\n";

/// The services, and a fleet without instances. They end with this value.
pub(crate) struct Site {
    pub(crate) fleet: Fleet,
    pub(crate) upstream: Upstream,
    pub(crate) redis: Redis,
    pub(crate) database_url: String,
    _postgres: Postgres,
}

impl Site {
    /// `capacity` is that of each instance.
    pub(crate) async fn start(capacity: u32) -> anyhow::Result<Self> {
        let binary = Binary::built().await?;
        let postgres = Postgres::start(PostgresOptions {
            fsync: true,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisMemory::Forgets).await?;
        let upstream = Upstream::start(&binary).await?;
        let database_url = postgres.fresh_schema().await?;
        let settings = format!(
            "{SHIPPED}{}[capacity]\nmax_concurrent_runs = {capacity}\n[log]\nlevel = \"warn\"\n\
             [model_defaults]\nfirst_byte_timeout = \"1h\"\n",
            upstream.settings()
        );
        Ok(Self {
            fleet: Fleet::new(binary, &database_url, &redis.url(), &settings)?,
            upstream,
            redis,
            database_url,
            _postgres: postgres,
        })
    }

    /// To look into the database.
    pub(crate) async fn database(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnectOptions::from_str(&self.database_url)?.connect().await?)
    }
}
