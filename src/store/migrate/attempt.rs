//! What the target says of the attempts to move something here. While one has not ended well, no instance serves the target.

use callboard_actors::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::error::MigrationError;
use super::tables::COPIED;
use super::target::{Target, target_error};

const SERVED_BY: &str = "SELECT name FROM instances WHERE lease_until > clock_timestamp() ORDER BY id LIMIT 1";
const IS_NOT_EMPTY: [(&str, &str); 4] = [
    ("runs", "SELECT EXISTS (SELECT 1 FROM runs)"),
    ("keys", "SELECT EXISTS (SELECT 1 FROM api_keys)"),
    ("accounts", "SELECT EXISTS (SELECT 1 FROM accounts)"),
    ("top-ups", "SELECT EXISTS (SELECT 1 FROM budget_top_ups)"),
];
const EARLIER_ATTEMPT: &str = "SELECT source, source_state, state, \
     (extract(epoch FROM COALESCE(ended_at, started_at)) * 1000000)::bigint AS at FROM store_migration";
const BEGIN: &str = "INSERT INTO store_migration (id, source, source_state, state) VALUES (1, $1, $2, 'copying') \
                     ON CONFLICT DO NOTHING";
const BEGIN_AGAIN: &str = "UPDATE store_migration SET source_state = $1, state = 'copying', \
                           started_at = clock_timestamp(), ended_at = NULL";
const MARK: &str = "UPDATE store_migration SET state = $1, ended_at = clock_timestamp()";

/// Which source, and what it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) source: [u8; 32],
    pub(super) state: [u8; 32],
}

/// What a target has of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Empty,
    /// What an attempt copied that was cut off; the source is as it was then.
    Begun,
    /// What an attempt copied that is of no use any more: the source has changed, or the copy was found to be damaged.
    Stale,
    /// All of it; the source is as it was then.
    Moved(Timestamp),
}

impl Target {
    /// What it has. An error if nothing can be moved here.
    pub(super) async fn standing(&self, fingerprint: Fingerprint) -> Result<Standing, MigrationError> {
        if !self.has_table("store_migration").await? {
            return Ok(Standing::Empty);
        }
        let mut connection = self.pool.acquire().await.map_err(target_error("the schema"))?;
        standing(&mut connection, fingerprint).await
    }

    /// Marks it as half migrated, so that no instance serves it from here on, and says what it had before. What is of no use is gone then.
    pub(super) async fn begin(&self, fingerprint: Fingerprint) -> Result<Standing, MigrationError> {
        let broken = target_error("the migration's state");
        let mut transaction = self.pool.begin().await.map_err(&broken)?;
        let found = standing(&mut transaction, fingerprint).await?;
        match found {
            Standing::Begun | Standing::Moved(_) => {}
            Standing::Empty => {
                let begin = sqlx::query(BEGIN).bind(fingerprint.source).bind(fingerprint.state);
                if begin.execute(&mut *transaction).await.map_err(&broken)?.rows_affected() == 0 {
                    return Err(MigrationError::AnotherMigration);
                }
            }
            Standing::Stale => {
                let again = sqlx::query(BEGIN_AGAIN).bind(fingerprint.state);
                again.execute(&mut *transaction).await.map_err(&broken)?;
                let tables: Vec<&str> = COPIED.iter().map(|table| table.name).collect();
                let empty = AssertSqlSafe(format!("TRUNCATE {}", tables.join(", ")));
                sqlx::query(empty).execute(&mut *transaction).await.map_err(&broken)?;
            }
        }
        transaction.commit().await.map_err(&broken)?;
        Ok(found)
    }

    /// Not to be served: it is not what the source is.
    pub(super) async fn mark_damaged(&self) -> Result<(), MigrationError> {
        let mark = sqlx::query(MARK).bind("damaged").execute(&self.pool).await;
        mark.map_err(target_error("the migration's state"))?;
        Ok(())
    }

    /// Instances may serve it.
    pub(super) async fn mark_done(&self) -> Result<(), MigrationError> {
        let mark = sqlx::query(MARK).bind("done").execute(&self.pool).await;
        mark.map_err(target_error("the migration's state"))?;
        Ok(())
    }

    /// An error if an instance is at work here: one that was started before the migration does not know of it.
    pub(super) async fn check_unserved(&self) -> Result<(), MigrationError> {
        let mut connection = self.pool.acquire().await.map_err(target_error("the instances"))?;
        check_unserved(&mut connection).await
    }
}

async fn standing(connection: &mut PgConnection, fingerprint: Fingerprint) -> Result<Standing, MigrationError> {
    let earlier: Option<(Vec<u8>, Vec<u8>, String, i64)> = sqlx::query_as(EARLIER_ATTEMPT)
        .fetch_optional(&mut *connection)
        .await
        .map_err(target_error("the migration's state"))?;
    let Some((source, state, progress, at)) = earlier else {
        check_unserved(connection).await?;
        check_empty(connection).await?;
        return Ok(Standing::Empty);
    };
    let (is_same_source, is_same_state) = (source == fingerprint.source, state == fingerprint.state);
    match (is_same_source, progress.as_str()) {
        (false, "done") => Err(MigrationError::TargetNotEmpty {
            what: "what another file had",
        }),
        (false, _) => Err(MigrationError::AnotherMigration),
        (true, "done") if is_same_state => Ok(Standing::Moved(Timestamp::from_micros(at))),
        (true, "done") => Err(MigrationError::MovedBefore {
            at: Timestamp::from_micros(at),
        }),
        (true, "copying") if is_same_state => Ok(Standing::Begun),
        (true, _) => Ok(Standing::Stale),
    }
}

async fn check_unserved(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let name: Option<String> = sqlx::query_scalar(SERVED_BY)
        .fetch_optional(connection)
        .await
        .map_err(target_error("the instances"))?;
    name.map_or(Ok(()), |name| Err(MigrationError::TargetServed { name }))
}

async fn check_empty(connection: &mut PgConnection) -> Result<(), MigrationError> {
    for (what, question) in IS_NOT_EMPTY {
        let has_some: bool = sqlx::query_scalar(question)
            .fetch_one(&mut *connection)
            .await
            .map_err(target_error(what))?;
        if has_some {
            return Err(MigrationError::TargetNotEmpty { what });
        }
    }
    Ok(())
}
