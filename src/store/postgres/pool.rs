//! A pool whose connections can be trusted: one that was lost in the middle of something never comes back.
//!
//! The pool of sqlx looks at a connection that is given back by asking the server something, without a limit of time. If the network
//! has swallowed it, that takes for ever, and its place in the pool is gone. So a connection whose work did not end well is closed
//! instead, and nobody waits for that.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use callboard_actors::ports::StoreError;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgRow};

use super::failure::store_error;
use super::reads::Statement;

/// How long one piece of work may take on a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lends connections.
#[derive(Debug, Clone)]
pub(super) struct Pool(PgPool);

/// A lent connection; closed when it is dropped, unless it was given back.
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    is_well: bool,
}

impl Pool {
    pub(super) fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub(super) fn inner(&self) -> &PgPool {
        &self.0
    }

    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let connection = self.0.acquire().await.map_err(store_error)?;
        Ok(Lent {
            connection,
            is_well: false,
        })
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
