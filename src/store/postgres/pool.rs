//! A pool whose connections can be trusted: one that was lost in the middle of something never comes back.
//!
//! The pool of sqlx looks at a connection that is given back by asking the server something, without a limit of time. If the network
//! has swallowed it, that takes for ever, and its place in the pool is gone. So a connection whose work did not end well is closed
//! instead, and nobody waits for that.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{Connection, Postgres};

use super::failure::store_error;
use super::open::Connector;
use super::reads::Statement;
use crate::store::activity::Activity;

/// How long one piece of work may take on a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// After this time without a connection it is looked whether the server lets anybody in.
const SOON: Duration = Duration::from_secs(1);

/// Lends connections.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pool: PgPool,
    server: Arc<Server>,
}

/// Where the connections of a pool go.
#[derive(Debug)]
struct Server {
    connect: Connector,
    /// Held by whoever looks whether the server lets anybody in.
    looking: tokio::sync::Mutex<()>,
    activity: Arc<Activity>,
}

/// A lent connection; closed when it is dropped, unless it was given back.
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    is_well: bool,
    activity: Arc<Activity>,
}

impl Pool {
    pub(super) fn new(pool: PgPool, connect: Connector, activity: Arc<Activity>) -> Self {
        let server = Arc::new(Server {
            connect,
            looking: tokio::sync::Mutex::default(),
            activity,
        });
        Self { pool, server }
    }

    pub(super) fn inner(&self) -> &PgPool {
        &self.pool
    }

    /// A connection, as soon as there is one; at the latest after the pool's time-out `Unavailable`, with the reason why none can be made
    /// or that all are in use. Sooner if the server has been away for a while.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let acquiring = self.pool.acquire();
        tokio::pin!(acquiring);
        if let Ok(acquired) = tokio::time::timeout(SOON, &mut acquiring).await {
            return self.lent(acquired);
        }
        let reached = &self.server.activity.reached;
        if reached.reason_of_long_trouble().is_none() {
            tokio::select! {
                acquired = &mut acquiring => return self.lent(acquired),
                () = self.look() => {}
            }
        }
        loop {
            if let Some(reason) = reached.reason_of_long_trouble() {
                return Err(StoreError::Unavailable(reason));
            }
            if let Ok(acquired) = tokio::time::timeout(SOON, &mut acquiring).await {
                return self.lent(acquired);
            }
        }
    }

    fn lent(&self, acquired: sqlx::Result<PoolConnection<Postgres>>) -> Result<Lent, StoreError> {
        let connection = match acquired {
            Ok(connection) => connection,
            Err(sqlx::Error::PoolTimedOut) => {
                // The pool tries to connect until its time is over, and does not say what came of it.
                let away = self.server.activity.reached.reason().map(StoreError::Unavailable);
                return Err(
                    away.unwrap_or_else(|| self.server.activity.has_no_room("no connection became free in time"))
                );
            }
            Err(error) => {
                if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)) {
                    self.server.activity.reached.fails(&error.to_string());
                }
                return Err(store_error(error));
            }
        };
        self.server.activity.reached.succeeds();
        self.server.activity.roomy.succeeds();
        Ok(Lent {
            connection,
            is_well: false,
            activity: self.server.activity.clone(),
        })
    }

    /// Looks whether the server lets anybody in, which is noted; returns at once if somebody looks already.
    async fn look(&self) {
        let Ok(_alone) = self.server.looking.try_lock() else {
            return;
        };
        if let Ok(connection) = self.server.connect.connect().await {
            // How it ends does not matter.
            let _ = connection.close().await;
        }
    }

    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<PgRow>, StoreError> {
        let mut lent = self.lend().await?;
        let answer = statement.fetch_optional(&mut *lent);
        let answer = within_patience(async { answer.await.map_err(store_error) }).await;
        lent.give_back(answer)
    }

    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let mut lent = self.lend().await?;
        let answer = statement.fetch_all(&mut *lent);
        let answer = within_patience(async { answer.await.map_err(store_error) }).await;
        lent.give_back(answer)
    }

    /// How many rows it changed.
    pub(super) async fn execute(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        let mut lent = self.lend().await?;
        let answer = statement.execute(&mut *lent);
        let answer = within_patience(async { answer.await.map_err(store_error) }).await;
        Ok(lent.give_back(answer)?.rows_affected())
    }
}

/// `Unavailable` if it takes too long.
pub(super) async fn within_patience<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_elapsed| Err(StoreError::Unavailable("the database did not answer in time".into())))
}

impl Lent {
    /// The end of the work. After an error nobody knows how the connection is, so it is not used again.
    pub(super) fn give_back<T>(mut self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.is_well = answer.is_ok();
        match &answer {
            Ok(_) => self.activity.answered.succeeds(),
            Err(StoreError::Unavailable(reason)) => self.activity.answered.fails(reason),
            Err(_) => {}
        }
        answer
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_well {
            self.connection.close_on_drop();
        }
    }
}
