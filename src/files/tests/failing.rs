//! The store or the storage goes away in the middle.

use std::sync::Mutex;

use async_trait::async_trait;
use callboard_actors::ids::FileId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::files::{FileQuery, FileUsage, GarbageObject, KeepOutcome, NewFile};
use futures::FutureExt;
use futures::future::join_all;

use super::*;
use crate::files::{FileError, GARBAGE_AT_ONCE};

/// A store that fails at the last step of an upload, as often as it is told.
struct FailingStore {
    inner: Arc<dyn Files>,
    /// How often it fails before it has done what it was asked, and then how often after.
    failures: Mutex<(u32, u32)>,
}

impl FailingStore {
    fn is_next(&self, which: impl Fn(&mut (u32, u32)) -> &mut u32) -> bool {
        let mut failures = self.failures.lock().unwrap();
        let left = which(&mut failures);
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    }
}

#[async_trait]
impl Files for FailingStore {
    async fn begin_object(&self, object: FileObjectId, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
        self.inner.begin_object(object, account, at).await
    }

    async fn keep_file(&self, file: NewFile, quota: FileQuota) -> Result<KeepOutcome, StoreError> {
        if self.is_next(|failures| &mut failures.0) {
            return Err(StoreError::Unavailable("away".into()));
        }
        let done = self.inner.keep_file(file, quota).await;
        if self.is_next(|failures| &mut failures.1) {
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        done
    }

    async fn file(&self, account: &AccountId, file: FileId) -> Result<Option<FileRecord>, StoreError> {
        self.inner.file(account, file).await
    }

    async fn files(&self, account: &AccountId, files: &[FileId]) -> Result<Vec<FileRecord>, StoreError> {
        self.inner.files(account, files).await
    }

    async fn list_files(&self, query: FileQuery) -> Result<Vec<FileRecord>, StoreError> {
        self.inner.list_files(query).await
    }

    async fn delete_file(&self, account: &AccountId, file: FileId) -> Result<bool, StoreError> {
        self.inner.delete_file(account, file).await
    }

    async fn file_usage(&self, account: &AccountId) -> Result<FileUsage, StoreError> {
        self.inner.file_usage(account).await
    }

    async fn object_of_content(
        &self,
        account: &AccountId,
        sha256: [u8; 32],
    ) -> Result<Option<FileObjectId>, StoreError> {
        self.inner.object_of_content(account, sha256).await
    }

    async fn give_up_old(&self, begun_before: Timestamp) -> Result<(), StoreError> {
        self.inner.give_up_old(begun_before).await
    }

    async fn garbage(&self, after: Option<GarbageObject>, limit: u32) -> Result<Vec<GarbageObject>, StoreError> {
        self.inner.garbage(after, limit).await
    }

    async fn give_up_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.inner.give_up_object(object).await
    }

    async fn forget_object(&self, object: FileObjectId) -> Result<(), StoreError> {
        self.inner.forget_object(object).await
    }
}

#[tokio::test]
async fn a_store_that_goes_away_at_the_last_step_loses_no_object_and_breaks_no_file() {
    let place = Place::new().await;
    let failing = FailingStore {
        inner: place.store.clone(),
        failures: Mutex::new((1, 1)),
    };
    let storage = FileStorage::in_folder(&place.directory.path().join("files"));
    let files = FileService::new(Arc::new(failing), storage, LIMITS, Handle::current());
    let upload = async |bytes: &'static [u8]| {
        let mut upload = files.begin_upload(&AccountId::local(), None).await.unwrap();
        upload.write(Bytes::from_static(bytes)).await.unwrap();
        upload.finish(facts()).await
    };
    // Before the commit, and after it: nobody can tell which, and so what was written stays.
    for bytes in [b"one".as_slice(), b"two"] {
        let failed = upload(bytes).await;
        assert!(matches!(failed, Err(UploadError::Store(_))), "{failed:?}");
    }
    assert_eq!(place.on_disk(), 2);
    let query = FileQuery {
        account: AccountId::local(),
        before: None,
        limit: 10,
    };
    let listed = files.list(query).await.unwrap();
    assert_eq!(listed.len(), 1, "the second was kept");
    let contents: Vec<Bytes> = files.contents(&listed[0]).await.unwrap().try_collect().await.unwrap();
    assert_eq!(contents.concat(), b"two");
    // The first is garbage as soon as nobody can be at it any more.
    place.store.give_up_old(Timestamp::now()).await.unwrap();
    let abandoned = place.store.garbage(None, 10).await.unwrap();
    assert_eq!(abandoned.len(), 1);
    assert_eq!(files.remove_garbage().await.unwrap(), 1);
    assert_eq!(place.on_disk(), 1);
}

