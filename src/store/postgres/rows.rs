//! Columns of Postgres's rows. What they mean is said in [`crate::store::rows`].

use callboard_actors::ports::StoreError;
use sqlx::Row;
use sqlx::postgres::PgRow;

pub(super) use crate::store::rows::*;

columns_by_get!(PgRow);

pub(super) fn get<'row, T>(row: &'row PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'row, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column)
        .map_err(|error| StoreError::Damaged(error.to_string()))
}
