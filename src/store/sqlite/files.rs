//! Port `Files`.

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, FileId, FileObjectId};
use callboard_actors::ports::files::{
    FileQuery, FileQuota, FileRecord, FileUsage, GarbageObject, KeepOutcome, NewFile,
};
use callboard_actors::ports::{Files, StoreError};
use callboard_actors::time::Timestamp;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::rows::IdBytes;
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;
use crate::store::file_changes::{self, FileTransaction};
use crate::store::files;
use crate::store::reading::{Value, with_values};

const GIVE_UP_OLD: &str = "UPDATE file_objects SET state = 'garbage' WHERE state = 'writing' AND created_at < $1";

impl FileTransaction for WriteTransaction<'_> {
    type Row = SqliteRow;
    type Failure = WriteFailure;

    /// There is one writer.
    const LOCK: &'static str = files::USAGE;

    async fn execute(&mut self, text: &'static str, values: Vec<Value<'_>>) -> Result<u64, WriteFailure> {
        Ok(WriteTransaction::execute(self, with_values!(text, values)).await?)
    }

    async fn row(&mut self, text: &'static str, values: Vec<Value<'_>>) -> Result<Option<SqliteRow>, WriteFailure> {
        Ok(WriteTransaction::row(self, with_values!(text, values)).await?)
    }
}

struct BeginObject {
    object: FileObjectId,
    account: AccountId,
    at: Timestamp,
}

impl Write for BeginObject {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        let values = files::begun(self.object, &self.account, self.at);
        FileTransaction::execute(transaction, files::BEGIN_OBJECT, values).await?;
        Ok(())
    }
}

struct KeepFile {
    file: NewFile,
    quota: FileQuota,
}

impl Write for KeepFile {
    type Answer = KeepOutcome;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<KeepOutcome, WriteFailure> {
        file_changes::keep(transaction, &self.file, self.quota).await
    }
}

struct DeleteFile {
    account: AccountId,
    file: FileId,
}

impl Write for DeleteFile {
    type Answer = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteFailure> {
        file_changes::delete(transaction, &self.account, self.file).await
    }
}

/// Gives up what began to be written before this.
struct GiveUpOld(Timestamp);

impl Write for GiveUpOld {
    type Answer = u64;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u64, WriteFailure> {
        let values = vec![Value::Number(self.0.as_micros())];
        FileTransaction::execute(transaction, GIVE_UP_OLD, values).await
    }
}

/// One statement about one object.
struct OfObject(&'static str, FileObjectId);

impl Write for OfObject {
    type Answer = u64;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u64, WriteFailure> {
        let values = vec![Value::Bytes(self.1.id_bytes())];
        FileTransaction::execute(transaction, self.0, values).await
    }
}

#[async_trait]
impl Files for SqliteStore {
    async fn begin_object(&self, object: FileObjectId, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        let account = account.clone();
        self.writer.submit(BeginObject { object, account, at }).await
    }

    async fn keep_file(&self, file: NewFile, quota: FileQuota) -> Result<KeepOutcome, StoreError> {
        self.writer.submit(KeepFile { file, quota }).await
    }

    async fn file(&self, account: &AccountId, file: FileId) -> Result<Option<FileRecord>, StoreError> {
        files::file(&self.readers, account, file).await
    }

    async fn files(&self, account: &AccountId, wanted: &[FileId]) -> Result<Vec<FileRecord>, StoreError> {
        files::some(&self.readers, account, wanted).await
    }

    async fn list_files(&self, query: FileQuery) -> Result<Vec<FileRecord>, StoreError> {
        files::list(&self.readers, &query).await
    }

    async fn delete_file(&self, account: &AccountId, file: FileId) -> Result<bool, StoreError> {
        let account = account.clone();
        self.writer.submit(DeleteFile { account, file }).await
    }

    async fn file_usage(&self, account: &AccountId) -> Result<FileUsage, StoreError> {
        files::usage_of(&self.readers, account).await
    }

    async fn object_of_content(
        &self,
        account: &AccountId,
        sha256: [u8; 32],
    ) -> Result<Option<FileObjectId>, StoreError> {
        files::object_of_content(&self.readers, account, sha256).await
    }

    async fn give_up_old(&self, begun_before: Timestamp) -> Result<(), StoreError> {
        self.writer.submit(GiveUpOld(begun_before)).await?;
        Ok(())
    }

    async fn garbage(&self, after: Option<GarbageObject>, limit: u32) -> Result<Vec<GarbageObject>, StoreError> {
        files::garbage(&self.readers, after, limit).await
    }

    async fn give_up_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.writer.submit(OfObject(files::GIVE_UP, object)).await?;
        Ok(())
    }

    async fn forget_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.writer.submit(OfObject(files::FORGET, object)).await?;
        Ok(())
    }
}
