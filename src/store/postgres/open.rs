//! Opens the database: options, what the server grants, migrations.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};

pub(in crate::store) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// What a migration from another store has begun and not ended is not all there is.
const IS_HALF_MIGRATED: &str = "SELECT EXISTS (SELECT 1 FROM store_migration WHERE state <> 'done')";

/// Connections left to others: operators, and the instance that takes this one's place.
const MARGIN: i64 = 3;

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
    /// Connections for reading and for rare writes, at most; opened when needed.
    pub readers: u32,
    /// Writes in one transaction, at most.
    pub commit_batch: usize,
    /// Writes that may wait for a lane; more are refused.
    pub inbox: usize,
    /// How long a read waits for a connection.
    pub acquire_timeout: Duration,
}

impl PostgresOptions {
    /// Options for this database, with the values that the design gives.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lanes: 4,
            readers: 8,
            commit_batch: 256,
            inbox: 4096,
            acquire_timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("lanes", &self.lanes)
            .field("readers", &self.readers)
            .field("commit_batch", &self.commit_batch)
            .finish_non_exhaustive()
    }
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL cannot be read; it is not shown, because it may hold a password.
    #[error("the database URL cannot be read")]
    Url,
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
    pub(super) connect: PgConnectOptions,
    pub(super) lanes: u32,
    pub(super) readers: PgPool,
}

pub(super) async fn open(options: &PostgresOptions) -> Result<Opened, PostgresOpenError> {
    let connect = PgConnectOptions::from_str(&options.url)
        .map_err(|_| PostgresOpenError::Url)?
        .application_name("callboard");
    let mut connection = connect.connect().await.map_err(PostgresOpenError::Connect)?;
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
    let (lanes, readers) = share(granted, options.lanes, options.readers);
    tracing::info!(
        granted,
        lanes,
        readers,
        "database connections, clamped to what the server grants"
    );
    // The work is done; how the connection ends does not matter.
    let _ = connection.close().await;
    let readers = PgPoolOptions::new()
        .max_connections(readers)
        .acquire_timeout(options.acquire_timeout)
        .connect_lazy_with(connect.clone());
    Ok(Opened {
        connect,
        lanes,
        readers,
    })
}

/// Under a lock of the database's, so that of several instances one migrates and the others find it done. A database that is newer
/// than this program is served: an older instance runs on while newer ones start.
pub(in crate::store) async fn migrate(connection: &mut PgConnection) -> Result<(), sqlx::migrate::MigrateError> {
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrations.set_ignore_missing(true);
    migrations.run(connection).await
}

/// Lanes and readers within what the server grants, at least one of each: lanes keep a third.
pub(super) fn share(granted: i64, lanes: u32, readers: u32) -> (u32, u32) {
    let granted = u32::try_from((granted - MARGIN).max(2)).unwrap_or(u32::MAX);
    let lanes = lanes.clamp(1, (granted / 3).max(1));
    (lanes, readers.clamp(1, granted.saturating_sub(lanes).max(1)))
}
