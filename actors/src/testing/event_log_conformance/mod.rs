//! What every `EventLog` must do, as tests that try to break it. An adapter runs them all with
//! [`event_log_conformance!`](crate::event_log_conformance) and a [`LogFactory`].

mod appending;
mod following;
mod forgetting;
mod many_runs;
mod racing;
mod restarting;
mod script;

use std::sync::Arc;

use async_trait::async_trait;

use crate::ports::{EventLog, Store};

pub use appending::{
    a_higher_epoch_may_jump_and_readers_see_that_jump, appends_that_do_not_continue_the_log_are_refused,
    nothing_follows_the_end, the_writer_before_is_fenced_off, what_is_committed_but_not_appended_is_no_hole,
};
pub use following::{
    a_reader_at_the_end_hears_the_end, a_reader_may_come_before_the_first_event, every_position_resumes_exactly,
    pages_are_bounded_and_do_not_wait, readers_behind_are_served_from_the_store,
    unflushed_events_are_not_forgotten_under_pressure,
};
pub use forgetting::{a_reader_that_is_overtaken_by_the_retention_sees_no_gap, forgotten_events_are_said_to_be_so};
pub use many_runs::two_hundred_runs_with_readers_that_drop_and_resume;
pub use racing::{
    readers_join_while_the_writer_ends, readers_join_while_the_writer_opens_a_log,
    what_comes_during_a_look_into_the_store_is_seen,
};
pub use restarting::{
    a_broken_store_is_one_error, a_new_log_continues_where_the_store_ends, readers_wait_across_a_restart,
};
pub use script::{
    Durability, ScriptedWriter, delta, expect_whole_log, next_batch, read_to_the_end, read_up_to, younger_run,
};

/// Makes logs of the adapter under test.
#[async_trait]
pub trait LogFactory: Send + Sync {
    /// A log over `store` that knows nothing yet, as after a start of the server. Two logs over the same store are two lives of one server.
    async fn open(&self, store: Arc<dyn Store>) -> Arc<dyn EventLog>;
}

/// Every test of the suite, each as a `#[tokio::test]` of its own: `event_log_conformance!(MyFactory::new())`. The caller needs tokio with
/// `rt-multi-thread`, `macros` and `time`.
#[macro_export]
macro_rules! event_log_conformance {
    ($factory:expr) => {
        $crate::event_log_conformance!(@each $factory;
            appends_that_do_not_continue_the_log_are_refused,
            the_writer_before_is_fenced_off,
            nothing_follows_the_end,
            a_higher_epoch_may_jump_and_readers_see_that_jump,
            what_is_committed_but_not_appended_is_no_hole,
            every_position_resumes_exactly,
            a_reader_may_come_before_the_first_event,
            a_reader_at_the_end_hears_the_end,
            pages_are_bounded_and_do_not_wait,
            readers_behind_are_served_from_the_store,
            unflushed_events_are_not_forgotten_under_pressure,
            a_new_log_continues_where_the_store_ends,
            readers_wait_across_a_restart,
            a_broken_store_is_one_error,
            forgotten_events_are_said_to_be_so,
            a_reader_that_is_overtaken_by_the_retention_sees_no_gap,
            what_comes_during_a_look_into_the_store_is_seen,
            readers_join_while_the_writer_opens_a_log,
            readers_join_while_the_writer_ends,
            two_hundred_runs_with_readers_that_drop_and_resume
        );
    };
    (@each $factory:expr; $($case:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::testing::event_log_conformance::$case(&$factory).await;
            }
        )+
    };
}
