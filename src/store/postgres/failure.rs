//! What errors of the database mean.

use callboard_actors::ports::StoreError;

/// What a failed statement means for the caller: `Damaged` if another try would fail as well, `Unavailable` otherwise. Neither text
/// holds the database's URL.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            StoreError::Damaged(error.to_string())
        }
        sqlx::Error::Database(database) => {
            // Classes 22 (data exception) and 23 (integrity), and 54 (beyond a limit of the server).
            let hopeless = database
                .code()
                .is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)));
            if hopeless {
                StoreError::Damaged(database.message().to_owned())
            } else {
                StoreError::Unavailable(database.message().to_owned())
            }
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}
