//! Why something cannot be done with a file.

use callboard_actors::ports::StoreError;
use callboard_actors::ports::files::{FileQuota, FileUsage};

use super::storage::StorageError;
use super::transfers::TooManyTransfers;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, or not any more.
    #[error("there is no such file")]
    Unknown,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The storage does not answer. For the log.
    #[error("the storage of files failed: {0}")]
    Storage(#[from] StorageError),
    /// It is there and its bytes are not, which is in the log.
    #[error("the bytes of the file are not in the storage")]
    Lost,
}

/// Why an upload became no file.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// As many are under way as may be.
    #[error(transparent)]
    TooMany(#[from] TooManyTransfers),
    /// The file has more bytes than it may.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// Bytes of a file.
        limit: u64,
    },
    /// The account would have more than it may.
    #[error("the account has as much as it may")]
    Quota {
        /// What it may have.
        quota: FileQuota,
        /// What it has.
        used: FileUsage,
    },
    /// It took too long.
    #[error("the upload took too long")]
    TooLate,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The storage does not answer. For the log.
    #[error("the storage of files failed: {0}")]
    Storage(#[from] StorageError),
    /// A bug of ours. For the log.
    #[error("the upload broke")]
    Broken,
}
