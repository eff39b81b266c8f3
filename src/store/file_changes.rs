//! Changes of what files an account has: what every database decides alike, and the statements, which are the same for all. An adapter
//! brings a transaction, and the lock of an account's files.

use callboard_actors::ids::{AccountId, FileId, FileObjectId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::files::{FileQuota, FileRecord, FileUsage, KeepOutcome, NewFile};

use crate::store::files::{FILE, SAME_CONTENT, file_record, object_id, of_account, usage};
use crate::store::reading::Value;
use crate::store::rows::{self, Columns, IdBytes, signed};

const ADD_USAGE: &str =
    "INSERT INTO file_usage (account, files, bytes) VALUES ($1, 0, 0) ON CONFLICT (account) DO NOTHING";

const CHANGE_USAGE: &str = "UPDATE file_usage SET files = files + $2, bytes = bytes + $3 WHERE account = $1";

const KEEP_OBJECT: &str = "UPDATE file_objects SET state = 'kept', sha256 = $3, bytes = $4, files = 1 \
                           WHERE id = $1 AND account = $2 AND state = 'writing'";
const IS_SURPLUS: &str =
    "UPDATE file_objects SET state = 'garbage' WHERE id = $1 AND account = $2 AND state = 'writing'";

/// Changes nothing that counts; but from here on it stays `writing` until the transaction ends.
const HOLD_OBJECT: &str = "UPDATE file_objects SET files = 0 WHERE id = $1 AND account = $2 AND state = 'writing'";
const IS_LOST: &str = "UPDATE file_objects SET state = 'garbage', files = 0 WHERE id = $1 AND state = 'kept'";
const MOVE_FILES: &str = "UPDATE files SET object_id = $3 WHERE account = $1 AND object_id = $2";
const MORE_FILES: &str = "UPDATE file_objects SET files = files + $2 WHERE id = $1";

const ONE_FILE_MORE: &str = "UPDATE file_objects SET files = files + 1 WHERE id = $1";
const ONE_FILE_LESS: &str = "UPDATE file_objects SET files = files - 1 WHERE id = $1";
const IS_UNUSED: &str = "UPDATE file_objects SET state = 'garbage' WHERE id = $1 AND files = 0 AND state = 'kept'";

const ADD_FILE: &str = "\
    INSERT INTO files (id, account, object_id, filename, media_type, purpose, bytes, sha256, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const REMOVE_FILE: &str = "DELETE FROM files WHERE account = $1 AND id = $2";

/// A transaction of a database.
pub(super) trait FileTransaction {
    type Row: Columns + Send;
    type Failure: From<StoreError>;

    /// Reads the account's usage and lets nobody else change what the account has until the end. `$1` is the account.
    const LOCK: &'static str;

    fn execute(
        &mut self,
        text: &'static str,
        values: Vec<Value<'_>>,
    ) -> impl Future<Output = Result<u64, Self::Failure>> + Send;

    fn row(
        &mut self,
        text: &'static str,
        values: Vec<Value<'_>>,
    ) -> impl Future<Output = Result<Option<Self::Row>, Self::Failure>> + Send;
}

pub(super) async fn keep<T: FileTransaction + Send>(
    transaction: &mut T,
    new: &NewFile,
    quota: FileQuota,
) -> Result<KeepOutcome, T::Failure>
where
    T::Failure: Send,
{
    let used = lock(transaction, &new.account).await?;
    if let Some(row) = transaction.row(FILE, of_account(&new.account, new.id)).await? {
        let file = file_record(&row)?;
        let is_surplus = file.object != new.object;
        return Ok(KeepOutcome::Kept { file, is_surplus });
    }
    let same = vec![Value::Text(new.account.as_str()), Value::Bytes(new.sha256.to_vec())];
    let earlier = match transaction.row(SAME_CONTENT, same).await? {
        Some(row) => Some(object_id(&row, "id")?),
        None => None,
    };
    let grows = if earlier.is_some() { 0 } else { new.bytes };
    if used.files >= quota.files || used.bytes.saturating_add(grows) > quota.bytes {
        return Ok(KeepOutcome::QuotaExceeded(used));
    }
    let settled = match earlier {
        None => keep_object(transaction, new).await?,
        Some(lost) if Some(lost) == new.in_place_of => replace_object(transaction, new, lost).await?,
        Some(_) => transaction.execute(IS_SURPLUS, of_object(new)).await? > 0,
    };
    if !settled {
        return Ok(KeepOutcome::GivenUp);
    }
    let object = earlier.filter(|earlier| Some(*earlier) != new.in_place_of);
    if let Some(earlier) = object {
        let one = vec![Value::Bytes(earlier.id_bytes())];
        transaction.execute(ONE_FILE_MORE, one).await?;
    }
    change_usage(transaction, &new.account, 1, signed(grows)).await?;
    let object = object.unwrap_or(new.object);
    let add = vec![
        Value::Bytes(new.id.id_bytes()),
        Value::Text(new.account.as_str()),
        Value::Bytes(object.id_bytes()),
        Value::Text(&new.filename),
        Value::Text(&new.media_type),
        Value::TextOrNull(new.purpose.as_deref()),
        Value::Number(signed(new.bytes)),
        Value::Bytes(new.sha256.to_vec()),
        Value::Number(new.created_at.as_micros()),
    ];
    transaction.execute(ADD_FILE, add).await?;
    Ok(KeepOutcome::Kept {
        file: FileRecord {
            id: new.id,
            account: new.account.clone(),
            object,
            filename: new.filename.clone(),
            media_type: new.media_type.clone(),
            purpose: new.purpose.clone(),
            bytes: new.bytes,
            sha256: new.sha256,
            created_at: new.created_at,
        },
        is_surplus: object != new.object,
    })
}

/// Makes the new object one that is kept, for one file; false if it was given up.
async fn keep_object<T: FileTransaction + Send>(transaction: &mut T, new: &NewFile) -> Result<bool, T::Failure>
where
    T::Failure: Send,
{
    let mut own = of_object(new);
    own.push(Value::Bytes(new.sha256.to_vec()));
    own.push(Value::Number(signed(new.bytes)));
    Ok(transaction.execute(KEEP_OBJECT, own).await? > 0)
}

/// The same, for all files of one that is lost, too.
async fn replace_object<T: FileTransaction + Send>(
    transaction: &mut T,
    new: &NewFile,
    lost: FileObjectId,
) -> Result<bool, T::Failure>
where
    T::Failure: Send,
{
    if transaction.execute(HOLD_OBJECT, of_object(new)).await? == 0 {
        return Ok(false);
    }
    // First: there is never more than one that is kept with the same content.
    let of_lost = vec![Value::Bytes(lost.id_bytes())];
    transaction.execute(IS_LOST, of_lost).await?;
    if !keep_object(transaction, new).await? {
        return Err(rows::damaged("an object").into());
    }
    let moving = vec![
        Value::Text(new.account.as_str()),
        Value::Bytes(lost.id_bytes()),
        Value::Bytes(new.object.id_bytes()),
    ];
    let moved = transaction.execute(MOVE_FILES, moving).await?;
    let more = vec![Value::Bytes(new.object.id_bytes()), Value::Number(signed(moved))];
    transaction.execute(MORE_FILES, more).await?;
    Ok(true)
}

pub(super) async fn delete<T: FileTransaction + Send>(
    transaction: &mut T,
    account: &AccountId,
    file: FileId,
) -> Result<bool, T::Failure>
where
    T::Failure: Send,
{
    lock(transaction, account).await?;
    let Some(row) = transaction.row(FILE, of_account(account, file)).await? else {
        return Ok(false);
    };
    let record = file_record(&row)?;
    transaction.execute(REMOVE_FILE, of_account(account, file)).await?;
    let object = || vec![Value::Bytes(record.object.id_bytes())];
    transaction.execute(ONE_FILE_LESS, object()).await?;
    let is_unused = transaction.execute(IS_UNUSED, object()).await? > 0;
    let freed = if is_unused { signed(record.bytes) } else { 0 };
    change_usage(transaction, account, -1, -freed).await?;
    Ok(true)
}

async fn lock<T: FileTransaction + Send>(transaction: &mut T, account: &AccountId) -> Result<FileUsage, T::Failure>
where
    T::Failure: Send,
{
    let name = || vec![Value::Text(account.as_str())];
    if let Some(row) = transaction.row(T::LOCK, name()).await? {
        return Ok(usage(&row)?);
    }
    transaction.execute(ADD_USAGE, name()).await?;
    let row = transaction.row(T::LOCK, name()).await?;
    Ok(usage(&row.ok_or_else(|| rows::damaged("a count"))?)?)
}

async fn change_usage<T: FileTransaction + Send>(
    transaction: &mut T,
    account: &AccountId,
    files: i64,
    bytes: i64,
) -> Result<(), T::Failure>
where
    T::Failure: Send,
{
    let values = vec![
        Value::Text(account.as_str()),
        Value::Number(files),
        Value::Number(bytes),
    ];
    transaction.execute(CHANGE_USAGE, values).await?;
    Ok(())
}

/// What statements about the object of a new file bind first.
fn of_object(new: &NewFile) -> Vec<Value<'_>> {
    vec![Value::Bytes(new.object.id_bytes()), Value::Text(new.account.as_str())]
}
