//! Port `ImageFiles`: pictures in uploaded files, for models that see.
//!
//! Asked on the I/O runtime when a model call is made: what is stored of a run has the file's id, never the picture.

use async_trait::async_trait;

use crate::ids::{AccountId, FileId};

/// Pictures in uploaded files.
#[async_trait]
pub trait ImageFiles: Send + Sync + 'static {
    /// The picture in this file of this account, as `data:image/…;base64,…`. The adapter bounds its size.
    async fn data_url(&self, account: &AccountId, file: FileId) -> Result<String, ImageFileError>;
}

/// Why a file is no picture that can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageFileError {
    /// The account has no such file.
    #[error("there is no file with this id")]
    Unknown,
    /// It is something else.
    #[error("the file is not a PNG, JPEG, GIF or WebP picture")]
    NotAnImage,
    /// It is larger than the limit.
    #[error("the picture has more than {limit} bytes")]
    TooLarge {
        /// Bytes that it may have.
        limit: u64,
    },
    /// The store or the storage does not answer; it may later.
    #[error("the storage of files does not answer")]
    Unavailable,
}
