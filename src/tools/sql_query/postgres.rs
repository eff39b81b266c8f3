//! A PostgreSQL: a connection for each statement, so that nothing of one is left for the next, in a transaction that the server itself keeps
//! from writing.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use futures::TryStreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Executor, Row, SqlSafeStr, Statement};

use super::{Bounds, RowCollector, Rows, took_too_long};

/// Bytes of a row, as JSON.
const LARGEST_ROW: usize = 1_000_000;

/// What a statement that reads begins with.
const READING: &[&str] = &["select", "with", "values", "table"];

/// How to connect; `None` if the URL is none.
pub(super) fn connect_options(url: &SecretString, timeout: Duration) -> Option<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url.expose_secret()).ok()?;
    let milliseconds = timeout.as_millis().max(1).to_string();
    let settings = [
        ("default_transaction_read_only", "on"),
        ("statement_timeout", &milliseconds),
        ("idle_in_transaction_session_timeout", &milliseconds),
    ];
    Some(
        options
            .options(settings)
            .application_name("callboard sql_query")
            .statement_cache_capacity(0),
    )
}

/// What the statement reads; the error is a sentence for the model.
pub(super) async fn read(options: &PgConnectOptions, query: &str, bounds: Bounds) -> Result<Rows, String> {
    let query = query.trim().trim_end_matches(';');
    let first = query.trim_start_matches(['(', ' ', '\n', '\t', '\r']);
    let first = first
        .split(|character: char| !character.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    if !READING.iter().any(|word| word.eq_ignore_ascii_case(first)) {
        return Err("only statements that begin with SELECT, WITH, VALUES or TABLE are allowed".to_owned());
    }
    let reading = async {
        let mut connection = options.connect().await.map_err(|error| {
            tracing::warn!(%error, "a database of sql_query does not answer");
            "the database does not answer".to_owned()
        })?;
        let rows = read_rows(&mut connection, query, bounds).await;
        // What is left unread would be read first by a proper goodbye.
        drop(connection);
        rows.map_err(|error| told(&error, bounds))
    };
    tokio::time::timeout(bounds.time, reading)
        .await
        .unwrap_or_else(|_| Err(took_too_long(bounds)))
}

async fn read_rows(connection: &mut PgConnection, query: &str, bounds: Bounds) -> sqlx::Result<Rows> {
    // A statement could make the transaction one that writes, if it were the first; in a savepoint it cannot.
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
    (&mut *transaction).execute("SAVEPOINT reading").await?;
    // By itself first: so it is one whole statement, and what is put around it below stays around it.
    let prepared = (&mut *transaction)
        .prepare(AssertSqlSafe(query.to_owned()).into_sql_str())
        .await?;
    let columns: Vec<String> = prepared
        .columns()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    drop(prepared);
    // The server writes all types as JSON, and no more of a row than there is room for. Columns may have one name.
    let names = (0..columns.len()).map(|index| format!("c{index}"));
    let names = names.collect::<Vec<_>>().join(", ");
    let limit = bounds.rows + 1;
    let around = format!(
        "SELECT left(row_to_json(q)::text, {}) FROM ({query}\n) AS q({names}) LIMIT {limit}",
        LARGEST_ROW + 1
    );
    let width = columns.len();
    let mut collector = RowCollector::new(columns, bounds);
    let mut rows = sqlx::query(AssertSqlSafe(around))
        .persistent(false)
        .fetch(&mut *transaction);
    while let Some(row) = rows.try_next().await? {
        let text: String = row.try_get(0)?;
        if text.len() > LARGEST_ROW {
            return Err(sqlx::Error::Protocol(format!(
                "a row has more than {LARGEST_ROW} bytes"
            )));
        }
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let values = (0..width).map(|index| {
            fields
                .remove(&format!("c{index}"))
                .unwrap_or_else(|| RawValue::NULL.to_owned())
        });
        if !collector.push(values.collect()) {
            break;
        }
    }
    Ok(collector.rows)
}

/// What the database says of a statement helps to write a better one; what is said of connections is ours.
fn told(error: &sqlx::Error, bounds: Bounds) -> String {
    /// What a server says when it ended a statement that took too long.
    const CANCELED: &str = "57014";
    const READ_ONLY: &str = "25006";
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some(CANCELED) => took_too_long(bounds),
            Some(READ_ONLY) => "only statements that read are allowed".to_owned(),
            _ => database.message().to_owned(),
        },
        sqlx::Error::Protocol(problem) if problem.starts_with("a row has") => problem.clone(),
        error => {
            tracing::warn!(%error, "a statement of sql_query failed");
            "the database did not answer".to_owned()
        }
    }
}
