//! What every adapter of [`Fleet`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`fleet_conformance!`](crate::fleet_conformance) with an async function that makes an empty database and
//! opens it twice, as two instances do:
//!
//! ```text
//! async fn fresh_fleet() -> FreshFleet { … }
//! callboard_actors::fleet_conformance!(fresh_fleet);
//! ```
//!
//! Each rule gets a test of its own, on a multi-thread runtime and on a database of its own. Leases end while a test watches the store's
//! own view of them; nothing relies on how long a thing takes here.

pub mod admitting;
pub mod asking_again;
pub mod cancelling;
pub mod claiming;
pub mod disowning;
pub mod expiring;
mod fixtures;
pub mod joining;
pub mod leases;
pub mod limits;
pub mod noticing;
pub mod overlooking;
pub mod positions;
pub mod quotas;
pub mod taking_over;
pub mod turns;

use std::any::Any;
use std::sync::Arc;

use crate::ports::{Budgets, Fleet, Store};

/// An empty database.
pub struct FreshFleet {
    /// The adapter under test, as the port `Store`.
    pub store: Arc<dyn Store>,
    /// The adapter under test.
    pub fleet: Arc<dyn Fleet>,
    /// Another one of the same database, opened for itself: what another instance has.
    pub elsewhere: Arc<dyn Fleet>,
    /// What accounts have used, in the same database.
    pub budgets: Arc<dyn Budgets>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send>,
}

impl FreshFleet {
    /// The database as the instance with this number sees it: neighbours have adapters of their own.
    fn seen_by(&self, number: usize) -> Arc<dyn Fleet> {
        if number.is_multiple_of(2) {
            self.fleet.clone()
        } else {
            self.elsewhere.clone()
        }
    }
}

impl std::fmt::Debug for FreshFleet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshFleet")
    }
}

/// Generates one test for each rule of the port [`Fleet`](crate::ports::Fleet). Takes an `async fn() -> FreshFleet`.
#[macro_export]
macro_rules! fleet_conformance {
    ($fresh_fleet:path) => {
        $crate::fleet_conformance! { @rules $fresh_fleet;
            joining::one_that_keeps_its_events_to_itself_is_alone,
            joining::the_dead_keep_nobody_out,
            joining::of_many_lonely_ones_at_once_one_is_let_in,
            joining::lonely_and_sharing_ones_at_once_do_not_mix,
            joining::who_was_at_the_same_place_is_dead,
            joining::a_lonely_one_may_return_to_its_place,
            joining::at_one_place_one_lives,
            leases::a_lease_runs_from_each_heartbeat,
            leases::the_stores_clock_goes_forward_for_all,
            leases::a_lease_that_is_over_is_over_for_good,
            leases::an_instance_that_left_cannot_come_back,
            leases::an_instance_without_a_lease_is_given_nothing,
            leases::the_end_of_a_lease_moves_nothing,
            admitting::a_run_that_may_start_starts,
            admitting::a_run_that_must_wait_is_queued,
            admitting::an_input_may_be_empty,
            admitting::a_run_that_may_not_wait_is_refused_whole,
            admitting::a_full_line_refuses,
            admitting::nobody_overtakes_his_accounts_line,
            admitting::slot_limits_are_those_of_the_admission,
            admitting::the_queue_deadline_counts_by_the_stores_clock,
            admitting::an_id_is_used_once,
            asking_again::the_same_request_is_one_run,
            asking_again::the_same_request_in_parallel_is_one_run,
            asking_again::conflicting_requests_in_parallel_are_one_run,
            asking_again::an_earlier_request_wins_over_a_full_quota,
            quotas::a_thousand_parallel_admissions_keep_the_limit,
            quotas::parallel_admissions_fill_a_line_exactly,
            quotas::admissions_claims_and_ends_draw_on_the_same_slots,
            claiming::a_claim_moves_a_run_and_tells_its_log,
            claiming::a_later_start_grows_the_epoch_and_keeps_the_first_time,
            claiming::a_claim_reserves_seqs,
            claiming::a_claim_takes_no_more_than_its_limit,
            claiming::a_claim_takes_no_more_than_there_are_slots,
            claiming::only_queued_runs_are_claimed,
            claiming::a_claimed_run_has_all_it_had,
            turns::an_account_keeps_its_order,
            turns::who_had_started_before_comes_first,
            turns::accounts_take_turns,
            turns::a_long_line_does_not_delay_another_accounts_first,
            turns::an_account_without_a_slot_stands_aside,
            turns::parallel_claimers_get_each_run_once_and_together_all,
            turns::claims_of_one_line_follow_one_another,
            limits::the_last_admissions_limit_counts_for_claims,
            limits::tier_limits_change_what_claims_do,
            limits::a_new_account_has_the_limit_of_its_tier,
            limits::an_account_that_changes_its_tier_changes_its_limit,
            taking_over::lost_runs_are_taken_over_as_they_are,
            taking_over::only_lost_runs_in_running_are_taken_over,
            taking_over::many_takers_take_each_run_once,
            taking_over::what_lost_runs_hold_is_charged_once,
            taking_over::the_old_owner_is_fenced,
            taking_over::a_run_may_be_lost_again_and_again,
            taking_over::a_run_is_taken_only_when_the_lease_is_over,
            disowning::what_an_instance_does_not_know_it_gives_up,
            disowning::who_gave_a_run_up_may_take_it_over,
            cancelling::asking_says_where_the_run_is,
            cancelling::the_owner_is_told_until_the_run_is_over,
            cancelling::a_cancel_outlives_the_owner,
            cancelling::a_cancel_outlives_a_hand_over,
            cancelling::cancels_and_take_overs_do_not_miss_each_other,
            expiring::runs_that_waited_too_long_fail,
            expiring::who_has_started_does_not_expire,
            expiring::expiry_claims_and_cancels_never_both_win,
            positions::a_place_is_counted_in_the_accounts_own_line,
            positions::a_place_is_told_when_it_has_halved,
            positions::a_place_is_not_told_too_often,
            positions::no_more_places_are_told_than_asked_for,
            positions::parallel_tellers_tell_each_place_once,
            overlooking::instances_are_listed_as_they_joined,
            overlooking::totals_follow_the_runs,
            overlooking::who_left_is_listed_only_for_what_it_left,
            overlooking::a_heartbeat_tells_what_waits,
            overlooking::a_heartbeat_tells_of_the_others,
            noticing::a_cancel_is_heard_by_all,
            noticing::what_comes_into_the_queue_is_heard,
            noticing::a_freed_slot_is_heard_if_others_wait,
            noticing::a_higher_limit_is_heard_if_others_wait,
            noticing::changed_keys_are_heard,
        }
    };
    (@rules $fresh_fleet:path; $($group:ident :: $rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::fleet_conformance::FreshFleet = $fresh_fleet().await;
                $crate::testing::fleet_conformance::$group::$rule(&fresh).await;
            }
        )*
    };
}
