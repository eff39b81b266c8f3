//! What every adapter of [`Files`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`files_conformance!`](crate::files_conformance) with an async function that makes an empty store.

use std::any::Any;
use std::sync::Arc;

use futures::future::join_all;

use crate::ids::{AccountId, FileId, FileObjectId};
use crate::ports::Files;
use crate::ports::files::{FileQuery, FileQuota, FileRecord, FileUsage, GarbageObject, KeepOutcome, NewFile};
use crate::time::Timestamp;

/// An empty store.
pub struct FreshFiles {
    /// The adapter under test.
    pub files: Arc<dyn Files>,
    /// The same, as another instance sees it; where there is only one, that one.
    pub of_another_instance: Arc<dyn Files>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for FreshFiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshFiles")
    }
}

/// Generates one test for each rule of the port [`Files`](crate::ports::Files). Takes an `async fn() -> FreshFiles`.
#[macro_export]
macro_rules! files_conformance {
    ($fresh_files:path) => {
        $crate::files_conformance! { @rules $fresh_files;
            a_file_is_kept_shown_and_forgotten,
            the_same_file_twice_is_one,
            an_object_that_was_given_up_becomes_no_file,
            the_same_content_is_kept_once_and_goes_with_its_last_file,
            a_lost_object_is_replaced_for_all_its_files,
            files_of_other_accounts_are_not_there,
            many_files_are_found_at_once,
            lists_are_newest_first_and_come_in_pages,
            a_quota_of_files_refuses_and_changes_nothing,
            a_quota_of_bytes_counts_each_content_once,
            parallel_files_never_exceed_a_quota,
            parallel_files_of_one_content_have_one_object,
            what_was_begun_long_ago_is_garbage_and_what_is_kept_never_is,
        }
    };
    (@rules $fresh_files:path; $($rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::files_conformance::FreshFiles = $fresh_files().await;
                $crate::testing::files_conformance::$rule(&fresh).await;
            }
        )*
    };
}

const PLENTY: FileQuota = FileQuota {
    files: 1000,
    bytes: 1_000_000,
};

fn account(name: &str) -> AccountId {
    name.parse().expect("a name")
}

fn new_file(owner: &str, content: u8, bytes: u64) -> NewFile {
    NewFile {
        id: FileId::new(),
        account: account(owner),
        object: FileObjectId::new(),
        in_place_of: None,
        filename: "täglich.pdf".into(),
        media_type: "application/pdf".into(),
        purpose: Some("user_data".into()),
        bytes,
        sha256: [content; 32],
        created_at: Timestamp::now(),
    }
}

async fn begun(files: &dyn Files, file: &NewFile) {
    let begun = files.begin_object(file.object, &file.account, file.created_at).await;
    begun.expect("it begins");
}

async fn outcome(files: &dyn Files, file: &NewFile, quota: FileQuota) -> KeepOutcome {
    begun(files, file).await;
    files.keep_file(file.clone(), quota).await.expect("it answers")
}

async fn kept(files: &dyn Files, file: &NewFile) -> (FileRecord, bool) {
    match outcome(files, file, PLENTY).await {
        KeepOutcome::Kept { file, is_surplus } => (file, is_surplus),
        other => panic!("not kept: {other:?}"),
    }
}

async fn listed(files: &dyn Files, owner: &str, before: Option<FileId>, limit: u32) -> Vec<FileId> {
    let account = account(owner);
    let query = FileQuery { account, before, limit };
    let found = files.list_files(query).await.expect("it lists");
    found.into_iter().map(|file| file.id).collect()
}

async fn garbage(files: &dyn Files) -> Vec<FileObjectId> {
    let found = files.garbage(None, 100).await.expect("it answers");
    found.into_iter().map(|found| found.object).collect()
}

async fn usage(files: &dyn Files, owner: &str) -> FileUsage {
    files.file_usage(&account(owner)).await.expect("it answers")
}

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

/// Once garbage, always garbage.
pub async fn an_object_that_was_given_up_becomes_no_file(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let new = new_file("acme", 1, 10);
    begun(files, &new).await;
    files.give_up_object(new.object).await.expect("it answers");
    begun(files, &new).await;
    let outcome = files.keep_file(new.clone(), PLENTY).await.expect("it answers");
    assert_eq!(outcome, KeepOutcome::GivenUp);
    assert_eq!(files.file(&new.account, new.id).await.expect("it reads"), None);
    assert_eq!(usage(files, "acme").await, FileUsage::default());
    assert_eq!(garbage(files).await, [new.object]);
    let never_begun = new_file("acme", 2, 10);
    let outcome = files.keep_file(never_begun, PLENTY).await.expect("it answers");
    assert_eq!(outcome, KeepOutcome::GivenUp);
}

/// Two names, one object.
pub async fn the_same_content_is_kept_once_and_goes_with_its_last_file(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let (first, second) = (new_file("acme", 1, 10), new_file("acme", 1, 10));
    kept(files, &first).await;
    let (record, is_surplus) = kept(files, &second).await;
    assert!(is_surplus);
    assert_eq!(record.object, first.object);
    assert_eq!(garbage(files).await, [second.object]);
    files.forget_object(second.object).await.expect("it forgets");
    assert_eq!(usage(files, "acme").await, FileUsage { files: 2, bytes: 10 });
    assert!(files.delete_file(&first.account, first.id).await.expect("it deletes"));
    assert_eq!(garbage(files).await, [], "the other file needs it");
    files.give_up_object(first.object).await.expect("it answers");
    files.forget_object(first.object).await.expect("it answers");
    assert_eq!(usage(files, "acme").await, FileUsage { files: 1, bytes: 10 });
    assert!(files.delete_file(&second.account, second.id).await.expect("it deletes"));
    assert_eq!(garbage(files).await, [first.object]);
    assert_eq!(usage(files, "acme").await, FileUsage::default());
    // What is garbage serves nobody any more.
    let third = new_file("acme", 1, 10);
    let (record, is_surplus) = kept(files, &third).await;
    assert_eq!((record.object, is_surplus), (third.object, false));
}

