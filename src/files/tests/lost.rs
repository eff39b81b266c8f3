//! Bytes that are not where they should be: somebody emptied the folder, or gave each instance a folder of its own.

use callboard_actors::ports::files::FileUsage;
use callboard_actors::ports::{ImageFileError, ImageFiles};

use super::*;
use crate::files::FileError;

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n and so on";

#[tokio::test]
async fn lost_bytes_are_no_deleted_file() {
    let place = Place::new().await;
    let file = place.upload(PICTURE).await.unwrap();
    std::fs::remove_file(place.path_of(file.object)).unwrap();
    let lost = place.files.contents(&file).await.err();
    assert!(matches!(lost, Some(FileError::Lost)), "{lost:?}");
    let shown = place.files.data_url(&file.account, file.id).await;
    assert_eq!(shown, Err(ImageFileError::Unavailable));
    assert!(place.files.delete(&file.account, file.id).await.unwrap());
    let deleted = place.files.contents(&file).await.err();
    assert!(matches!(deleted, Some(FileError::Unknown)), "{deleted:?}");
    let shown = place.files.data_url(&file.account, file.id).await;
    assert_eq!(shown, Err(ImageFileError::Unknown));
}

#[tokio::test]
async fn the_same_content_uploaded_again_heals_the_files_whose_bytes_are_lost() {
    let place = Place::new().await;
    let first = place.upload(b"the same").await.unwrap();
    let second = place.upload(b"the same").await.unwrap();
    std::fs::remove_file(place.path_of(first.object)).unwrap();
    let third = place.upload(b"the same").await.unwrap();
    for file in [&first, &second, &third] {
        let file = place.files.file(&file.account, file.id).await.unwrap().unwrap();
        let contents: Vec<Bytes> = place.files.contents(&file).await.unwrap().try_collect().await.unwrap();
        assert_eq!(contents.concat(), b"the same");
    }
    let usage = place.store.file_usage(&first.account).await;
    assert_eq!(usage, Ok(FileUsage { files: 3, bytes: 8 }));
    place.files.remove_garbage().await.unwrap();
    assert_eq!(place.on_disk(), 1);
    for file in [&first, &second, &third] {
        assert_eq!(place.on_disk(), 1);
        assert!(place.files.delete(&file.account, file.id).await.unwrap());
        place.files.remove_garbage().await.unwrap();
    }
    assert_eq!(place.on_disk(), 0);
    assert_eq!(place.store.file_usage(&first.account).await, Ok(FileUsage::default()));
}
