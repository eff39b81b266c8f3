//! What every adapter of [`Threads`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`threads_conformance!`](crate::threads_conformance) with an async function that makes an empty store; one that
//! serves a fleet calls [`threads_fleet_conformance!`](crate::threads_fleet_conformance) too.

pub mod begin;
pub mod entering;
mod fixtures;
pub mod fleet;
pub mod ordering;
pub mod reading;

use std::any::Any;
use std::sync::Arc;

use crate::ports::{Fleet, Store, Threads};

/// An empty store.
pub struct FreshThreads {
    /// The adapter under test, as the port `Store`.
    pub store: Arc<dyn Store>,
    /// The adapter under test.
    pub threads: Arc<dyn Threads>,
    /// As the port `Fleet`, if it is one, here and as another instance has it.
    pub fleets: Vec<Arc<dyn Fleet>>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send>,
}

impl std::fmt::Debug for FreshThreads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshThreads")
    }
}

/// Generates one test for each rule of the port [`Threads`](crate::ports::Threads). Takes an `async fn() -> FreshThreads`.
#[macro_export]
macro_rules! threads_conformance {
    ($fresh:path) => {
        $crate::threads_conformance! { @rules $fresh;
            begin::a_thread_reads_back_and_lists_newest_first,
            begin::a_deleted_thread_is_not_there,
            entering::runs_get_places_in_the_order_in_which_they_come,
            entering::a_busy_thread_refuses_and_names_the_run,
            entering::nothing_enters_a_thread_that_is_not_there,
            entering::the_same_request_is_one_run_and_displaces_nobody,
            entering::a_run_that_may_not_begin_is_not_claimed,
            entering::interrupting_marks_those_before_it,
            entering::a_marked_run_begins_no_more,
            entering::many_at_once_get_one_place_each,
            ordering::each_way_to_end_lets_the_next_one_in,
            ordering::a_handed_over_run_stays_first,
            ordering::a_run_that_waits_keeps_the_others_waiting,
            ordering::recovery_lists_what_has_not_ended,
            ordering::never_two_of_a_thread_whatever_happens_at_once,
            reading::items_are_those_of_the_runs_in_order,
            reading::turns_come_newest_first,
            reading::turns_are_read_no_further_than_the_page_is_large,
            reading::a_turn_is_as_large_as_its_items,
            reading::runs_are_listed_by_thread,
        }
    };
    (@rules $fresh:path; $($group:ident :: $rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::threads_conformance::FreshThreads = $fresh().await;
                $crate::testing::threads_conformance::$group::$rule(&fresh).await;
            }
        )*
    };
}

/// The same for the rules of threads in a fleet.
#[macro_export]
macro_rules! threads_fleet_conformance {
    ($fresh:path) => {
        $crate::threads_conformance! { @rules $fresh;
            fleet::a_busy_thread_holds_a_run_and_nobody_elses,
            fleet::marked_runs_are_told_until_they_have_ended,
            fleet::claims_of_many_instances_never_take_two_of_a_thread,
            fleet::a_lost_run_is_taken_over_and_stays_alone,
        }
    };
}
