//! The one writer: takes what has gathered in its inbox, commits it as one transaction, then answers each caller.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use callboard_actors::ports::StoreError;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::failure::store_error;
use super::open::{DatabaseLock, FileIdentity};
use super::transaction::{WriteFailure, WriteTransaction};
use crate::store::activity::{Activity, WaitingWrite};

/// A change of the database: a plain struct that knows how to apply itself. It may be applied more than once, if a transaction it
/// was part of failed for another's sake.
pub(super) trait Write: Send + Sync + 'static {
    /// What the caller gets once it is durable.
    type Answer: Send + 'static;

    /// Applies it. A refusal must leave no trace.
    fn apply(
        &self,
        transaction: &mut WriteTransaction<'_>,
    ) -> impl Future<Output = Result<Self::Answer, WriteFailure>> + Send;
}

/// Hands writes to the writer's task.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Command>,
    activity: Arc<Activity>,
}

/// What the writer's task needs to begin.
pub(super) struct WriterParts {
    pub(super) connection: SqliteConnection,
    /// Of the database.
    pub(super) path: PathBuf,
    pub(super) options: SqliteConnectOptions,
    pub(super) activity: Arc<Activity>,
    /// Held until the connection is closed.
    pub(super) lock: Option<DatabaseLock>,
    /// Writes per transaction, at most.
    pub(super) commit_batch: usize,
    /// Writes that may wait.
    pub(super) inbox: usize,
}

enum Command {
    Write(Box<dyn Pending>),
    Close(oneshot::Sender<()>),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Command")
    }
}

impl Writer {
    pub(super) fn start(parts: WriterParts, runtime: &Handle) -> Self {
        let (sender, inbox) = mpsc::channel(parts.inbox.max(1));
        let activity = parts.activity.clone();
        activity.writers_open.store(1, Ordering::Relaxed);
        let task = WriterTask {
            connection: Some(parts.connection),
            file: FileIdentity::of(&parts.path).ok(),
            path: parts.path,
            options: parts.options,
            activity: parts.activity,
            commit_batch: parts.commit_batch.max(1),
            _lock: parts.lock,
        };
        runtime.spawn(task.serve(inbox));
        Self {
            inbox: sender,
            activity,
        }
    }

    /// Returns when the write is durable or refused. `Unavailable` at once if too many are waiting.
    pub(super) async fn submit<W: Write>(&self, write: W) -> Result<W::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let pending = PendingWrite {
            write,
            outcome: None,
            reply,
            waiting: WaitingWrite::new(self.activity.clone()),
        };
        self.inbox
            .try_send(Command::Write(Box::new(pending)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => self.activity.has_no_room("too many writes wait"),
                mpsc::error::TrySendError::Closed(_) => closed(),
            })?;
        self.activity.roomy.succeeds();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Returns when everything submitted before is written and the connection is closed.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.inbox.send(Command::Close(reply)).await.is_ok() {
            // An error means that the task is gone, and the connection with it.
            let _ = closed.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// A write of some kind that waits for its commit.
trait Pending: Send {
    /// Applies it and keeps what came of it; fails if the transaction must be rolled back.
    fn apply<'a>(&'a mut self, transaction: &'a mut WriteTransaction<'_>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Tells the caller, after the commit or its failure.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct PendingWrite<W: Write> {
    write: W,
    outcome: Option<Result<W::Answer, StoreError>>,
    reply: oneshot::Sender<Result<W::Answer, StoreError>>,
    waiting: WaitingWrite,
}

impl<W: Write> Pending for PendingWrite<W> {
    fn apply<'a>(&'a mut self, transaction: &'a mut WriteTransaction<'_>) -> BoxFuture<'a, Result<(), StoreError>> {
        let work = async move {
            self.outcome = None;
            match self.write.apply(transaction).await {
                Ok(answer) => self.outcome = Some(Ok(answer)),
                Err(WriteFailure::Refused(error)) => self.outcome = Some(Err(error)),
                Err(WriteFailure::Broken(error)) => return Err(error),
            }
            Ok(())
        };
        work.boxed()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match committed {
            Ok(()) => self.outcome.unwrap_or_else(|| Err(closed())),
            Err(error) => Err(error),
        };
        drop(self.waiting);
        // A caller that is gone does not need to know.
        let _ = self.reply.send(answer);
    }
}

struct WriterTask {
    /// `None` after a failure, until the next batch.
    connection: Option<SqliteConnection>,
    path: PathBuf,
    /// The file that was opened under this path.
    file: Option<FileIdentity>,
    options: SqliteConnectOptions,
    activity: Arc<Activity>,
    commit_batch: usize,
    _lock: Option<DatabaseLock>,
}

/// Why a batch was not committed; nothing of it was.
enum BatchFailure {
    /// One of its writes broke: the others might do without it.
    Write(StoreError),
    /// No write of it could have been committed.
    Database(StoreError),
}

impl WriterTask {
    async fn serve(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut commands = Vec::with_capacity(self.commit_batch);
        let mut closers = Vec::new();
        while closers.is_empty() && inbox.recv_many(&mut commands, self.commit_batch).await > 0 {
            let mut batch = Vec::with_capacity(commands.len());
            for command in commands.drain(..) {
                match command {
                    Command::Write(pending) => batch.push(pending),
                    Command::Close(reply) => closers.push(reply),
                }
            }
            if !batch.is_empty() {
                self.write(batch).await;
            }
        }
        inbox.close();
        self.disconnect().await;
        // The lock goes before anyone hears of it, so that whoever waits may open the database again.
        drop(self);
        for closer in closers {
            let _ = closer.send(());
        }
    }

