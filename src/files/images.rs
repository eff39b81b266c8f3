//! Port `ImageFiles`: pictures for models that see.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::ports::files::FileRecord;
use callboard_actors::ports::{ImageFileError, ImageFiles, StoreError};
use futures::StreamExt;

use super::{FileError, FileService, is_image};

impl FileService {
    /// Of each of these files, whether a model could be shown it, and how many bytes its picture has then.
    pub async fn check_images(
        &self,
        account: &AccountId,
        files: &BTreeSet<FileId>,
    ) -> Result<BTreeMap<FileId, Result<u64, ImageFileError>>, StoreError> {
        let wanted: Vec<FileId> = files.iter().copied().collect();
        let mut checked: BTreeMap<_, _> = wanted
            .iter()
            .map(|file| (*file, Err(ImageFileError::Unknown)))
            .collect();
        for record in self.0.files.files(account, &wanted).await? {
            let bytes = self.check_record(&record).map(|()| record.bytes);
            checked.insert(record.id, bytes);
        }
        Ok(checked)
    }

    async fn image_record(&self, account: &AccountId, file: FileId) -> Result<FileRecord, ImageFileError> {
        let found = self.file(account, file).await.map_err(|error| {
            tracing::warn!(%error, "the store did not say what a picture is");
            ImageFileError::Unavailable
        })?;
        let record = found.ok_or(ImageFileError::Unknown)?;
        self.check_record(&record)?;
        Ok(record)
    }

    fn check_record(&self, record: &FileRecord) -> Result<(), ImageFileError> {
        if !is_image(&record.media_type) {
            return Err(ImageFileError::NotAnImage);
        }
        let limit = self.0.limits.max_image_bytes;
        if record.bytes > limit {
            return Err(ImageFileError::TooLarge { limit });
        }
        Ok(())
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
            FileError::Lost => ImageFileError::Unavailable,
            other => {
                tracing::warn!(file_id = %file, error = %other, "a picture could not be read");
                ImageFileError::Unavailable
            }
        })?;
        Ok(format!("data:{};base64,{}", record.media_type, STANDARD.encode(bytes)))
    }
}
