//! The source: a SQLite file that nobody serves, as it was at one moment.

use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _, Sqlite};

use super::error::MigrationError;
use super::progress::{Phase, Progress, Teller};
use super::row::{Row, TableHash, Value, hash_row};
use super::tables::{COPIED, Kind, Table};
use crate::store::sqlite::open::{self, DatabaseLock};
use crate::store::sqlite::{SqliteOptions, StoreOpenError};

/// Rows that SQLite's thread reads ahead; each may have megabytes.
const ROWS_AHEAD: usize = 16;

const HAS_MIGRATIONS: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'";
const MIGRATIONS: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
/// When its first tables were made and how many nanoseconds that took: what tells one installation from another, however often its
/// file is copied.
const ORIGIN: &str = "SELECT CAST(installed_on AS TEXT), execution_time FROM _sqlx_migrations ORDER BY version LIMIT 1";
/// Changes when another connection has committed something. Within a transaction it stays as it is.
const DATA_VERSION: &str = "PRAGMA data_version";
const SIZE: &str = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

/// An open source. All reads see the moment it was opened.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    connection: SqliteConnection,
    data_version: i64,
    lock: Option<DatabaseLock>,
}

impl Source {
    /// Keeps servers out until it is dropped. Nothing in the file is changed.
    pub(super) async fn open(options: &SqliteOptions) -> Result<Self, MigrationError> {
        let options = existing(options)?;
        let lock = lock(&options).await?;
        Self::connect(&options, Some(lock)).await
    }

    /// For a look only: a server may be at work on it.
    pub(super) async fn look_into(options: &SqliteOptions) -> Result<Self, MigrationError> {
        let options = existing(options)?;
        let at_once = SqliteOptions {
            lock_timeout: Duration::ZERO,
            ..options
        };
        let lock = match lock(&at_once).await {
            Err(MigrationError::SourceServed { .. }) => None,
            other => Some(other?),
        };
        Self::connect(&at_once, lock).await
    }

    async fn connect(options: &SqliteOptions, lock: Option<DatabaseLock>) -> Result<Self, MigrationError> {
        let connect = SqliteConnectOptions::new()
            .filename(&options.path)
            .read_only(true)
            .busy_timeout(options.busy_timeout)
            .row_buffer_size(ROWS_AHEAD)
            .disable_statement_logging();
        let mut connection = connect.connect().await.map_err(|source| StoreOpenError::Database {
            path: options.path.clone(),
            source,
        })?;
        check_schema(&mut connection, options).await?;
        let begin = async {
            sqlx::query("BEGIN").execute(&mut connection).await?;
            // The transaction's moment is that of its first read.
            sqlx::query(ORIGIN).fetch_one(&mut connection).await?;
            sqlx::query_scalar(DATA_VERSION).fetch_one(&mut connection).await
        };
        let data_version = begin.await.map_err(read_error("the state"))?;
        Ok(Self {
            path: options.path.clone(),
            connection,
            data_version,
            lock,
        })
    }

    /// Whether a server has the file.
    pub(super) fn is_served(&self) -> bool {
        self.lock.is_none()
    }

    /// Which installation it is.
    pub(super) async fn identity(&mut self) -> Result<[u8; 32], MigrationError> {
        let origin: (String, i64) = sqlx::query_as(ORIGIN)
            .fetch_one(&mut self.connection)
            .await
            .map_err(read_error("the versions"))?;
        Ok(hash_row(&[Value::Text(origin.0), Value::Number(origin.1)]))
    }

