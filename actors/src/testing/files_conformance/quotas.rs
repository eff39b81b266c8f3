//! What an account may have.

use futures::future::join_all;

use super::FreshFiles;
use super::fixtures::{garbage, kept, listed, new_file, outcome, usage};
use crate::ports::files::{FileQuota, FileUsage, KeepOutcome};

/// The object of a refused file is still there to be given up.
pub async fn a_quota_of_files_refuses_and_changes_nothing(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let quota = FileQuota { files: 1, bytes: 100 };
    let first = new_file("acme", 1, 10);
    kept(files, &first).await;
    let second = new_file("acme", 1, 10);
    let used = FileUsage { files: 1, bytes: 10 };
    let refused = KeepOutcome::QuotaExceeded(used);
    assert_eq!(outcome(files, &second, quota).await, refused);
    assert_eq!(usage(files, "acme").await, used);
    files.give_up_object(second.object).await.expect("it answers");
    assert_eq!(garbage(files).await, [second.object]);
    assert!(files.delete_file(&first.account, first.id).await.expect("it deletes"));
    let third = new_file("acme", 1, 10);
    assert!(matches!(outcome(files, &third, quota).await, KeepOutcome::Kept { .. }));
}

/// What is there already takes no room.
pub async fn a_quota_of_bytes_counts_each_content_once(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let quota = FileQuota { files: 100, bytes: 25 };
    let is_kept = |outcome: KeepOutcome| matches!(outcome, KeepOutcome::Kept { .. });
    assert!(is_kept(outcome(files, &new_file("acme", 1, 15), quota).await));
    assert!(is_kept(outcome(files, &new_file("acme", 1, 15), quota).await));
    let refused = outcome(files, &new_file("acme", 2, 11), quota).await;
    assert_eq!(refused, KeepOutcome::QuotaExceeded(FileUsage { files: 2, bytes: 15 }));
    assert!(is_kept(outcome(files, &new_file("acme", 2, 10), quota).await));
    assert!(
        is_kept(outcome(files, &new_file("acme", 3, 0), quota).await),
        "nothing fits"
    );
}

/// Both instances at once.
pub async fn parallel_files_never_exceed_a_quota(fresh: &FreshFiles) {
    let quota = FileQuota { files: 5, bytes: 1000 };
    let all = (0..30).map(|index| async move {
        let files = if index % 2 == 0 {
            &fresh.files
        } else {
            &fresh.of_another_instance
        };
        outcome(&**files, &new_file("acme", index, 10), quota).await
    });
    let outcomes = join_all(all).await;
    let kept = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, KeepOutcome::Kept { .. }));
    assert_eq!(kept.count(), 5);
    assert_eq!(usage(&*fresh.files, "acme").await, FileUsage { files: 5, bytes: 50 });
    assert_eq!(listed(&*fresh.files, "acme", None, 100).await.len(), 5);
}
