//! How busy the store is, counted where it happens, and what its errors mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use callboard_actors::ports::StoreError;

/// Counters that lanes and readers share.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Statements since the start, without `BEGIN` and `COMMIT`.
    pub(super) statements: AtomicU64,
    /// Transactions committed since the start.
    pub(super) commits: AtomicU64,
    /// Lanes that are connected.
    pub(super) lanes_open: AtomicU32,
    /// Lanes at work.
    pub(super) lanes_busy: AtomicU32,
    writes_waiting: AtomicU64,
}

impl Activity {
    pub(super) fn count_statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
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

/// What a failed statement means for the caller: `Damaged` if another try would fail as well, `Unavailable` otherwise. Neither text
/// holds the database's URL.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection became free in time".into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            StoreError::Damaged(error.to_string())
        }
        sqlx::Error::Database(database) => {
            // Classes 22 (data exception) and 23 (integrity), and 54 (beyond a limit of the server).
            let hopeless = database
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)));
            if hopeless {
                StoreError::Damaged(database.message().to_owned())
            } else {
                StoreError::Unavailable(database.message().to_owned())
            }
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}
