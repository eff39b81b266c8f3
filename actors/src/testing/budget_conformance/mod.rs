//! What every adapter of [`Budgets`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`budget_conformance!`](crate::budget_conformance) with an async function that makes an empty store:
//!
//! ```text
//! async fn fresh_budgets() -> FreshBudgets { … }
//! callboard_actors::budget_conformance!(fresh_budgets);
//! ```
//!
//! Each rule gets a test of its own, on a multi-thread runtime and on a store of its own.

pub mod charging;
pub mod ending;
pub(super) mod fixtures;
pub mod folding;
pub mod holding;
pub mod model;
pub mod periods;
pub mod topping_up;

use std::any::Any;
use std::sync::Arc;

use crate::ports::{Budgets, Store};

/// An empty store, with the budgets that it keeps.
pub struct FreshBudgets {
    /// Where the runs are.
    pub store: Arc<dyn Store>,
    /// The adapter under test.
    pub budgets: Arc<dyn Budgets>,
    /// The same, as another instance sees it; where there is only one, that one.
    pub of_another_instance: Arc<dyn Budgets>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for FreshBudgets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshBudgets")
    }
}

/// Generates one test for each rule of the port [`Budgets`](crate::ports::Budgets). Takes an `async fn() -> FreshBudgets`.
#[macro_export]
macro_rules! budget_conformance {
    ($fresh_budgets:path) => {
        $crate::budget_conformance! { @rules $fresh_budgets;
            holding::a_hold_counts_until_it_is_released,
            holding::the_same_hold_twice_is_one,
            holding::each_limit_refuses_what_would_exceed_it,
            holding::call_time_is_held_and_charged,
            holding::without_limits_everything_is_held,
            holding::parallel_holds_never_exceed_a_limit,
            holding::parallel_calls_use_a_limit_up_and_never_exceed_it,
            holding::accounts_do_not_see_each_other,
            ending::holds_end_with_their_run,
            ending::holds_end_when_their_run_waits_or_is_handed_over,
            ending::holds_of_a_lost_epoch_become_charges,
            ending::no_hold_is_lost_with_its_epoch,
            ending::lost_calls_do_not_come_free,
            ending::a_run_that_does_not_run_gets_no_hold,
            charging::a_charge_ends_its_hold_and_is_used,
            charging::a_charge_without_a_hold_counts,
            charging::a_refused_step_charges_nothing,
            charging::the_same_charge_twice_is_one,
            charging::the_same_charge_at_once_is_one,
            charging::the_account_of_the_run_pays,
            charging::numbers_stop_at_what_can_be_counted,
            periods::a_charge_counts_in_the_period_of_its_time,
            periods::a_new_period_begins_with_nothing_used,
            periods::a_call_over_midnight_counts_on_both_sides_until_it_is_charged,
            periods::what_is_lost_counts_where_it_was_held,
            periods::forever_never_ends,
            topping_up::a_top_up_counts_in_its_period,
            topping_up::the_same_top_up_twice_is_one,
            topping_up::what_is_topped_up_may_be_used,
            folding::usage_is_told_by_day_account_model_and_provider,
            folding::folding_changes_nothing_that_is_told,
            folding::so_much_is_folded_as_was_asked_for,
            folding::charges_that_come_while_others_are_folded_are_counted_once,
            folding::an_archived_run_keeps_its_usage,
            model::balances_follow_a_model_over_random_operations,
        }
    };
    (@rules $fresh_budgets:path; $($group:ident :: $rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::budget_conformance::FreshBudgets = $fresh_budgets().await;
                $crate::testing::budget_conformance::$group::$rule(&fresh).await;
            }
        )*
    };
}