    async fn write(&mut self, mut batch: Vec<Box<dyn Pending>>) {
        self.activity.writers_busy.store(1, Ordering::Relaxed);
        let failure = match self.commit(&mut batch).await {
            Ok(()) => None,
            Err(BatchFailure::Write(error)) if batch.len() > 1 => {
                tracing::debug!(%error, writes = batch.len(), "a write broke its transaction; each write gets one of its own");
                for pending in batch.drain(..) {
                    self.write_alone(pending).await;
                }
                None
            }
            Err(BatchFailure::Write(error) | BatchFailure::Database(error)) => {
                self.failed(&error, batch.len());
                Some(error)
            }
        };
        for pending in batch {
            pending.answer(failure.clone().map_or(Ok(()), Err));
        }
        self.activity.writers_busy.store(0, Ordering::Relaxed);
    }

    async fn write_alone(&mut self, pending: Box<dyn Pending>) {
        let mut alone = [pending];
        let committed = self.commit(&mut alone).await;
        let [pending] = alone;
        pending.answer(committed.map_err(|failure| {
            let (BatchFailure::Write(error) | BatchFailure::Database(error)) = failure;
            self.failed(&error, 1);
            error
        }));
    }

    /// A database that takes no writes is told of once; a write that it cannot take is a fault of ours each time.
    fn failed(&self, error: &StoreError, writes: usize) {
        if let StoreError::Unavailable(reason) = error {
            self.activity.written.fails(reason);
            tracing::debug!(reason, writes, "writes could not be committed");
        } else {
            tracing::error!(%error, writes, "writes could not be committed");
        }
    }

    /// Commits all of a batch or nothing. After a failure the connection is closed: the next batch begins with a sound one.
    async fn commit(&mut self, batch: &mut [Box<dyn Pending>]) -> Result<(), BatchFailure> {
        let started = Instant::now();
        let size = batch.len();
        let committed = AssertUnwindSafe(self.transact(batch)).catch_unwind().await;
        let failure = match committed {
            Ok(Ok(())) => {
                self.activity.count_commit();
                self.activity.written.succeeds();
                metrics::histogram!("callboard_store_commit_seconds").record(started.elapsed().as_secs_f64());
                metrics::histogram!("callboard_store_batch_size").record(size as f64);
                return Ok(());
            }
            Ok(Err(failure)) => failure,
            Err(_panic) => BatchFailure::Write(StoreError::Damaged("a write panicked".into())),
        };
        self.disconnect().await;
        Err(failure)
    }

    async fn transact(&mut self, batch: &mut [Box<dyn Pending>]) -> Result<(), BatchFailure> {
        let database = |error: sqlx::Error| BatchFailure::Database(store_error(error));
        // A file that was removed or replaced takes writes all the same, until it is closed: then they are gone.
        if FileIdentity::of(&self.path).ok() != self.file {
            let reason = "the database file was removed or replaced under the server; restart it";
            return Err(BatchFailure::Database(StoreError::Unavailable(reason.into())));
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            closed => {
                let connection = self.options.connect().await.map_err(database)?;
                self.activity.writers_open.store(1, Ordering::Relaxed);
                closed.insert(connection)
            }
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(database)?;
        for pending in batch {
            let mut part = WriteTransaction::new(&mut transaction, &self.activity);
            pending.apply(&mut part).await.map_err(BatchFailure::Write)?;
        }
        transaction.commit().await.map_err(database)
    }

    async fn disconnect(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        self.activity.writers_open.store(0, Ordering::Relaxed);
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, "the writer's connection did not close cleanly");
        }
    }
}
