//! How busy a store is, counted where it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use callboard_actors::ports::store::StoreUsage;
use sqlx::{Database, Pool};

/// Counters that writers and readers share.
#[derive(Debug, Default)]
pub(super) struct Activity {
    statements: AtomicU64,
    commits: AtomicU64,
    /// Writers whose connection is open.
    pub(super) writers_open: AtomicU32,
    /// Writers at work.
    pub(super) writers_busy: AtomicU32,
    writes_waiting: AtomicU64,
}

impl Activity {
    /// `BEGIN` and `COMMIT` are not counted here.
    pub(super) fn count_statements(&self, statements: u64) {
        self.statements.fetch_add(statements, Ordering::Relaxed);
    }

    pub(super) fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Since the start.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// With the connections of so many writers and of a pool of readers.
    pub(super) fn usage<DB: Database>(&self, writers: u32, readers: &Pool<DB>) -> StoreUsage {
        let readers_open = readers.size();
        let readers_idle = u32::try_from(readers.num_idle()).unwrap_or(u32::MAX);
        StoreUsage {
            connections_limit: readers.options().get_max_connections() + writers,
            connections_open: readers_open + self.writers_open.load(Ordering::Relaxed),
            connections_busy: readers_open.saturating_sub(readers_idle) + self.writers_busy.load(Ordering::Relaxed),
            writes_waiting: self.writes_waiting.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
            commits: self.commits(),
        }
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