#[tokio::test]
async fn a_folder_that_goes_away_in_the_middle_fails_what_is_under_way_and_serves_again_when_it_is_back() {
    let place = Place::new().await;
    let folder = place.directory.path().join("files");
    let kept = place.upload(b"kept").await.unwrap();
    let mut upload = place.files.begin_upload(&AccountId::local(), None).await.unwrap();
    upload.write(Bytes::from(vec![1; 600_000])).await.unwrap();
    let away = place.directory.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, b"not a folder").unwrap();
    let failed = upload.finish(facts()).await;
    assert!(matches!(failed, Err(UploadError::Storage(_))), "{failed:?}");
    let failed = place.upload(b"another").await;
    assert!(matches!(failed, Err(UploadError::Storage(_))), "{failed:?}");
    let failed = place.files.contents(&kept).await.err();
    assert!(matches!(failed, Some(FileError::Storage(_))), "{failed:?}");
    let failed = place.files.remove_garbage().await;
    assert!(
        matches!(failed, Err(FileError::Storage(_))),
        "what cannot be removed stays known: {failed:?}"
    );
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert!(place.files.contents(&kept).await.is_ok());
    place.upload(b"another").await.unwrap();
    place.files.remove_garbage().await.unwrap();
    assert_eq!(place.on_disk(), 2);
}

#[tokio::test]
async fn garbage_that_cannot_be_removed_keeps_no_other_from_it() {
    let place = Place::new().await;
    // More than are looked for at once.
    let count = GARBAGE_AT_ONCE as usize + 2;
    let objects: Vec<FileObjectId> = (0..count).map(|_| FileObjectId::new()).collect();
    let account = AccountId::local();
    let beginning = (0..).zip(&objects).map(|(index, object)| {
        let at = Timestamp::from_micros(index);
        place.store.begin_object(*object, &account, at)
    });
    assert!(join_all(beginning).await.into_iter().all(|begun| begun.is_ok()));
    let paths: Vec<_> = objects.iter().map(|object| place.path_of(*object)).collect();
    let (removable, broken) = paths.split_last().unwrap();
    // Each of the oldest is a folder with something in it, which is nothing that there should be.
    for path in broken {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("x"), b"x").unwrap();
    }
    std::fs::create_dir_all(removable.parent().unwrap()).unwrap();
    std::fs::write(removable, b"x").unwrap();
    let failed = place.files.remove_garbage().await;
    assert!(matches!(failed, Err(FileError::Storage(_))), "{failed:?}");
    assert!(!removable.exists());
    assert_eq!(place.on_disk(), broken.len());
    for path in broken {
        std::fs::remove_dir_all(path).unwrap();
    }
    assert_eq!(place.files.remove_garbage().await.unwrap(), broken.len() as u64);
}

#[tokio::test]
async fn however_many_files_are_deleted_it_is_one_reason_to_remove_garbage() {
    let place = Place::new().await;
    assert_eq!(place.files.deletion().now_or_never(), None);
    for bytes in [b"one", b"two"] {
        let file = place.upload(bytes).await.unwrap();
        assert!(place.files.delete(&file.account, file.id).await.unwrap());
        assert!(!place.files.delete(&file.account, file.id).await.unwrap());
    }
    place.files.deletion().await;
    assert_eq!(place.files.deletion().now_or_never(), None);
    assert_eq!(place.files.remove_garbage().await.unwrap(), 2);
}
