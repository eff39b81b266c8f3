//! What a write can do inside the writer's transaction.

use callboard_actors::ports::StoreError;
use futures::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Either, Sqlite, SqliteConnection};

use super::failure::store_error;
use crate::store::activity::Activity;

/// Why a write was not applied.
#[derive(Debug)]
pub(super) enum WriteFailure {
    /// It was refused, and has changed nothing: the rest of the batch goes on.
    Refused(StoreError),
    /// The transaction may hold half of it: it must be rolled back.
    Broken(StoreError),
}

impl From<sqlx::Error> for WriteFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(store_error(error))
    }
}

/// What does not read back is found after a change as well as before it, so the transaction is given up.
impl From<StoreError> for WriteFailure {
    fn from(error: StoreError) -> Self {
        Self::Broken(error)
    }
}

pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The transaction of a batch, as its writes see it.
#[derive(Debug)]
pub(super) struct WriteTransaction<'c> {
    connection: &'c mut SqliteConnection,
    activity: &'c Activity,
}

impl<'c> WriteTransaction<'c> {
    pub(super) fn new(connection: &'c mut SqliteConnection, activity: &'c Activity) -> Self {
        Self { connection, activity }
    }

    /// Runs statements written in one text in one trip to the database. Says how many rows the first one changed: it is the guard, on
    /// which the ones after it hang by `changes()`. Placeholders are plain `?`, numbered through the whole text (numbered placeholders
    /// with gaps are bound wrongly across statements).
    #[expect(
        deprecated,
        reason = "several statements in one text spare each run a dozen trips to SQLite's thread; if sqlx drops them, they become one trip each"
    )]
    pub(super) async fn guarded(&mut self, statements: Statement<'_>) -> Result<bool, sqlx::Error> {
        let mut results = statements.fetch_many(&mut *self.connection);
        let mut guard_passed = None;
        let mut count = 0;
        while let Some(result) = results.try_next().await? {
            if let Either::Left(done) = result {
                count += 1;
                guard_passed.get_or_insert(done.rows_affected() > 0);
            }
        }
        drop(results);
        self.activity.count_statements(count);
        Ok(guard_passed.unwrap_or(false))
    }

    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<SqliteRow>, sqlx::Error> {
        self.activity.count_statements(1);
        statement.fetch_optional(&mut *self.connection).await
    }

    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, sqlx::Error> {
        self.activity.count_statements(1);
        statement.fetch_all(&mut *self.connection).await
    }

    /// Runs one statement and says how many rows it changed.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        self.activity.count_statements(1);
        Ok(statement.execute(&mut *self.connection).await?.rows_affected())
    }
}
