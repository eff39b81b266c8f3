//! The conformance suite on real files, and what only this adapter promises.

mod agents_conformance;
mod archive;
mod budget;
mod budget_conformance;
mod conformance;
mod files;
mod files_conformance;
mod holds;
mod overdue;
mod resilience;
mod threads_conformance;

use std::path::Path;

use tokio::runtime::Handle;

use super::{SqliteOptions, SqliteStore};

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(options(directory), &Handle::current())
        .await
        .expect("opens")
}

/// A test asks what was answered, not what the disk has: without waiting for the disk it says the same.
fn options(directory: &Path) -> SqliteOptions {
    SqliteOptions {
        synchronous: super::Synchronous::Normal,
        ..SqliteOptions::new(directory.join("callboard.sqlite"))
    }
}
