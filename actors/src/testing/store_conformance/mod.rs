//! What every adapter of [`Store`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`store_conformance!`](crate::store_conformance) with an async function that makes an empty store:
//!
//! ```text
//! async fn fresh_store() -> FreshStore { … }
//! callboard_actors::store_conformance!(fresh_store);
//! ```
//!
//! Each rule gets a test of its own, on a multi-thread runtime and on a store of its own.

pub mod archiving;
pub mod claiming;
pub mod creating;
pub mod fencing;
pub(in crate::testing) mod fixtures;
pub mod forgetting;
pub mod keys;
pub mod model;
pub mod parked;
pub mod reading;
pub mod recovery;
pub mod repeating;
pub mod waiting_for_budget;
pub mod waiting_for_calls;

use std::any::Any;
use std::sync::Arc;

use crate::ports::Store;

/// An empty store.
pub struct FreshStore {
    /// The adapter under test.
    pub store: Arc<dyn Store>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send>,
}

impl std::fmt::Debug for FreshStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshStore")
    }
}

/// Generates one test for each rule of the port [`Store`](crate::ports::Store). Takes an `async fn() -> FreshStore`.
#[macro_export]
macro_rules! store_conformance {
    ($fresh_store:path) => {
        $crate::store_conformance! { @rules $fresh_store;
            creating::a_new_run_reads_back_whole,
            creating::a_queued_run_takes_no_slot,
            creating::a_thousand_parallel_creates_keep_the_limit,
            creating::a_limit_of_one_account_is_not_that_of_another,
            creating::the_same_request_is_one_run,
            creating::the_same_request_in_parallel_is_one_run,
            creating::an_earlier_request_wins_over_a_full_quota,
            creating::forgotten_keys_are_free_again,
            creating::a_refused_run_leaves_no_trace,
            claiming::a_claim_moves_the_run_and_tells_its_log,
            claiming::a_claim_without_a_slot_changes_nothing,
            claiming::only_queued_runs_can_be_claimed,
            claiming::one_of_many_parallel_claims_wins,
            claiming::parallel_claims_keep_the_limit,
            claiming::a_claim_reserves_seqs,
            fencing::a_commit_writes_all_its_parts,
            fencing::a_stale_epoch_is_refused_whole,
            fencing::a_wrong_seq_is_refused_whole,
            fencing::a_run_that_is_not_running_is_refused,
            fencing::illegal_moves_are_refused,
            fencing::the_end_and_its_event_come_together_and_once,
            fencing::refused_writes_do_not_disturb_their_neighbours,
            fencing::reserved_seqs_may_be_left_out,
            fencing::leaving_running_gives_the_slot_back,
            repeating::a_commit_that_is_there_is_answered_again,
            repeating::an_ending_that_is_there_is_answered_again,
            repeating::an_old_owner_hears_of_what_it_wrote_and_writes_no_more,
            repeating::what_only_looks_like_a_commit_that_is_there_is_refused,
            repeating::the_same_commit_at_once_is_written_once,
            parked::an_update_is_numbered_by_the_store,
            parked::an_ending_is_told_by_the_store,
            parked::running_and_ended_runs_are_not_parked,
            parked::illegal_parked_moves_are_refused,
            parked::a_waiting_run_returns_to_the_queue,
            parked::an_update_and_a_claim_never_both_win,
            parked::many_cancels_are_one_ending,
            parked::an_abandoned_run_fails_once,
            waiting_for_budget::runs_that_wait_for_their_budget_are_listed_oldest_first,
            waiting_for_budget::a_run_that_waited_for_its_budget_goes_on,
            waiting_for_calls::answers_are_written_one_after_the_other_and_then_the_run_goes_on,
            waiting_for_calls::each_call_is_answered_once,
            waiting_for_calls::what_is_wrong_changes_nothing,
            waiting_for_calls::a_verdict_may_end_the_run,
            waiting_for_calls::an_approved_call_of_the_client_is_told_again,
            waiting_for_calls::the_time_of_a_review_is_kept,
            waiting_for_calls::a_run_whose_review_has_no_beginning_gets_its_time_anew,
            waiting_for_calls::overdue_calls_are_found_by_their_deadlines,
            reading::events_come_in_whole_batches_and_are_cut_at_the_front,
            reading::event_pages_join_without_a_gap,
            reading::items_come_in_pages,
            reading::a_page_of_items_is_bounded_in_bytes,
            reading::newest_items_come_first,
            reading::runs_come_newest_first_in_pages,
            reading::what_is_not_there_is_none,
            archiving::an_archived_run_reads_the_same,
            archiving::only_runs_that_have_ended_long_ago_are_archived,
            archiving::runs_that_ended_first_are_archived_first,
            archiving::many_at_once_archive_each_run_once,
            archiving::readers_page_through_while_runs_are_archived,
            archiving::a_very_long_log_is_archived_whole,
            archiving::an_archive_that_is_given_up_is_taken_up_again,
            forgetting::the_run_stays_when_its_events_are_forgotten,
            forgetting::events_of_other_runs_are_not_forgotten,
            forgetting::forgetting_archiving_and_reading_at_once,
            recovery::running_runs_are_taken_over_once,
            recovery::the_queue_is_listed_oldest_first,
            recovery::slots_are_counted_from_the_runs,
            keys::keys_are_found_listed_and_revoked,
            keys::the_last_tier_counts_for_all_keys_of_an_account,
            keys::a_store_that_answers_can_be_pinged,
            model::slots_follow_a_model_over_random_operations,
        }
    };
    (@rules $fresh_store:path; $($group:ident :: $rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::store_conformance::FreshStore = $fresh_store().await;
                $crate::testing::store_conformance::$group::$rule(fresh.store.clone()).await;
            }
        )*
    };
}
