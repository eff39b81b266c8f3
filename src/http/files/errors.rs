//! What clients are told when something cannot be done with a file.

use crate::files::{FileError, TooManyTransfers, UploadError};
use crate::http::error::{ApiError, ErrorCode};

/// The file does not exist, or belongs to someone else: nobody can tell which.
pub(super) fn file_not_found() -> ApiError {
    ApiError::new(ErrorCode::FileNotFound, "there is no file with this id")
}

/// The storage does not answer.
pub(super) fn files_unavailable() -> ApiError {
    ApiError::new(
        ErrorCode::FilesUnavailable,
        "the storage of files does not answer at the moment",
    )
}

pub(super) fn file_too_large(limit: u64) -> ApiError {
    let message = format!("the file is larger than {limit} bytes");
    ApiError::new(ErrorCode::FileTooLarge, message)
        .with_param("file")
        .with_detail("limit", limit)
}

impl From<FileError> for ApiError {
    /// Logs what the client is not told.
    fn from(error: FileError) -> Self {
        match error {
            FileError::Unknown => file_not_found(),
            FileError::Store(error) => error.into(),
            FileError::Lost => files_unavailable(),
            FileError::Storage(error) => {
                tracing::warn!(%error, "the storage of files did not answer a request");
                files_unavailable()
            }
        }
    }
}

impl From<UploadError> for ApiError {
    /// Logs what the client is not told.
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooMany(TooManyTransfers::OfAll { limit }) => ApiError::new(
                ErrorCode::TooManyUploads,
                "this server takes in as many files at once as it can bear",
            )
            .with_detail("limit", limit),
            UploadError::TooMany(TooManyTransfers::OfAccount { limit }) => ApiError::new(
                ErrorCode::TooManyAccountUploads,
                "your account uploads as many files at once as it may",
            )
            .with_detail("limit", limit),
            UploadError::TooLarge { limit } => file_too_large(limit),
            UploadError::Quota { quota, used } => ApiError::new(
                ErrorCode::FileQuotaExceeded,
                "with this file your account would have more than it may; delete files first",
            )
            .with_detail("files", used.files)
            .with_detail("max_files", quota.files)
            .with_detail("bytes", used.bytes)
            .with_detail("max_bytes", quota.bytes),
            UploadError::TooLate => too_late(),
            UploadError::Store(error) => error.into(),
            UploadError::Storage(error) => {
                tracing::warn!(%error, "the storage of files did not take an upload");
                files_unavailable()
            }
            UploadError::Broken => {
                tracing::error!("an upload broke");
                ApiError::internal()
            }
        }
    }
}

pub(super) fn too_many_downloads(error: TooManyTransfers) -> ApiError {
    let (code, message, limit) = match error {
        TooManyTransfers::OfAll { limit } => (
            ErrorCode::TooManyDownloads,
            "this server sends as many files at once as it can bear",
            limit,
        ),
        TooManyTransfers::OfAccount { limit } => (
            ErrorCode::TooManyAccountDownloads,
            "your account downloads as many files at once as it may",
            limit,
        ),
    };
    ApiError::new(code, message).with_detail("limit", limit)
}

pub(super) fn too_late() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout, "the file did not arrive in time")
}
