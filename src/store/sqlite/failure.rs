//! What errors of the database mean.

use callboard_actors::ports::StoreError;

/// What SQLite calls a text or blob beyond its limit (`SQLITE_TOOBIG`).
const TOO_BIG: &str = "18";

/// What a failed statement means for the caller: `Damaged` if another try would fail as well, `Unavailable` otherwise.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            StoreError::Damaged(error.to_string())
        }
        sqlx::Error::Database(database) => {
            let hopeless = database.is_unique_violation()
                || database.is_foreign_key_violation()
                || database.is_check_violation()
                || database.code().is_some_and(|code| code == TOO_BIG);
            if hopeless {
                StoreError::Damaged(database.to_string())
            } else {
                StoreError::Unavailable(database.to_string())
            }
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}
