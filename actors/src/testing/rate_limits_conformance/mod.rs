//! What every `RateLimits` must do, as tests that try to break it. An adapter runs them all with
//! [`rate_limits_conformance!`](crate::rate_limits_conformance) and a [`LimitsFactory`].
//!
//! Nothing relies on how long a thing takes: where time must pass, a test asks again until it has, and what must not change meanwhile is held
//! by calls that nobody answers. So the suite runs on paused time and on a real clock, with windows as short as the adapter likes.

mod choosing;
mod counting;
mod ending;
mod fitting;
mod fixtures;
mod hammering;
mod hearing;
mod recovering;
mod resting;
mod windows;

use std::sync::Arc;

use async_trait::async_trait;

use crate::local_limits::LimitTimes;
use crate::ports::RateLimits;

pub use choosing::{all_keys_are_used_evenly, keys_without_limits_share_what_is_under_way, larger_keys_get_more};
pub use counting::{
    a_limit_of_calls_holds, a_limit_of_concurrent_calls_holds, a_limit_of_tokens_holds,
    a_little_more_than_the_limit_waits_for_an_empty_minute, a_refusal_counts_nothing, instances_count_together,
    usage_is_told_in_order,
};
pub use ending::{
    a_call_that_was_not_made_counts_for_nothing, a_grant_is_settled_only_once, a_grant_that_nobody_settles_was_made,
    a_rate_limited_call_counts_without_its_tokens, an_unknown_end_counts_what_was_reserved,
    what_was_reserved_is_corrected_to_what_was_used,
};
pub use fitting::{
    a_call_that_is_too_large_does_not_cool_its_key, a_limit_that_is_told_rules_out_for_a_while,
    what_never_fits_is_said_at_once,
};
pub use fixtures::{Granted, GrantedCalls, calls, end_call, granted, key, not_yet, wanted};
pub use hammering::{no_window_sees_more_calls_than_the_limit, no_window_sees_more_tokens_than_the_limit};
pub use hearing::{
    a_lower_limit_of_the_provider_counts, calls_under_way_are_not_taken_for_others, others_use_counts_for_a_window,
    the_provider_is_believed_when_others_have_gone,
};
pub use recovering::{
    a_careful_try_without_an_answer_lets_the_next_try, a_key_that_has_cooled_down_is_used_with_care,
    a_key_that_meets_429_again_cools_longer,
};
pub use resting::{
    a_key_that_cools_down_is_granted_to_nobody, a_refused_key_rests_and_one_call_tries_it_again,
    a_try_that_was_not_made_lets_the_next_try, other_keys_are_used_meanwhile, the_usual_cooling_is_known,
};
pub use windows::{
    a_call_that_ends_without_an_answer_counts_from_its_end, a_minute_begins_with_the_answer,
    there_is_room_after_the_wait,
};

/// Makes adapters.
#[async_trait]
pub trait LimitsFactory: Send + Sync {
    /// So many instances that share their counts, with nothing counted yet, each of which may use whole limits.
    async fn open(&self, instances: usize) -> Vec<Arc<dyn RateLimits>>;

    /// The times that they keep to.
    fn times(&self) -> LimitTimes;
}

/// Every test of the suite, each as a `#[tokio::test]` of its own. What follows the factory is said to tokio:
/// `rate_limits_conformance!(Factory, start_paused = true)`.
#[macro_export]
macro_rules! rate_limits_conformance {
    ($factory:expr, $($runtime:tt)+) => {
        $crate::rate_limits_conformance!(@each $factory, ($($runtime)+);
            a_refusal_counts_nothing,
            a_limit_of_calls_holds,
            a_limit_of_tokens_holds,
            a_limit_of_concurrent_calls_holds,
            a_little_more_than_the_limit_waits_for_an_empty_minute,
            instances_count_together,
            usage_is_told_in_order,
            a_minute_begins_with_the_answer,
            a_call_that_ends_without_an_answer_counts_from_its_end,
            there_is_room_after_the_wait,
            what_was_reserved_is_corrected_to_what_was_used,
            an_unknown_end_counts_what_was_reserved,
            a_call_that_was_not_made_counts_for_nothing,
            a_rate_limited_call_counts_without_its_tokens,
            a_grant_that_nobody_settles_was_made,
            a_grant_is_settled_only_once,
            a_key_that_cools_down_is_granted_to_nobody,
            the_usual_cooling_is_known,
            other_keys_are_used_meanwhile,
            a_refused_key_rests_and_one_call_tries_it_again,
            a_try_that_was_not_made_lets_the_next_try,
            a_key_that_has_cooled_down_is_used_with_care,
            a_careful_try_without_an_answer_lets_the_next_try,
            a_key_that_meets_429_again_cools_longer,
            what_never_fits_is_said_at_once,
            a_limit_that_is_told_rules_out_for_a_while,
            a_call_that_is_too_large_does_not_cool_its_key,
            a_lower_limit_of_the_provider_counts,
            others_use_counts_for_a_window,
            the_provider_is_believed_when_others_have_gone,
            calls_under_way_are_not_taken_for_others,
            all_keys_are_used_evenly,
            larger_keys_get_more,
            keys_without_limits_share_what_is_under_way,
            no_window_sees_more_calls_than_the_limit,
            no_window_sees_more_tokens_than_the_limit
        );
    };
    (@each $factory:expr, $runtime:tt; $($case:ident),+) => {
        $( $crate::rate_limits_conformance!(@one $factory, $runtime, $case); )+
    };
    (@one $factory:expr, ($($runtime:tt)+), $case:ident) => {
        #[tokio::test($($runtime)+)]
        async fn $case() {
            $crate::testing::rate_limits_conformance::$case(&$factory).await;
        }
    };
}
