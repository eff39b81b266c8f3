//! Port `ImageFiles`: pictures for models that see.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::ports::files::FileRecord;
use callboard_actors::ports::{ImageFileError, ImageFiles};
use futures::StreamExt;

use super::{FileError, FileService, is_image};

impl FileService {
    /// Whether a model could be shown this file; says how many bytes its picture has.
    pub async fn check_image(&self, account: &AccountId, file: FileId) -> Result<u64, ImageFileError> {
        Ok(self.image_record(account, file).await?.bytes)
    }

    async fn image_record(&self, account: &AccountId, file: FileId) -> Result<FileRecord, ImageFileError> {
        let found = self.file(account, file).await.map_err(|error| {
            tracing::warn!(%error, "the store did not say what a picture is");
            ImageFileError::Unavailable
        })?;
        let record = found.ok_or(ImageFileError::Unknown)?;
        if !is_image(&record.media_type) {
            return Err(ImageFileError::NotAnImage);
        }
        let limit = self.0.limits.max_image_bytes;
        if record.bytes > limit {
            return Err(ImageFileError::TooLarge { limit });
        }
        Ok(record)
    }

    async fn read_whole(&self, file: &FileRecord) -> Result<Vec<u8>, FileError> {
        let mut contents = self.contents(file).await?;
        let mut whole = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or_default());
        while let Some(piece) = contents.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole)
    }
}

#[async_trait]
impl ImageFiles for FileService {
    async fn data_url(&self, account: &AccountId, file: FileId) -> Result<String, ImageFileError> {
        let record = self.image_record(account, file).await?;
        let bytes = self.read_whole(&record).await.map_err(|error| match error {
            FileError::Unknown => ImageFileError::Unknown,
            other => {
                tracing::warn!(file_id = %file, error = %other, "a picture could not be read");
                ImageFileError::Unavailable
            }
        })?;
        Ok(format!("data:{};base64,{}", record.media_type, STANDARD.encode(bytes)))
    }
}
