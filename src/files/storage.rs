//! Where the bytes are: a folder of this machine, or a bucket of an S3-compatible service. Objects are named by their ids and are never
//! written twice.

use std::path::Path as FolderPath;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use callboard_actors::ids::FileObjectId;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;

/// S3 takes no smaller parts but the last.
const PART_BYTES_OF_S3: usize = 5 * 1024 * 1024;

/// For a folder a part is one write.
const PART_BYTES_OF_FOLDER: usize = 256 * 1024;

/// How long a bucket may say nothing.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// What `object_store` appends to the name of a file until it is whole. Objects are written once, so it is always the first.
const BEGUN_IN_FOLDER: &str = "#1";

/// The bytes of an object, piece by piece.
pub type Contents = BoxStream<'static, Result<Bytes, StorageError>>;

/// Where objects are. Cheap to clone.
#[derive(Clone)]
pub struct FileStorage {
    /// A folder is opened when it is there.
    objects: Arc<OnceLock<Arc<dyn ObjectStore>>>,
    prefix: Path,
    part_bytes: usize,
    folder: Option<Arc<FolderPath>>,
}

/// A bucket and how to reach it.
#[derive(Clone)]
pub struct S3Options {
    /// Its name.
    pub bucket: String,
    /// The service's URL; `None` is Amazon's.
    pub endpoint: Option<String>,
    /// Where it is.
    pub region: String,
    /// What the names of all objects begin with.
    pub prefix: String,
    /// Id and secret; `None` is what the machine has: a role, a token file.
    pub credentials: Option<(SecretString, SecretString)>,
}

/// Why the storage did not do something. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such object.
    #[error("no such object")]
    NotFound,
    /// It does not answer, or refuses.
    #[error("{0}")]
    Failed(String),
    /// It did not answer in time. Nobody knows whether it does what it was asked to all the same.
    #[error("no answer in time")]
    TimedOut,
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl FileStorage {
    /// This folder, which is made when it is needed first. Others of this machine cannot read it.
    pub fn in_folder(folder: &FolderPath) -> Self {
        Self {
            objects: Arc::default(),
            prefix: Path::default(),
            part_bytes: PART_BYTES_OF_FOLDER,
            folder: Some(folder.into()),
        }
    }

    /// This bucket. Asks nobody yet.
    pub fn in_bucket(options: S3Options) -> Result<Self, StorageError> {
        let retries = RetryConfig {
            max_retries: 3,
            retry_timeout: Duration::from_secs(30),
            ..RetryConfig::default()
        };
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            // What takes long may take long, as long as something comes: whoever reads may be slow, too.
            .with_timeout_disabled()
            .with_read_timeout(LONGEST_SILENCE)
            .with_allow_http(
                options
                    .endpoint
                    .as_deref()
                    .is_some_and(|url| url.starts_with("http://")),
            );
        let mut builder = match &options.credentials {
            Some((id, secret)) => AmazonS3Builder::new()
                .with_access_key_id(id.expose_secret())
                .with_secret_access_key(secret.expose_secret()),
            None => AmazonS3Builder::from_env(),
        };
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let bucket = builder
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_client_options(client)
            .with_retry(retries)
            .build()?;
        let bucket: Arc<dyn ObjectStore> = Arc::new(bucket);
        Ok(Self {
            objects: Arc::new(OnceLock::from(bucket)),
            prefix: Path::from(options.prefix),
            part_bytes: PART_BYTES_OF_S3,
            folder: None,
        })
    }

    /// Makes the folder if it is missing. `Err` if it cannot be used, which may pass.
    pub fn open(&self) -> Result<(), StorageError> {
        self.objects().map(drop)
    }

    fn objects(&self) -> Result<Arc<dyn ObjectStore>, StorageError> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects.clone());
        }
        let folder = self.folder.as_deref().ok_or(StorageError::NotFound)?;
        let opened = open_folder(folder).map_err(|error| StorageError::Failed(error.to_string()))?;
        Ok(self.objects.get_or_init(|| Arc::new(opened)).clone())
    }

    /// `<last two digits>/<uuid>`: folders of this machine stay small.
    fn path(&self, object: FileObjectId) -> Path {
        let name = object.uuid().as_simple().to_string();
        let shelf = name[name.len() - 2..].to_owned();
        self.prefix.clone().join(shelf).join(name)
    }

    /// Begins to write an object. It is there, as a whole, when [`ObjectWriter::finish`] has answered.
    pub(super) fn write(&self, object: FileObjectId) -> Result<ObjectWriter, StorageError> {
        let writer = BufWriter::with_capacity(self.objects()?, self.path(object), self.part_bytes);
        Ok(ObjectWriter(writer.with_max_concurrency(1)))
    }

    /// Whether there is such an object.
    pub(super) async fn has(&self, object: FileObjectId) -> Result<bool, StorageError> {
        match self
            .objects()?
            .head(&self.path(object))
            .await
            .map_err(StorageError::from)
        {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in an object.
    pub(super) async fn read(&self, object: FileObjectId) -> Result<Contents, StorageError> {
        let found = self.objects()?.get(&self.path(object)).await?;
        Ok(found
            .into_stream()
            .map(|piece| piece.map_err(StorageError::from))
            .boxed())
    }

    /// Removes an object; well if it is not there.
    pub(super) async fn remove(&self, object: FileObjectId) -> Result<(), StorageError> {
        if let Some(folder) = &self.folder {
            // What a process that was killed had written so far. (Of a bucket, its rules for unfinished uploads see to that.)
            let begun = folder.join(format!("{}{BEGUN_IN_FOLDER}", self.path(object)));
            if let Err(error) = tokio::fs::remove_file(begun).await
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(StorageError::Failed(error.to_string()));
            }
        }
        let objects = self.objects()?;
        match objects.delete(&self.path(object)).await.map_err(StorageError::from) {
            Err(StorageError::NotFound) => Ok(()),
            done => done,
        }
    }
}

fn open_folder(folder: &FolderPath) -> std::io::Result<LocalFileSystem> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    let local = LocalFileSystem::new_with_prefix(folder).map_err(std::io::Error::other)?;
    // What is answered survives a power cut, as the row does.
    Ok(local.with_fsync(true))
}

/// An object that is being written. At most two parts of it are in memory.
pub(super) struct ObjectWriter(BufWriter);

impl ObjectWriter {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        Ok(self.0.put(bytes).await?)
    }

    pub(super) async fn finish(mut self) -> Result<(), StorageError> {
        self.0
            .shutdown()
            .await
            .map_err(|error| StorageError::Failed(error.to_string()))
    }

    /// Takes back what was written.
    pub(super) async fn abort(mut self) -> Result<(), StorageError> {
        Ok(self.0.abort().await?)
    }
}
