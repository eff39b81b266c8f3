#![allow(clippy::unwrap_used, reason = "tests")]

mod failing;
mod gone_clients;
mod hammered;
mod lost;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use callboard_actors::ids::{AccountId, FileObjectId};
use callboard_actors::ports::Files;
use callboard_actors::ports::files::{FileQuota, FileRecord};
use callboard_actors::time::Timestamp;
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{FileFacts, FileLimits, FileService, FileStorage, TooManyTransfers, TransferLimits, UploadError};
use crate::store::sqlite::{SqliteOptions, SqliteStore};

const LIMITS: FileLimits = FileLimits {
    max_file_bytes: 1_000_000,
    quota: FileQuota {
        files: 3,
        bytes: 1_500_000,
    },
    uploads: TransferLimits {
        most: 3,
        most_per_account: 2,
    },
    downloads: TransferLimits {
        most: 3,
        most_per_account: 2,
    },
    upload_timeout: Duration::from_secs(60),
    max_image_bytes: 1000,
};

struct Place {
    directory: TempDir,
    store: Arc<dyn Files>,
    files: FileService,
}

impl Place {
    async fn new() -> Self {
        Self::with(LIMITS).await
    }

    async fn with(limits: FileLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(directory.path().join("callboard.db"));
        let store = SqliteStore::open(options, &Handle::current()).await.unwrap();
        let store: Arc<dyn Files> = Arc::new(store);
        let storage = FileStorage::in_folder(&directory.path().join("files"));
        storage.open().unwrap();
        let files = FileService::new(store.clone(), storage, limits, Handle::current());
        Self {
            directory,
            store,
            files,
        }
    }

    /// How many files there are in the folder, whole ones and begun ones.
    fn on_disk(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.directory.path().join("files"))
    }

    /// Where an object is, or would be.
    fn path_of(&self, object: FileObjectId) -> PathBuf {
        let name = object.uuid().as_simple().to_string();
        let folder = self.directory.path().join("files");
        folder.join(&name[name.len() - 2..]).join(name)
    }

    async fn upload(&self, bytes: &[u8]) -> Result<FileRecord, UploadError> {
        let mut upload = self.files.begin_upload(&AccountId::local(), None).await?;
        for piece in bytes.chunks(60_000) {
            upload.write(Bytes::copy_from_slice(piece)).await?;
        }
        upload.finish(facts()).await
    }
}

fn facts() -> FileFacts {
    FileFacts {
        filename: "a.txt".into(),
        media_type: Some("text/plain".into()),
        purpose: None,
    }
}

#[tokio::test]
async fn the_same_content_is_on_disk_once_until_its_last_file_is_deleted() {
    let place = Place::new().await;
    let bytes = vec![7; 700_000];
    let (first, second) = (place.upload(&bytes).await.unwrap(), place.upload(&bytes).await.unwrap());
    assert_ne!(first.id, second.id);
    assert_eq!(place.on_disk(), 1);
    assert!(place.files.delete(&first.account, first.id).await.unwrap());
    place.files.remove_garbage().await.unwrap();
    let contents: Vec<Bytes> = place
        .files
        .contents(&second)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(contents.concat(), bytes);
    assert!(place.files.delete(&second.account, second.id).await.unwrap());
    place.files.remove_garbage().await.unwrap();
    assert_eq!(place.on_disk(), 0);
}

#[tokio::test]
async fn refused_uploads_leave_nothing() {
    let place = Place::new().await;
    let too_large = place.upload(&vec![1; 1_000_001]).await;
    assert!(
        matches!(too_large, Err(UploadError::TooLarge { limit: 1_000_000 })),
        "{too_large:?}"
    );
    let announced = place.files.begin_upload(&AccountId::local(), Some(1_000_001)).await;
    assert!(matches!(announced.err(), Some(UploadError::TooLarge { .. })));
    place.upload(&vec![1; 1_000_000]).await.unwrap();
    let beyond = place.upload(&vec![2; 500_001]).await;
    assert!(matches!(beyond, Err(UploadError::Quota { .. })), "{beyond:?}");
    place.upload(&vec![2; 500_000]).await.unwrap();
    // There is no byte left, but what is there already takes none.
    let beyond = place.upload(b"3").await;
    assert!(matches!(beyond, Err(UploadError::Quota { .. })), "{beyond:?}");
    place.upload(&vec![2; 500_000]).await.unwrap();
    let full = place.files.begin_upload(&AccountId::local(), None).await;
    assert!(
        matches!(full.err(), Some(UploadError::Quota { .. })),
        "there is no file left"
    );
    assert_eq!(place.on_disk(), 2);
}

#[tokio::test]
async fn more_uploads_at_once_than_may_be_are_refused_and_one_that_is_dropped_makes_room() {
    let place = Place::new().await;
    let account = AccountId::local();
    let mut first = place.files.begin_upload(&account, None).await.unwrap();
    first.write(Bytes::from(vec![1; 600_000])).await.unwrap();
    let _second = place.files.begin_upload(&account, None).await.unwrap();
    let third = place.files.begin_upload(&account, None).await;
    let of_account = TooManyTransfers::OfAccount { limit: 2 };
    assert!(matches!(third.err(), Some(UploadError::TooMany(too_many)) if too_many == of_account));
    // Other accounts have what is left.
    let other: AccountId = "other".parse().unwrap();
    let _third = place.files.begin_upload(&other, None).await.unwrap();
    let fourth = place.files.begin_upload(&other, None).await;
    let of_all = TooManyTransfers::OfAll { limit: 3 };
    assert!(matches!(fourth.err(), Some(UploadError::TooMany(too_many)) if too_many == of_all));
    drop(first);
    // Its place is free when it has taken back what it wrote.
    let turn = place.files.0.uploads.all.acquire().await.unwrap();
    assert_eq!(place.on_disk(), 0);
    drop(turn);
    place.files.begin_upload(&account, None).await.unwrap();
    assert_eq!(place.store.garbage(None, 10).await, Ok(vec![]));
}

#[tokio::test]
async fn what_a_killed_server_left_is_removed_in_time() {
    let place = Place::new().await;
    let kept = place.upload(b"kept").await.unwrap();
    let now = Timestamp::now().as_micros();
    let long_ago = Timestamp::from_micros(now - 24 * 3_600_000_000);
    // Killed while it wrote, and after it wrote, long ago; and one that is being written at this moment.
    for (begun_at, ending) in [(long_ago, "#1"), (long_ago, ""), (Timestamp::now(), "#1")] {
        let object = FileObjectId::new();
        place.store.begin_object(object, &kept.account, begun_at).await.unwrap();
        let path = place.path_of(object);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(format!("{}{ending}", path.display()), b"half").unwrap();
    }
    assert_eq!(place.on_disk(), 4);
    assert_eq!(place.files.remove_garbage().await.unwrap(), 2);
    assert_eq!(place.on_disk(), 2);
    assert!(place.files.contents(&kept).await.is_ok());
}