/// What is not in the storage any more is not referred to once somebody has brought it back.
pub async fn a_lost_object_is_replaced_for_all_its_files(fresh: &FreshFiles) {
    let (files, other) = (&*fresh.files, &*fresh.of_another_instance);
    let (first, second, of_another) = (
        new_file("acme", 1, 10),
        new_file("acme", 1, 10),
        new_file("other", 1, 10),
    );
    for new in [&first, &second, &of_another] {
        kept(files, new).await;
    }
    files.forget_object(second.object).await.expect("it forgets");
    let found = |account: AccountId, content: u8| async move { other.object_of_content(&account, [content; 32]).await };
    assert_eq!(found(account("acme"), 1).await, Ok(Some(first.object)));
    assert_eq!(found(account("acme"), 2).await, Ok(None));
    assert_eq!(found(account("other"), 1).await, Ok(Some(of_another.object)));
    let healing = NewFile {
        in_place_of: Some(first.object),
        ..new_file("acme", 1, 10)
    };
    // One that was given up heals nothing.
    begun(files, &healing).await;
    files.give_up_object(healing.object).await.expect("it answers");
    assert_eq!(files.keep_file(healing, PLENTY).await, Ok(KeepOutcome::GivenUp));
    assert_eq!(found(account("acme"), 1).await, Ok(Some(first.object)));
    let healing = NewFile {
        in_place_of: Some(first.object),
        ..new_file("acme", 1, 10)
    };
    let (record, is_surplus) = kept(files, &healing).await;
    assert_eq!((record.object, is_surplus), (healing.object, false));
    for file in [&first, &second, &healing] {
        let shown = other.file(&file.account, file.id).await.expect("it reads");
        assert_eq!(shown.map(|file| file.object), Some(healing.object));
    }
    assert!(garbage(files).await.contains(&first.object));
    assert_eq!(usage(files, "acme").await, FileUsage { files: 3, bytes: 10 });
    assert_eq!(found(account("other"), 1).await, Ok(Some(of_another.object)));
    // Two who noticed at the same time: the second finds what the first brought.
    let late = NewFile {
        in_place_of: Some(first.object),
        ..new_file("acme", 1, 10)
    };
    let (record, is_surplus) = kept(files, &late).await;
    assert_eq!((record.object, is_surplus), (healing.object, true));
    for file in [&first, &second, &healing, &late] {
        assert!(!garbage(files).await.contains(&healing.object));
        assert!(files.delete_file(&file.account, file.id).await.expect("it deletes"));
    }
    assert!(garbage(files).await.contains(&healing.object));
    assert_eq!(usage(files, "acme").await, FileUsage::default());
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

/// Whoever comes second refers to the first.
pub async fn parallel_files_of_one_content_have_one_object(fresh: &FreshFiles) {
    let all = (0..20).map(|index| async move {
        let files = if index % 2 == 0 {
            &fresh.files
        } else {
            &fresh.of_another_instance
        };
        kept(&**files, &new_file("acme", 7, 10)).await
    });
    let outcomes = join_all(all).await;
    assert!(outcomes.iter().all(|(file, _)| file.object == outcomes[0].0.object));
    assert_eq!(outcomes.iter().filter(|(_, is_surplus)| !is_surplus).count(), 1);
    assert_eq!(usage(&*fresh.files, "acme").await, FileUsage { files: 20, bytes: 10 });
    assert_eq!(garbage(&*fresh.files).await.len(), 19);
    let deleting = outcomes
        .iter()
        .map(|(file, _)| fresh.files.delete_file(&file.account, file.id));
    assert!(join_all(deleting).await.into_iter().all(|deleted| deleted == Ok(true)));
    assert_eq!(usage(&*fresh.files, "acme").await, FileUsage::default());
    assert_eq!(garbage(&*fresh.files).await.len(), 20);
}

/// An instance that was killed comes back to nothing.
pub async fn what_was_begun_long_ago_is_garbage_and_what_is_kept_never_is(fresh: &FreshFiles) {
    let files = &*fresh.files;
    let at = |micros| Timestamp::from_micros(micros);
    let old = |micros| NewFile {
        created_at: at(micros),
        ..new_file("acme", 1, 10)
    };
    let (broken, whole, young) = (old(1_000), old(1_000), old(5_000));
    begun(files, &broken).await;
    begun(files, &young).await;
    kept(files, &whole).await;
    let given_up_before = async |micros| {
        fresh
            .of_another_instance
            .give_up_old(at(micros))
            .await
            .expect("it answers");
        garbage(files).await
    };
    assert_eq!(given_up_before(1_000).await, [], "not before this");
    assert_eq!(given_up_before(2_000).await, [broken.object]);
    assert_eq!(given_up_before(9_000).await, [broken.object, young.object]);
    let garbage_after = async |after| files.garbage(after, 1).await.expect("it answers");
    let first = garbage_after(None).await;
    let oldest = GarbageObject {
        object: broken.object,
        begun_at: at(1_000),
    };
    assert_eq!(first, [oldest], "the oldest first");
    let second = garbage_after(Some(oldest)).await;
    assert_eq!(second[0].object, young.object);
    assert_eq!(garbage_after(Some(second[0])).await, []);
    let outcome = files.keep_file(young, PLENTY).await.expect("it answers");
    assert_eq!(outcome, KeepOutcome::GivenUp);
}
