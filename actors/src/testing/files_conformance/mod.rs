//! What every adapter of [`Files`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`files_conformance!`](crate::files_conformance) with an async function that makes an empty store.

mod fixtures;
pub mod objects;
pub mod quotas;
pub mod shown;

use std::any::Any;
use std::sync::Arc;

use crate::ports::Files;

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
            shown::a_file_is_kept_shown_and_forgotten,
            shown::the_same_file_twice_is_one,
            objects::an_object_that_was_given_up_becomes_no_file,
            objects::the_same_content_is_kept_once_and_goes_with_its_last_file,
            objects::a_lost_object_is_replaced_for_all_its_files,
            shown::files_of_other_accounts_are_not_there,
            shown::many_files_are_found_at_once,
            shown::lists_are_newest_first_and_come_in_pages,
            quotas::a_quota_of_files_refuses_and_changes_nothing,
            quotas::a_quota_of_bytes_counts_each_content_once,
            quotas::parallel_files_never_exceed_a_quota,
            objects::parallel_files_of_one_content_have_one_object,
            objects::what_was_begun_long_ago_is_garbage_and_what_is_kept_never_is,
        }
    };
    (@rules $fresh_files:path; $($part:ident::$rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::files_conformance::FreshFiles = $fresh_files().await;
                $crate::testing::files_conformance::$part::$rule(&fresh).await;
            }
        )*
    };
}
