//! Which object holds what, and when it is garbage.

use futures::future::join_all;

use super::FreshFiles;
use super::fixtures::{PLENTY, account, begun, garbage, kept, new_file, usage};
use crate::ids::AccountId;
use crate::ports::files::{FileUsage, GarbageObject, KeepOutcome, NewFile};
use crate::time::Timestamp;

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
