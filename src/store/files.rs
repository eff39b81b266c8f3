//! Files as the tables keep them: reading, and what is one statement about one object, the same for every database. The changes of what an
//! account has are in [`super::file_changes`].

use callboard_actors::ids::{AccountId, FileId, FileObjectId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::files::{FileQuery, FileRecord, FileUsage, GarbageObject};
use callboard_actors::time::Timestamp;
use uuid::Uuid;

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, Columns, IdBytes};

pub(super) const BEGIN_OBJECT: &str = "\
    INSERT INTO file_objects (id, account, state, bytes, files, created_at) VALUES ($1, $2, 'writing', 0, 0, $3) \
    ON CONFLICT (id) DO NOTHING";

pub(super) const USAGE: &str = "SELECT files, bytes FROM file_usage WHERE account = $1";

macro_rules! select_files {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, object_id, filename, media_type, purpose, bytes, sha256, created_at FROM files WHERE account = $1 AND ",
            $rest
        )
    };
}

pub(super) const FILE: &str = select_files!("id = $2");
const SOME: &str = select_files!("id IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)");
const LIST: &str = select_files!("id < $2 ORDER BY id DESC LIMIT $3");

/// Files that [`SOME`] takes.
const SOME_AT_ONCE: usize = 16;

pub(super) const SAME_CONTENT: &str =
    "SELECT id FROM file_objects WHERE account = $1 AND sha256 = $2 AND state = 'kept'";

pub(super) const GIVE_UP: &str = "UPDATE file_objects SET state = 'garbage' WHERE id = $1 AND state = 'writing'";
const GARBAGE: &str = "SELECT id, created_at FROM file_objects WHERE state = 'garbage' AND (created_at, id) > ($1, $2) \
                       ORDER BY created_at, id LIMIT $3";
pub(super) const FORGET: &str = "DELETE FROM file_objects WHERE id = $1 AND state = 'garbage'";

/// As [`Files::file`](callboard_actors::ports::Files::file).
pub(super) async fn file(
    readers: &impl ReadRows,
    account: &AccountId,
    file: FileId,
) -> Result<Option<FileRecord>, StoreError> {
    let row = readers.read_row(FILE, of_account(account, file)).await?;
    row.as_ref().map(file_record).transpose()
}

/// As [`Files::files`](callboard_actors::ports::Files::files).
pub(super) async fn some(
    readers: &impl ReadRows,
    account: &AccountId,
    wanted: &[FileId],
) -> Result<Vec<FileRecord>, StoreError> {
    let mut found = Vec::new();
    for wanted in wanted.chunks(SOME_AT_ONCE) {
        let mut values = vec![Value::Text(account.as_str())];
        // What is left over at the end asks for the last one again.
        let padded = wanted.iter().chain(std::iter::repeat(&wanted[wanted.len() - 1]));
        values.extend(padded.take(SOME_AT_ONCE).map(|file| Value::Bytes(file.id_bytes())));
        for row in readers.read_rows(SOME, values).await? {
            found.push(file_record(&row)?);
        }
    }
    Ok(found)
}

/// As [`Files::list_files`](callboard_actors::ports::Files::list_files).
pub(super) async fn list(readers: &impl ReadRows, query: &FileQuery) -> Result<Vec<FileRecord>, StoreError> {
    // Above every id there can be.
    let before = query.before.unwrap_or(FileId::from_uuid(Uuid::max()));
    let mut values = of_account(&query.account, before);
    values.push(Value::Number(query.limit.into()));
    readers.read_rows(LIST, values).await?.iter().map(file_record).collect()
}

/// As [`Files::file_usage`](callboard_actors::ports::Files::file_usage).
pub(super) async fn usage_of(readers: &impl ReadRows, account: &AccountId) -> Result<FileUsage, StoreError> {
    let row = readers.read_row(USAGE, vec![Value::Text(account.as_str())]).await?;
    row.as_ref().map(usage).transpose().map(Option::unwrap_or_default)
}

/// As [`Files::object_of_content`](callboard_actors::ports::Files::object_of_content).
pub(super) async fn object_of_content(
    readers: &impl ReadRows,
    account: &AccountId,
    sha256: [u8; 32],
) -> Result<Option<FileObjectId>, StoreError> {
    let values = vec![Value::Text(account.as_str()), Value::Bytes(sha256.to_vec())];
    let row = readers.read_row(SAME_CONTENT, values).await?;
    row.map(|row| object_id(&row, "id")).transpose()
}

/// As [`Files::garbage`](callboard_actors::ports::Files::garbage).
pub(super) async fn garbage(
    readers: &impl ReadRows,
    after: Option<GarbageObject>,
    limit: u32,
) -> Result<Vec<GarbageObject>, StoreError> {
    // Before all that there can be.
    let (begun_at, object) = after.map_or((i64::MIN, Vec::new()), |after| {
        (after.begun_at.as_micros(), after.object.id_bytes())
    });
    let values = vec![
        Value::Number(begun_at),
        Value::Bytes(object),
        Value::Number(limit.into()),
    ];
    let rows = readers.read_rows(GARBAGE, values).await?;
    let found = rows.iter().map(|row| {
        Ok(GarbageObject {
            object: object_id(row, "id")?,
            begun_at: Timestamp::from_micros(row.number("created_at")?),
        })
    });
    found.collect()
}

/// What [`FILE`] binds.
pub(super) fn of_account(account: &AccountId, file: FileId) -> Vec<Value<'_>> {
    vec![Value::Text(account.as_str()), Value::Bytes(file.id_bytes())]
}

/// What [`BEGIN_OBJECT`] binds.
pub(super) fn begun(object: FileObjectId, account: &AccountId, at: Timestamp) -> Vec<Value<'_>> {
    vec![
        Value::Bytes(object.id_bytes()),
        Value::Text(account.as_str()),
        Value::Number(at.as_micros()),
    ]
}

pub(super) fn usage(row: &impl Columns) -> Result<FileUsage, StoreError> {
    Ok(FileUsage {
        files: rows::unsigned(row, "files")?,
        bytes: rows::unsigned(row, "bytes")?,
    })
}

pub(super) fn object_id(row: &impl Columns, column: &'static str) -> Result<FileObjectId, StoreError> {
    Ok(FileObjectId::from_uuid(rows::uuid(row, column)?))
}

pub(super) fn file_record(row: &impl Columns) -> Result<FileRecord, StoreError> {
    Ok(FileRecord {
        id: FileId::from_uuid(rows::uuid(row, "id")?),
        account: rows::account(row)?,
        object: object_id(row, "object_id")?,
        filename: row.text("filename")?.to_owned(),
        media_type: row.text("media_type")?.to_owned(),
        purpose: row.text_or_null("purpose")?.map(str::to_owned),
        bytes: rows::unsigned(row, "bytes")?,
        sha256: rows::hash(row, "sha256")?,
        created_at: Timestamp::from_micros(row.number("created_at")?),
    })
}
