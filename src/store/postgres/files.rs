//! Port `Files`: each change of what an account has is a short transaction under the lock of the account's row of `file_usage`.

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, FileId, FileObjectId};
use callboard_actors::ports::files::{
    FileQuery, FileQuota, FileRecord, FileUsage, GarbageObject, KeepOutcome, NewFile,
};
use callboard_actors::ports::{Files, StoreError};
use callboard_actors::time::Timestamp;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::budgets::Counted;
use super::reads::Statement;
use super::rows::IdBytes;
use crate::store::file_changes::{self, FileTransaction};
use crate::store::files;
use crate::store::reading::{Value, with_values};

/// All instances do it: in one order, and what another has at this moment it leaves to it.
const GIVE_UP_OLD: &str = "\
    UPDATE file_objects SET state = 'garbage' WHERE id IN (\
        SELECT id FROM file_objects WHERE state = 'writing' AND created_at < $1 ORDER BY id FOR UPDATE SKIP LOCKED)";

impl FileTransaction for Counted<'_> {
    type Row = PgRow;
    type Failure = StoreError;

    const LOCK: &'static str = "SELECT files, bytes FROM file_usage WHERE account = $1 FOR UPDATE";

    async fn execute(&mut self, text: &'static str, values: Vec<Value<'_>>) -> Result<u64, StoreError> {
        Counted::execute(self, with_values!(text, values)).await
    }

    async fn row(&mut self, text: &'static str, values: Vec<Value<'_>>) -> Result<Option<PgRow>, StoreError> {
        Counted::row(self, with_values!(text, values)).await
    }
}

impl PostgresStore {
    async fn change_objects(&self, statement: Statement<'_>) -> Result<(), StoreError> {
        self.activity.count_statements(1);
        self.readers.pool().execute(statement).await?;
        Ok(())
    }
}

#[async_trait]
impl Files for PostgresStore {
    async fn begin_object(&self, object: FileObjectId, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        let values = files::begun(object, account, at);
        self.change_objects(with_values!(files::BEGIN_OBJECT, values)).await
    }

    async fn keep_file(&self, file: NewFile, quota: FileQuota) -> Result<KeepOutcome, StoreError> {
        self.in_transaction(async |transaction| file_changes::keep(transaction, &file, quota).await)
            .await
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
        self.in_transaction(async |transaction| file_changes::delete(transaction, account, file).await)
            .await
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
        let give_up = sqlx::query(GIVE_UP_OLD).bind(begun_before.as_micros());
        self.change_objects(give_up).await
    }

    async fn garbage(&self, after: Option<GarbageObject>, limit: u32) -> Result<Vec<GarbageObject>, StoreError> {
        files::garbage(&self.readers, after, limit).await
    }

    async fn give_up_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.change_objects(sqlx::query(files::GIVE_UP).bind(object.id_bytes()))
            .await
    }

    async fn forget_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.change_objects(sqlx::query(files::FORGET).bind(object.id_bytes()))
            .await
    }
}
