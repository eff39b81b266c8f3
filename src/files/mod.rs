//! Uploaded files: their bytes go into a storage of objects (a folder, a bucket), what is known of them into the store.
//!
//! The order of things, so that a crash leaves nothing visible and nothing behind: an object is written down, then written, then a file is
//! made of it in one transaction. What was written down and became no file, and what no file refers to any more, is garbage, which
//! [`FileService::remove_garbage`] removes: from the storage first, then from the store.
//!
//! Not here: HTTP, and what is in a file.

mod error;
mod images;
mod media_type;
mod storage;
mod transfers;
mod upload;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::ports::files::{FileQuery, FileQuota, FileRecord};
use callboard_actors::ports::{Files, StoreError};
use callboard_actors::time::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;

pub use error::{FileError, UploadError};
pub use media_type::is_image;
pub use storage::{Contents, FileStorage, S3Options, StorageError};
use transfers::Transfers;
pub use transfers::{TooManyTransfers, Transfer, TransferLimits};
pub use upload::{FileFacts, Upload};

/// Objects that are looked for at once.
const GARBAGE_AT_ONCE: u32 = 256;

/// What files may be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of a file.
    pub max_file_bytes: u64,
    /// What an account may have.
    pub quota: FileQuota,
    /// Uploads at once.
    pub uploads: TransferLimits,
    /// Downloads at once.
    pub downloads: TransferLimits,
    /// How long an upload may take. One that has not ended long after that is garbage.
    pub upload_timeout: Duration,
    /// Bytes of a picture that is shown to a model.
    pub max_image_bytes: u64,
}

/// A cheap handle on the files.
#[derive(Clone)]
pub struct FileService(Arc<Shared>);

struct Shared {
    files: Arc<dyn Files>,
    storage: FileStorage,
    limits: FileLimits,
    uploads: Transfers,
    downloads: Transfers,
    deleted: Notify,
    io: Handle,
}

impl FileService {
    /// Files in this storage, known to this store; all work is done on `io`.
    pub fn new(files: Arc<dyn Files>, storage: FileStorage, limits: FileLimits, io: Handle) -> Self {
        Self(Arc::new(Shared {
            uploads: Transfers::new(limits.uploads),
            downloads: Transfers::new(limits.downloads),
            deleted: Notify::new(),
            files,
            storage,
            limits,
            io,
        }))
    }

    /// What files may be like.
    pub fn limits(&self) -> &FileLimits {
        &self.0.limits
    }

    /// The file, if it is the account's.
    pub async fn file(&self, account: &AccountId, file: FileId) -> Result<Option<FileRecord>, StoreError> {
        self.0.files.file(account, file).await
    }

    /// The account's files, newest first.
    pub async fn list(&self, query: FileQuery) -> Result<Vec<FileRecord>, StoreError> {
        self.0.files.list_files(query).await
    }

    /// Forgets the file; false if the account has none with this id. Its bytes are removed soon after, if no other file has the same, by
    /// whoever waits in [`Self::deletion`].
    pub async fn delete(&self, account: &AccountId, file: FileId) -> Result<bool, StoreError> {
        let deleted = self.0.files.delete_file(account, file).await?;
        if deleted {
            self.0.deleted.notify_one();
        }
        Ok(deleted)
    }

    /// Waits until files are deleted; at once if some were since it was asked last. However many they were, that is one answer. One waits.
    pub async fn deletion(&self) {
        self.0.deleted.notified().await;
    }

    /// Begins a download of the account's, which goes on until it is dropped.
    pub fn begin_download(&self, account: &AccountId) -> Result<Transfer, TooManyTransfers> {
        self.0.downloads.begin(account)
    }

    /// What is in the file, from its first byte. [`FileError::Unknown`] if it was deleted meanwhile.
    pub async fn contents(&self, file: &FileRecord) -> Result<Contents, FileError> {
        match self.0.storage.read(file.object).await {
            Ok(contents) => Ok(contents),
            Err(StorageError::NotFound) => Err(self.why_missing(file).await),
            Err(error) => Err(FileError::Storage(error)),
        }
    }

    /// Either somebody deleted the file meanwhile, or its bytes are lost.
    async fn why_missing(&self, file: &FileRecord) -> FileError {
        match self.0.files.file(&file.account, file.id).await {
            // Its bytes may have been written anew since it was looked up: then it is there the next time.
            Ok(Some(found)) => {
                tracing::error!(file_id = %file.id, object_id = %found.object, "the bytes of a file are not in the storage");
                FileError::Lost
            }
            Ok(None) => FileError::Unknown,
            Err(error) => error.into(),
        }
    }

    /// Removes what no file refers to and what uploads left that never ended; says how much. What cannot be removed does not keep the rest
    /// from it; the first of these errors is the answer then. One such pass at a time is enough: see [`Self::deletion`].
    pub async fn remove_garbage(&self) -> Result<u64, FileError> {
        self.0.files.give_up_old(self.abandoned_before()).await?;
        let (mut removed, mut failed, mut last) = (0, None, None);
        loop {
            let garbage = self.0.files.garbage(last, GARBAGE_AT_ONCE).await?;
            last = garbage.last().copied();
            for found in &garbage {
                match self.0.storage.remove(found.object).await {
                    Ok(()) => {
                        self.0.files.forget_object(found.object).await?;
                        removed += 1;
                    }
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if garbage.len() < GARBAGE_AT_ONCE as usize {
                return failed.map_or(Ok(removed), |error| Err(FileError::Storage(error)));
            }
        }
    }

    /// Uploads that began before this have ended, one way or another: twice the time they may take is over, and the time of a commit.
    fn abandoned_before(&self) -> Timestamp {
        let age = self.0.limits.upload_timeout * 2 + Duration::from_secs(600);
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(age))
    }
}
