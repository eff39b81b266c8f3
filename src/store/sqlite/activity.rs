//! How busy the store is, counted where it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use callboard_actors::ports::StoreError;

/// Counters that the writer and the readers share.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Statements run since the start. `BEGIN` and `COMMIT` are counted as commits.
    pub(super) statements: AtomicU64,
    /// Transactions committed since the start.
    pub(super) commits: AtomicU64,
    /// Whether the writer's connection is open.
    pub(super) writer_open: AtomicBool,
    /// Whether the writer works at this moment.
    pub(super) writer_busy: AtomicBool,
    writes_waiting: AtomicU64,
}

impl Activity {
    pub(super) fn count_statements(&self, statements: u64) {
        self.statements.fetch_add(statements, Ordering::Relaxed);
    }

    pub(super) fn writes_waiting(&self) -> u64 {
        self.writes_waiting.load(Ordering::Relaxed)
    }
}

/// One write that waits for its commit; dropping it ends the waiting, whatever went wrong.
#[derive(Debug)]
pub(super) struct WaitingWrite(Arc<Activity>);

impl WaitingWrite {
    pub(super) fn new(activity: Arc<Activity>) -> Self {
        activity.writes_waiting.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for WaitingWrite {
    fn drop(&mut self) {
        self.0.writes_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What SQLite calls a text or blob beyond its limit (`SQLITE_TOOBIG`).
const TOO_BIG: &str = "18";

/// What a failed statement means for the caller: `Damaged` if another try would fail as well, `Unavailable` otherwise.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no reader connection became free in time".into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            StoreError::Damaged(error.to_string())
        }
        sqlx::Error::Database(database) => {
            let hopeless = database.is_unique_violation()
                || database.is_foreign_key_violation()
                || database.is_check_violation()
                || database.code().is_some_and(|code| code == TOO_BIG);
            if hopeless {
                StoreError::Damaged(database.to_string())
            } else {
                StoreError::Unavailable(database.to_string())
            }
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}
