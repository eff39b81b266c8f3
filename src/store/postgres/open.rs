//! Opens the database: options, what the server grants, migrations.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tracing::log::LevelFilter;

use super::pool::Pool;
use crate::store::activity::Activity;

pub(in crate::store) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// What a migration from another store has begun and not ended is not all there is.
const IS_HALF_MIGRATED: &str = "SELECT EXISTS (SELECT 1 FROM store_migration WHERE state <> 'done')";

/// Connections left to others: operators, and the instance that takes this one's place.
const MARGIN: i64 = 3;
/// Connections for leases, claims, take-overs and notices, each of which has one thing to do at a time.
const CONTROL: u32 = 5;
/// The one that listens.
const LISTENING: u32 = 1;
/// An unused connection for reading is closed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// How long connecting may take.
pub(in crate::store) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const GRANTED: &str = "SELECT LEAST(\
     current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
     (SELECT NULLIF(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user), \
     (SELECT NULLIF(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))::bigint";

/// Where the database is and how hard it works. The URL holds a password and is in no text that this makes.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// Writer lanes, a connection each. At least 1.
    pub lanes: u32,
    /// Connections in all, at most; those for reading are opened when needed.
    pub connections: u32,
    /// Writes in one transaction, at most.
    pub commit_batch: usize,
    /// Writes that may wait for a lane; more are refused.
    pub inbox: usize,
    /// How long a read waits for a connection.
    pub acquire_timeout: Duration,
    /// A transaction in which nothing happens for so long is rolled back by the server: an instance that stands still, or whose network
    /// is gone, must not keep its locks until others may take its runs over. Half a lease is right.
    pub longest_standstill: Duration,
}

impl PostgresOptions {
    /// Options for this database, with the values that the design gives.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lanes: 4,
            connections: 20,
            commit_batch: 256,
            inbox: 4096,
            acquire_timeout: Duration::from_secs(30),
            longest_standstill: Duration::from_millis(2500),
        }
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("lanes", &self.lanes)
            .field("connections", &self.connections)
            .field("commit_batch", &self.commit_batch)
            .finish_non_exhaustive()
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL cannot be read; it is not shown, because it may hold a password.
    #[error("the database URL is not of the form postgres://user:password@host:port/database")]
    Url,
    /// The URL asks for a way of encrypting that there is none of.
    #[error("the sslmode of the database URL is none of disable, allow, prefer, require, verify-ca and verify-full")]
    SslMode,
    /// The server did not let us in.
    #[error("cannot connect to the database: {0}")]
    Connect(#[source] sqlx::Error),
    /// A migration failed.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// What is in it is not all there is.
    #[error(
        "the database holds a migration from another store that has not ended well: run `callboard migrate-store` again"
    )]
    HalfMigrated,
}

/// An opened database.
pub(super) struct Opened {
    pub(super) connect: Connector,
    pub(super) lanes: u32,
    pub(super) readers: Pool,
    pub(super) control: Pool,
    /// The channel of this installation's notices.
    pub(super) channel: String,
}

/// Whether a database could be looked for there.
///
/// # Errors
/// What is wrong with the URL.
pub fn check_url(url: &str) -> Result<(), PostgresOpenError> {
    read_url(url).map(drop)
}

fn read_url(url: &str) -> Result<PgConnectOptions, PostgresOpenError> {
    // The library takes any scheme, and then looks for a host of that name.
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return Err(PostgresOpenError::Url);
    }
    PgConnectOptions::from_str(url).map_err(|error| {
        if error.to_string().contains("ssl_mode") {
            PostgresOpenError::SslMode
        } else {
            PostgresOpenError::Url
        }
    })
}

