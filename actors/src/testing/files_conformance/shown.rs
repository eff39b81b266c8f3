//! What is kept is shown, to its owner.

use super::FreshFiles;
use super::fixtures::{PLENTY, account, garbage, kept, listed, new_file, usage};
use crate::ids::FileId;
use crate::ports::files::{FileUsage, KeepOutcome};

/// What was kept is shown, to every instance, until it is forgotten.
pub async fn a_file_is_kept_shown_and_forgotten(fresh: &FreshFiles) {
    let (files, other) = (&*fresh.files, &*fresh.of_another_instance);
    let new = new_file("acme", 1, 10);
    assert_eq!(usage(files, "acme").await, FileUsage::default());
    let (record, is_surplus) = kept(files, &new).await;
    assert!(!is_surplus);
    assert_eq!(
        (record.id, record.object, record.bytes, record.sha256),
        (new.id, new.object, 10, [1; 32])
    );
    assert_eq!((&record.filename, &record.purpose), (&new.filename, &new.purpose));
    let shown = other.file(&new.account, new.id).await.expect("it reads");
    assert_eq!(shown, Some(record));
    assert_eq!(usage(other, "acme").await, FileUsage { files: 1, bytes: 10 });
    assert_eq!(garbage(files).await, []);
    assert!(other.delete_file(&new.account, new.id).await.expect("it deletes"));
    assert!(!files.delete_file(&new.account, new.id).await.expect("it answers"));
    assert_eq!(files.file(&new.account, new.id).await.expect("it reads"), None);
    assert_eq!(usage(files, "acme").await, FileUsage::default());
    assert_eq!(garbage(files).await, [new.object]);
    files.forget_object(new.object).await.expect("it forgets");
    assert_eq!(garbage(files).await, []);
}

/// An answer that was lost is asked for again.
pub async fn the_same_file_twice_is_one(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let new = new_file("acme", 1, 10);
    let first = kept(files, &new).await;
    let again = files.keep_file(new.clone(), PLENTY).await.expect("it answers");
    let (file, is_surplus) = first;
    assert_eq!(again, KeepOutcome::Kept { file, is_surplus });
    assert_eq!(usage(files, "acme").await, FileUsage { files: 1, bytes: 10 });
}

/// An id is no right.
pub async fn files_of_other_accounts_are_not_there(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let (theirs, ours) = (new_file("acme", 1, 10), new_file("other", 1, 10));
    kept(files, &theirs).await;
    let (record, is_surplus) = kept(files, &ours).await;
    assert_eq!((record.object, is_surplus), (ours.object, false), "nothing is shared");
    assert_eq!(files.file(&ours.account, theirs.id).await.expect("it reads"), None);
    assert!(!files.delete_file(&ours.account, theirs.id).await.expect("it answers"));
    assert_eq!(listed(files, "other", None, 10).await, [ours.id]);
    assert!(
        files
            .file(&theirs.account, theirs.id)
            .await
            .expect("it reads")
            .is_some()
    );
}

/// Each that is the account's once, whatever else is asked for.
pub async fn many_files_are_found_at_once(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let found = async |owner: &str, wanted: &[FileId]| {
        let found = files.files(&account(owner), wanted).await.expect("it reads");
        let mut ids: Vec<FileId> = found.into_iter().map(|file| file.id).collect();
        ids.sort_unstable();
        ids
    };
    let mut ours = Vec::new();
    for content in 0..40 {
        let new = new_file("acme", content, 1);
        kept(files, &new).await;
        ours.push(new.id);
    }
    ours.sort_unstable();
    let theirs = new_file("other", 1, 1);
    kept(files, &theirs).await;
    assert_eq!(found("acme", &[]).await, []);
    assert_eq!(found("acme", &ours).await, ours);
    assert_eq!(found("acme", &ours[7..24]).await, ours[7..24]);
    let others = [theirs.id, ours[3], FileId::new()];
    assert_eq!(found("acme", &others).await, [ours[3]]);
    assert_eq!(found("other", &others).await, [theirs.id]);
}

/// Pages follow each other without a gap.
pub async fn lists_are_newest_first_and_come_in_pages(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let mut ids = Vec::new();
    for content in 0..5 {
        let new = new_file("acme", content, 1);
        kept(files, &new).await;
        ids.insert(0, new.id);
    }
    assert_eq!(listed(files, "acme", None, 3).await, ids[..3]);
    assert_eq!(listed(files, "acme", Some(ids[2]), 3).await, ids[3..]);
    assert_eq!(listed(files, "nobody", None, 3).await, []);
}
