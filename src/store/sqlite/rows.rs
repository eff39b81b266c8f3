//! Columns of SQLite's rows. What they mean is said in [`crate::store::rows`].

use callboard_actors::ports::StoreError;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

pub(super) use crate::store::rows::*;

/// What [`run_record`] reads, for the `RETURNING` of an `UPDATE runs`.
macro_rules! returned_run_columns {
    () => {
        "id, account, tier, state, epoch, next_seq, reserved_seq, steps, input_tokens, output_tokens, cached_input_tokens, \
         cache_write_input_tokens, reasoning_tokens, cost_nanos, error, waiting, calls, \
         created_at, started_at, ended_at, queue_deadline, history, \
         (SELECT spec FROM run_specs WHERE run_specs.run_id = runs.id) AS spec"
    };
}
pub(super) use returned_run_columns;

columns_by_get!(SqliteRow);

pub(super) fn get<'row, T>(row: &'row SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'row, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column)
        .map_err(|error| StoreError::Damaged(error.to_string()))
}
