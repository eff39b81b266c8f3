//! Moves what is in the write-ahead log into the database, beside the writer.
//!
//! Left to itself SQLite does that on the connection whose commit made the log too long, and that commit, with every write behind it,
//! waits for hundreds of pages and two `fsync`s. A passive checkpoint on a connection of its own holds nobody up. The writer's own
//! checkpoint stays as the backstop for a log that grows all the same; what is left for it then is little.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::store::activity::Activity;

/// How often it is looked whether there is something to move.
const INTERVAL: Duration = Duration::from_millis(100);
/// Commits that are worth a checkpoint; a commit is a few pages.
const COMMITS: u64 = 200;

/// The task that makes the checkpoints.
#[derive(Debug)]
pub(super) struct Checkpointer {
    stop: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Checkpointer {
    pub(super) fn start(options: SqliteConnectOptions, activity: Arc<Activity>, runtime: &Handle) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = runtime.spawn(serve(options, activity, stopped));
        Self {
            stop,
            task: tokio::sync::Mutex::new(Some(task)),
        }
    }

    /// Returns when its connection is closed: the last connection to close empties the log, and that is to be the writer's.
    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.lock().await.take() {
            // A task that broke has no connection either.
            let _ = task.await;
        }
    }
}

async fn serve(options: SqliteConnectOptions, activity: Arc<Activity>, mut stopped: watch::Receiver<bool>) {
    let mut connection = None;
    let mut moved = 0;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // An error means that the store is gone without having been closed.
            _ = stopped.wait_for(|stop| *stop) => break,
            _ = ticks.tick() => {}
        }
        let commits = activity.commits();
        if commits - moved < COMMITS {
            continue;
        }
        match checkpoint(&mut connection, &options).await {
            Ok(()) => moved = commits,
            Err(error) => {
                // The writer meets the same trouble and reports it to those who wait; its own checkpoints go on.
                tracing::debug!(%error, "a checkpoint could not be made");
                connection = None;
            }
        }
    }
    if let Some(connection) = connection {
        // Nothing was written on it.
        let _ = connection.close().await;
    }
}

async fn checkpoint(
    connection: &mut Option<SqliteConnection>,
    options: &SqliteConnectOptions,
) -> Result<(), sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        closed => closed.insert(options.connect().await?),
    };
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(connection)
        .await?;
    Ok(())
}