    /// What it has, in few bytes: all that is short, and how many rows there are of all that is long. Whatever a server writes changes one of
    /// them, because seqs and the number of items stand in the run's row.
    pub(super) async fn state(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<[u8; 32], MigrationError> {
        let mut parts = Vec::new();
        for table in COPIED {
            let count = self.count(table, None).await?;
            if !table.is_narrow {
                parts.push(Value::Text(count.to_string()));
                continue;
            }
            let mut teller = Teller::new(Phase::Reading, table, count, progress);
            let mut hash = TableHash::default();
            let mut rows = self.rows(table, None);
            while let Some(row) = rows.try_next().await? {
                hash.add(&row);
                teller.add_row();
            }
            teller.finish();
            parts.push(Value::Text(hash.to_string()));
        }
        Ok(hash_row(&parts))
    }

    /// Bytes of the database.
    pub(super) async fn size(&mut self) -> Result<u64, MigrationError> {
        let bytes: i64 = sqlx::query_scalar(SIZE)
            .fetch_one(&mut self.connection)
            .await
            .map_err(read_error("the size"))?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// How many rows [`Source::rows`] gives.
    pub(super) async fn count(&mut self, table: &Table, after: Option<&[Value]>) -> Result<u64, MigrationError> {
        let query = bind_key(
            sqlx::query(AssertSqlSafe(table.count_in_source(after.is_some()))),
            after,
        );
        let counted = query.fetch_one(&mut self.connection).await;
        let count: i64 = counted.and_then(|row| row.try_get(0)).map_err(read_error(table.name))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The rows above this key, or all, in the order of their keys. They are read as they are taken.
    pub(super) fn rows<'a>(
        &'a mut self,
        table: &'static Table,
        after: Option<&[Value]>,
    ) -> BoxStream<'a, Result<Row, MigrationError>> {
        let query = sqlx::query(AssertSqlSafe(table.select_from_source(after.is_some())));
        let rows = bind_key(query, after).fetch(&mut self.connection);
        Box::pin(
            rows.and_then(async |row| read_row(&row, table))
                .map_err(read_error(table.name)),
        )
    }

    /// Makes sure that nobody has written to it since it was opened. It cannot be read after that.
    pub(super) async fn check_unchanged(&mut self) -> Result<(), MigrationError> {
        let end = async {
            sqlx::query("COMMIT").execute(&mut self.connection).await?;
            sqlx::query_scalar::<_, i64>(DATA_VERSION)
                .fetch_one(&mut self.connection)
                .await
        };
        let data_version = end.await.map_err(read_error("the state"))?;
        if data_version == self.data_version {
            return Ok(());
        }
        let path = self.path.clone();
        Err(MigrationError::SourceChanged { path })
    }
}

/// The options with the file's real name. A file that is missing must not come to be.
fn existing(options: &SqliteOptions) -> Result<SqliteOptions, MigrationError> {
    if !options.path.is_file() {
        let path = options.path.clone();
        return Err(MigrationError::NoSource { path });
    }
    Ok(open::with_real_path(options.clone())?)
}

async fn lock(options: &SqliteOptions) -> Result<DatabaseLock, MigrationError> {
    DatabaseLock::acquire(options).await.map_err(|error| match error {
        StoreOpenError::Locked { path } => MigrationError::SourceServed { path },
        other => other.into(),
    })
}

/// The file has exactly the schema that this program knows.
async fn check_schema(connection: &mut SqliteConnection, options: &SqliteOptions) -> Result<(), MigrationError> {
    let path = || options.path.clone();
    let tables: i64 = match sqlx::query_scalar(HAS_MIGRATIONS).fetch_one(&mut *connection).await {
        // SQLite's code for a file that is not its own.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("26") => 0,
        other => other.map_err(read_error("the schema"))?,
    };
    if tables == 0 {
        return Err(MigrationError::NotOurs { path: path() });
    }
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(MIGRATIONS)
        .fetch_all(connection)
        .await
        .map_err(read_error("the versions"))?;
    for (version, checksum) in &applied {
        let known = open::MIGRATIONS.iter().find(|known| known.version == *version);
        if known.is_none_or(|known| *known.checksum != checksum[..]) {
            let (path, version) = (path(), *version);
            return Err(MigrationError::SourceNewer { path, version });
        }
    }
    let lacking = open::MIGRATIONS
        .iter()
        .find(|known| applied.iter().all(|(version, _)| *version != known.version));
    match lacking {
        Some(known) => Err(MigrationError::SourceOlder {
            path: path(),
            version: known.version,
        }),
        None => Ok(()),
    }
}

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind_key<'q>(mut query: Statement<'q>, key: Option<&[Value]>) -> Statement<'q> {
    for value in key.unwrap_or_default() {
        query = match value {
            Value::Null => query.bind(None::<i64>),
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.clone()),
            Value::Bytes(bytes) => query.bind(bytes.clone()),
        };
    }
    query
}

fn read_row(row: &SqliteRow, table: &Table) -> Result<Row, sqlx::Error> {
    let mut values = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let value = match column.kind {
            Kind::Number | Kind::Flag => row.try_get::<Option<i64>, _>(index)?.map(Value::Number),
            Kind::Text => row.try_get::<Option<String>, _>(index)?.map(Value::Text),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(index)?.map(Value::Bytes),
        };
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}

fn read_error(what: &'static str) -> impl Fn(sqlx::Error) -> MigrationError {
    move |source| MigrationError::SourceRead { what, source }
}