pub(super) async fn open(options: &PostgresOptions, activity: &Arc<Activity>) -> Result<Opened, PostgresOpenError> {
    let connect = read_url(&options.url)?.application_name("callboard");
    let connect = Connector {
        options: Arc::new(connect),
        longest_standstill: options.longest_standstill,
        activity: activity.clone(),
    };
    // Whoever starts is told by the error; nothing waits yet.
    let mut connection = connect.attempt().await.map_err(PostgresOpenError::Connect)?;
    migrate(&mut connection).await.map_err(PostgresOpenError::Migrate)?;
    let is_half_migrated: bool = sqlx::query_scalar(IS_HALF_MIGRATED)
        .fetch_one(&mut connection)
        .await
        .map_err(PostgresOpenError::Connect)?;
    if is_half_migrated {
        return Err(PostgresOpenError::HalfMigrated);
    }
    let granted: i64 = sqlx::query_scalar(GRANTED)
        .fetch_one(&mut connection)
        .await
        .map_err(PostgresOpenError::Connect)?;
    let schema: String = sqlx::query_scalar("SELECT current_schema()::text")
        .fetch_one(&mut connection)
        .await
        .map_err(PostgresOpenError::Connect)?;
    let Shares {
        lanes,
        control,
        readers,
    } = share(granted, options.connections, options.lanes);
    let used = lanes + control + LISTENING + readers;
    tracing::info!(
        wanted = options.connections,
        granted,
        used,
        writers = lanes,
        readers,
        control,
        "database connections at most{}",
        if used < options.connections {
            ", clamped to what the server grants"
        } else {
            ""
        }
    );
    // The work is done; how the connection ends does not matter.
    let _ = connection.close().await;
    let pool = |connections: u32| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(options.acquire_timeout)
            // A wait that fails is told of by whoever waited.
            .acquire_slow_level(LevelFilter::Debug)
            .after_connect({
                let connect = connect.clone();
                move |connection, _| {
                    let connect = connect.clone();
                    Box::pin(async move { connect.prepare(connection).await })
                }
            })
    };
    // Whoever needs one of these asks again: an attempt to connect into a network that swallows it must not hold up the next one.
    let kept = pool(control)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None);
    Ok(Opened {
        lanes,
        readers: Pool::new(
            pool(readers)
                .idle_timeout(IDLE)
                .connect_lazy_with(PgConnectOptions::clone(&connect.options)),
            connect.clone(),
            activity.clone(),
        ),
        control: Pool::new(
            kept.connect_lazy_with(PgConnectOptions::clone(&connect.options)),
            connect.clone(),
            activity.clone(),
        ),
        // Two installations in one database have different schemas.
        channel: format!("callboard_{schema}"),
        connect,
    })
}

/// Makes connections that belong to no pool.
#[derive(Clone)]
pub(super) struct Connector {
    options: Arc<PgConnectOptions>,
    longest_standstill: Duration,
    activity: Arc<Activity>,
}

/// Without the options: they hold the password.
impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Connector")
    }
}

impl Connector {
    #[cfg(test)]
    pub(super) fn for_tests(options: PgConnectOptions, activity: Arc<Activity>) -> Self {
        Self {
            options: Arc::new(options),
            longest_standstill: Duration::from_secs(5),
            activity,
        }
    }

    /// A pool for one listener, which must not be used for another after that one: nobody can say whether its connection came back.
    pub(super) fn pool_of_one(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(LISTENING)
            .acquire_timeout(CONNECT_TIMEOUT)
            .acquire_slow_level(LevelFilter::Debug)
            .connect_lazy_with(PgConnectOptions::clone(&self.options))
    }

    /// A connection that is ready for work. Whether it could be made is noted.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let connected = self.attempt().await;
        match &connected {
            Ok(_) => self.activity.reached.succeeds(),
            Err(error) => self.activity.reached.fails(&error.to_string()),
        }
        connected
    }

    async fn attempt(&self) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut connection = self.options.connect().await?;
            self.prepare(&mut connection).await?;
            Ok(connection)
        };
        let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_elapsed| Err(timed_out()))
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let milliseconds = self.longest_standstill.as_millis();
        // The text is made of a number.
        let set = AssertSqlSafe(format!("SET idle_in_transaction_session_timeout = {milliseconds}"));
        sqlx::query(set).execute(connection).await?;
        Ok(())
    }
}

/// Under a lock of the database's, so that of several instances one migrates and the others find it done. A database that is newer
/// than this program is served: an older instance runs on while newer ones start.
pub(in crate::store) async fn migrate(connection: &mut PgConnection) -> Result<(), sqlx::migrate::MigrateError> {
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrations.set_ignore_missing(true);
    // `run` is not general enough over lifetimes for a future that is spawned.
    migrations.run_direct(None, connection, false).await
}

/// How many connections do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) lanes: u32,
    pub(super) control: u32,
    pub(super) readers: u32,
}

/// Shares out what is wanted, as far as the server grants it: at least one of each kind, lanes and control at most a third each.
pub(super) fn share(granted: i64, wanted: u32, lanes: u32) -> Shares {
    let granted = u32::try_from((granted - MARGIN).max(0)).unwrap_or(u32::MAX);
    let connections = wanted.min(granted).saturating_sub(LISTENING).max(3);
    let lanes = lanes.clamp(1, connections / 3);
    let control = CONTROL.clamp(1, connections / 3);
    Shares {
        lanes,
        control,
        readers: connections - lanes - control,
    }
}
