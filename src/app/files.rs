//! Where uploaded files are, as the configuration names it.

use std::sync::Arc;

use anyhow::Context;
use callboard_actors::ports::Files;
use callboard_actors::ports::files::FileQuota;
use secrecy::SecretString;
use tokio::runtime::Handle;

use super::key_places::{OutsideErrors, read_variable};
use crate::config::Config;
use crate::files::{FileLimits, FileService, FileStorage, S3Options, TransferLimits};

pub(super) fn open_files(config: &Config, files: Arc<dyn Files>, io: &Handle) -> anyhow::Result<FileService> {
    let section = &config.files;
    let limits = FileLimits {
        max_file_bytes: section.max_file,
        quota: FileQuota {
            files: section.max_files_per_account,
            bytes: section.max_bytes_per_account,
        },
        uploads: TransferLimits {
            most: section.max_uploads,
            most_per_account: section.max_uploads_per_account,
        },
        downloads: TransferLimits {
            most: section.max_downloads,
            most_per_account: section.max_downloads_per_account,
        },
        upload_timeout: section.upload_timeout,
        max_image_bytes: section.max_image,
    };
    Ok(FileService::new(files, open_storage(config)?, limits, io.clone()))
}

fn open_storage(config: &Config) -> anyhow::Result<FileStorage> {
    let section = &config.files;
    let Some(bucket) = &section.s3_bucket else {
        if config.store.postgres_url_env.is_some() {
            tracing::info!(path = %section.path.display(), "files are kept in a folder: all instances of a fleet must see the same one");
        }
        let storage = FileStorage::in_folder(&section.path);
        if let Err(error) = storage.open() {
            tracing::warn!(path = %section.path.display(), %error, "the folder of files cannot be used; uploads are refused until it can");
        }
        return Ok(storage);
    };
    let credentials = s3_credentials(config)?;
    let options = S3Options {
        bucket: bucket.clone(),
        endpoint: section.s3_endpoint.clone(),
        region: section.s3_region.clone(),
        prefix: section.s3_prefix.clone(),
        credentials,
    };
    FileStorage::in_bucket(options).with_context(|| format!("files.s3_bucket: {bucket} cannot be used"))
}

/// The key of the bucket, in two parts; `None` if the configuration names none.
///
/// # Errors
/// The parts that are not there.
pub(super) fn s3_credentials(config: &Config) -> Result<Option<(SecretString, SecretString)>, OutsideErrors> {
    let section = &config.files;
    let id = section.s3_access_key_id_env.as_deref();
    let secret = section.s3_secret_access_key_env.as_deref();
    let Some((id, secret)) = id.zip(secret).filter(|_| section.s3_bucket.is_some()) else {
        return Ok(None);
    };
    let id = read_variable("files.s3_access_key_id_env", id);
    let secret = read_variable("files.s3_secret_access_key_env", secret);
    match (id, secret) {
        (Ok(id), Ok(secret)) => Ok(Some((id, secret))),
        (Err(OutsideErrors(mut problems)), Err(more)) => {
            problems.extend(more.0);
            Err(OutsideErrors(problems))
        }
        (Err(wrong), Ok(_)) | (Ok(_), Err(wrong)) => Err(wrong),
    }
}
