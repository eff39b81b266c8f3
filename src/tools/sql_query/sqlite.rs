//! A file of SQLite: opened for reading, every time anew. SQLite itself refuses all but reads of the one file, values that are too large, and
//! statements that take too long.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::value::{RawValue, to_raw_value};

use super::{Bounds, RowCollector, Rows, took_too_long};
use crate::blocking::BlockingPool;

/// Bytes of a value, and of a row.
const LARGEST_VALUE: i32 = 1_000_000;

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 1000;

/// How long a statement waits for somebody who writes.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// What says something of tables, and nothing else.
const HARMLESS_PRAGMAS: &[&str] = &[
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Tells a statement that nobody waits for it any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the statement reads; the error is a sentence for the model.
pub(super) async fn read(pool: &BlockingPool, path: PathBuf, query: String, bounds: Bounds) -> Result<Rows, String> {
    let is_abandoned = Arc::<AtomicBool>::default();
    let _abandon = Abandon(is_abandoned.clone());
    let end = Instant::now() + bounds.time;
    let reading = pool.run(move || {
        let is_over = move || is_abandoned.load(Ordering::Relaxed) || Instant::now() >= end;
        read_now(&path, &query, bounds, is_over)
    });
    reading.await.map_err(|_| "the statement could not be run".to_owned())?
}

fn read_now(
    path: &Path,
    query: &str,
    bounds: Bounds,
    is_over: impl FnMut() -> bool + Send + 'static,
) -> Result<Rows, String> {
    let connection = open(path, is_over).map_err(|error| {
        tracing::warn!(%error, "a database of sql_query cannot be opened");
        "the database cannot be opened".to_owned()
    })?;
    read_rows(&connection, query, bounds).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => took_too_long(bounds),
        Some(rusqlite::ErrorCode::AuthorizationForStatementDenied | rusqlite::ErrorCode::ReadOnly) => {
            "only statements that read are allowed".to_owned()
        }
        _ if matches!(error, rusqlite::Error::MultipleStatement) => {
            "there must be one statement, not several".to_owned()
        }
        _ => error.to_string(),
    })
}

fn open(path: &Path, is_over: impl FnMut() -> bool + Send + 'static) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.progress_handler(STEPS, Some(is_over))?;
    connection.authorizer(Some(judge))?;
    Ok(connection)
}

fn judge(context: AuthContext<'_>) -> Authorization {
    let is_allowed = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, .. } => HARMLESS_PRAGMAS
            .iter()
            .any(|harmless| harmless.eq_ignore_ascii_case(pragma_name)),
        _ => false,
    };
    if is_allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

fn read_rows(connection: &Connection, query: &str, bounds: Bounds) -> rusqlite::Result<Rows> {
    let mut statement = connection.prepare(query)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let mut collector = RowCollector::new(columns, bounds);
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..width).map(|index| row.get_ref(index).map(as_json));
        if !collector.push(values.collect::<rusqlite::Result<_>>()?) {
            break;
        }
    }
    Ok(collector.rows)
}

fn as_json(value: ValueRef<'_>) -> Box<RawValue> {
    let written = match value {
        ValueRef::Null => Ok(RawValue::NULL.to_owned()),
        ValueRef::Integer(number) => to_raw_value(&number),
        ValueRef::Real(number) => to_raw_value(&number),
        ValueRef::Text(text) => to_raw_value(&String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => to_raw_value(&format!("[{} bytes]", bytes.len())),
    };
    // Numbers and texts can always be written.
    written.unwrap_or_else(|_| RawValue::NULL.to_owned())
}
