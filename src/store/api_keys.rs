//! Reading API keys: the same for SQLite and PostgreSQL.

use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::KeyRecord;

use crate::store::reading::{ReadRows, Value};
use crate::store::rows;

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT api_keys.id, api_keys.account, accounts.tier, api_keys.secret_hash, api_keys.last_four, \
             CAST(api_keys.is_admin AS BIGINT) AS is_admin, api_keys.created_at, api_keys.revoked_at \
             FROM api_keys JOIN accounts ON accounts.account = api_keys.account ",
            $rest
        )
    };
}

const HAS_KEYS: &str = "SELECT 1 FROM api_keys LIMIT 1";

/// As [`Store::list_keys`](callboard_actors::ports::Store::list_keys).
pub(super) async fn list(readers: &impl ReadRows) -> Result<Vec<KeyRecord>, StoreError> {
    let found = readers
        .read_rows(select_keys!("ORDER BY api_keys.id"), Vec::new())
        .await?;
    found.iter().map(rows::key_record).collect()
}

/// As [`Store::find_key`](callboard_actors::ports::Store::find_key).
pub(super) async fn find(readers: &impl ReadRows, secret_hash: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
    let values = vec![Value::Bytes(secret_hash.to_vec())];
    let found = readers
        .read_row(select_keys!("WHERE api_keys.secret_hash = $1"), values)
        .await?;
    found.as_ref().map(rows::key_record).transpose()
}

/// As [`Store::has_keys`](callboard_actors::ports::Store::has_keys).
pub(super) async fn are_there(readers: &impl ReadRows) -> Result<bool, StoreError> {
    Ok(readers.read_row(HAS_KEYS, Vec::new()).await?.is_some())
}
