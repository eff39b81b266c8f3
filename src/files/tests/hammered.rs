//! Many at once.

use callboard_actors::ports::files::FileUsage;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_and_deletions_at_once_leave_whole_files_and_then_nothing() {
    let place = Arc::new(
        Place::with(FileLimits {
            uploads: TransferLimits {
                most: 16,
                most_per_account: 16,
            },
            quota: FileQuota {
                files: 1000,
                bytes: 10_000_000,
            },
            ..LIMITS
        })
        .await,
    );
    let contents = |number: usize| vec![(number % 3) as u8; 50_000];
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let place = place.clone();
        tasks.spawn(async move {
            let mut kept = Vec::new();
            for turn in 0..12 {
                let file = place.upload(&contents(task + turn)).await.unwrap();
                let read = place.files.contents(&file).await.unwrap();
                let read: Vec<Bytes> = read.try_collect().await.unwrap();
                assert_eq!(read.concat(), contents(task + turn));
                if turn % 4 == 0 {
                    kept.push(file);
                } else {
                    assert!(place.files.delete(&file.account, file.id).await.unwrap());
                }
            }
            kept
        });
    }
    let kept = tasks.join_all().await.concat();
    assert_eq!(kept.len(), 24);
    for file in &kept {
        let read: Vec<Bytes> = place.files.contents(file).await.unwrap().try_collect().await.unwrap();
        assert_eq!(read.concat().len(), 50_000);
    }
    place.files.remove_garbage().await.unwrap();
    assert_eq!(place.on_disk(), 3);
    for file in kept {
        assert!(place.files.delete(&file.account, file.id).await.unwrap());
    }
    place.files.remove_garbage().await.unwrap();
    assert_eq!(place.on_disk(), 0);
    let usage = place.store.file_usage(&AccountId::local()).await;
    assert_eq!(usage, Ok(FileUsage::default()));
}
