//! How busy a store is, and what trouble it has: noted where it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::StoreUsage;
use sqlx::{Database, Pool};

use super::watch::Watch;

/// What writers and readers share.
#[derive(Debug)]
pub(super) struct Activity {
    statements: AtomicU64,
    commits: AtomicU64,
    /// Writers whose connection is open.
    pub(super) writers_open: AtomicU32,
    /// Writers at work.
    pub(super) writers_busy: AtomicU32,
    writes_waiting: AtomicU64,
    /// Whether connections can be made.
    pub(super) reached: Watch,
    /// Whether what is asked on a connection is answered.
    pub(super) answered: Watch,
    /// Whether writes are taken.
    pub(super) written: Watch,
    /// Whether there is room for what is asked.
    pub(super) roomy: Watch,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            statements: AtomicU64::default(),
            commits: AtomicU64::default(),
            writers_open: AtomicU32::default(),
            writers_busy: AtomicU32::default(),
            writes_waiting: AtomicU64::default(),
            reached: Watch::new("the store is away; runs wait for it", "the store is back"),
            answered: Watch::new("the store does not answer what it is asked", "the store answers again"),
            written: Watch::new(
                "the store takes no writes; runs wait for it",
                "the store takes writes again",
            ),
            roomy: Watch::new(
                "the store has no room for more; requests are refused",
                "the store has room again",
            ),
        }
    }
}

impl Activity {
    /// `BEGIN` and `COMMIT` are not counted here.
    pub(super) fn count_statements(&self, statements: u64) {
        self.statements.fetch_add(statements, Ordering::Relaxed);
    }

    /// `Unavailable`, because too much waits already.
    pub(super) fn has_no_room(&self, reason: &str) -> StoreError {
        self.roomy.fails(reason);
        StoreError::Unavailable(reason.to_owned())
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
