//! The target: a PostgreSQL database that is empty or holds an earlier attempt of the same migration.

use std::str::FromStr;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row as _};

use super::error::MigrationError;
use super::row::{Row, Value};
use super::tables::{COPIED, Kind, SET_PLACES, Table};
use crate::store::postgres::PostgresOpenError;
use crate::store::postgres::open::{self, CONNECT_TIMEOUT};

/// One writes or reads; the other is for what comes in between.
const CONNECTIONS: u32 = 2;

/// Rows that are read with one statement.
const PAGE: u32 = 2000;

const HAS_TABLE: &str = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
                         WHERE table_schema = current_schema() AND table_name = $1)";
const VERSIONS: &str = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";

/// An open target.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pool: PgPool,
}

impl Target {
    /// Connects. Changes nothing.
    pub(super) async fn connect(url: &str) -> Result<Self, MigrationError> {
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| PostgresOpenError::Url)?
            .application_name("callboard migrate-store");
        // Alone, because a pool tries again for half a minute before it says that nobody answers.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, connect.connect());
        let first = first
            .await
            .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            .map_err(PostgresOpenError::Connect)?;
        // It has answered; how the connection ends does not matter.
        let _ = first.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy_with(connect);
        let target = Self { pool };
        target.check_schema().await?;
        Ok(target)
    }

    pub(super) async fn has_table(&self, name: &str) -> Result<bool, MigrationError> {
        let found = sqlx::query_scalar(HAS_TABLE).bind(name).fetch_one(&self.pool).await;
        found.map_err(target_error("the schema"))
    }

    /// No version of the schema is there that this program does not know. None at all is fine.
    async fn check_schema(&self) -> Result<(), MigrationError> {
        if !self.has_table("_sqlx_migrations").await? {
            return Ok(());
        }
        let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(VERSIONS)
            .fetch_all(&self.pool)
            .await
            .map_err(target_error("the versions"))?;
        for (version, checksum) in applied {
            let known = open::MIGRATIONS.iter().find(|known| known.version == version);
            if known.is_none_or(|known| *known.checksum != checksum[..]) {
                return Err(MigrationError::TargetNewer { version });
            }
        }
        Ok(())
    }

    /// Makes the tables that are missing.
    pub(super) async fn make_tables(&self) -> Result<(), MigrationError> {
        let mut connection = self.pool.acquire().await.map_err(target_error("the schema"))?;
        open::migrate(&mut connection)
            .await
            .map_err(PostgresOpenError::Migrate)?;
        Ok(())
    }

    /// The key of the last row that was copied, if any was.
    pub(super) async fn last_key(&self, table: &Table) -> Result<Option<Row>, MigrationError> {
        let row = sqlx::query(AssertSqlSafe(table.select_last_key()))
            .fetch_optional(&self.pool)
            .await
            .map_err(target_error(table.name))?;
        row.map(|row| read_columns(&row, table, table.key))
            .transpose()
            .map_err(target_error(table.name))
    }

    /// All or none of them.
    pub(super) async fn insert(&self, table: &Table, rows: Vec<Row>) -> Result<(), MigrationError> {
        let mut columns: Vec<Vec<Value>> = table.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let mut query = sqlx::query::<Postgres>(AssertSqlSafe(table.insert_into_target()));
        for (column, values) in table.columns.iter().zip(columns) {
            query = bind_array(query, column.kind, values);
        }
        query.execute(&self.pool).await.map_err(target_error(table.name))?;
        Ok(())
    }

    /// All rows in the order of their keys. They are read as they are taken.
    pub(super) fn rows(&self, table: &'static Table) -> TargetRows<'_> {
        TargetRows {
            target: self,
            table,
            page: self.page(table, None),
            taken: 0,
            last_key: None,
        }
    }

    fn page(&self, table: &'static Table, after: Option<&[Value]>) -> BoxStream<'_, Result<Row, MigrationError>> {
        let select = AssertSqlSafe(table.select_from_target(after.is_some()));
        let mut query = sqlx::query::<Postgres>(select).bind(i64::from(PAGE));
        for value in after.unwrap_or_default() {
            query = match value {
                Value::Null => query.bind(None::<i64>),
                Value::Number(number) => query.bind(*number),
                Value::Text(text) => query.bind(text.clone()),
                Value::Bytes(bytes) => query.bind(bytes.clone()),
            };
        }
        let rows = query.fetch(&self.pool);
        Box::pin(
            rows.and_then(async |row| read_columns(&row, table, table.columns.len()))
                .map_err(target_error(table.name)),
        )
    }

    /// Works out what only the target has, from the rows that were copied.
    pub(super) async fn derive(&self) -> Result<(), MigrationError> {
        let set = sqlx::query(SET_PLACES).execute(&self.pool).await;
        set.map_err(target_error("the places in line"))?;
        for table in COPIED {
            // So many rows came at once that the planner's statistics are of an empty table.
            let analyze = AssertSqlSafe(format!("ANALYZE {}", table.name));
            let analyzed = sqlx::query(analyze).execute(&self.pool).await;
            analyzed.map_err(target_error(table.name))?;
        }
        Ok(())
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}

/// The rows of a table of the target, read page by page.
pub(super) struct TargetRows<'a> {
    target: &'a Target,
    table: &'static Table,
    page: BoxStream<'a, Result<Row, MigrationError>>,
    /// Of this page.
    taken: u32,
    last_key: Option<Row>,
}

impl TargetRows<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Row>, MigrationError> {
        loop {
            if let Some(row) = self.page.try_next().await? {
                self.taken += 1;
                self.last_key = Some(row[..self.table.key].to_vec());
                return Ok(Some(row));
            }
            if self.taken < PAGE {
                return Ok(None);
            }
            self.page = self.target.page(self.table, self.last_key.as_deref());
            self.taken = 0;
        }
    }
}

/// The first `count` columns of a row.
fn read_columns(row: &PgRow, table: &Table, count: usize) -> Result<Row, sqlx::Error> {
    let mut values = Vec::with_capacity(count);
    for (index, column) in table.columns.iter().take(count).enumerate() {
        let value = match column.kind {
            Kind::Number | Kind::Flag => row.try_get::<Option<i64>, _>(index)?.map(Value::Number),
            Kind::Text => row.try_get::<Option<String>, _>(index)?.map(Value::Text),
            Kind::Bytes => row.try_get::<Option<Vec<u8>>, _>(index)?.map(Value::Bytes),
        };
        values.push(value.unwrap_or(Value::Null));
    }
    Ok(values)
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds the values of a column as an array; what is not of the column's kind was NULL.
fn bind_array(query: Statement<'_>, kind: Kind, values: Vec<Value>) -> Statement<'_> {
    let values = values.into_iter();
    match kind {
        Kind::Number | Kind::Flag => query.bind(values.map(Value::number).collect::<Vec<_>>()),
        Kind::Text => query.bind(values.map(Value::text).collect::<Vec<_>>()),
        Kind::Bytes => query.bind(values.map(Value::bytes).collect::<Vec<_>>()),
    }
}

pub(super) fn target_error(what: &'static str) -> impl Fn(sqlx::Error) -> MigrationError {
    move |source| MigrationError::Target { what, source }
}
