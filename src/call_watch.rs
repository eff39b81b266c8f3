//! Runs that wait for tool calls beyond a deadline: the call's own, or the run's.
//!
//! In a fleet every instance looks after all of them. The store sees to it that each deadline counts once.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::store::ParkedOutcome;
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::time::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How late a deadline may count.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs that are looked at together.
const RUNS_AT_ONCE: u32 = 200;

/// Goes on until it is dropped.
pub(crate) struct CallWatch {
    _task: JoinSet<()>,
}

impl CallWatch {
    /// Begins on the runtime to which the store's connections belong.
    pub(crate) fn start(store: &Arc<dyn Store>, supervisor: &SupervisorHandle, io: &Handle) -> Self {
        let (store, supervisor) = (store.clone(), supervisor.clone());
        let mut task = JoinSet::new();
        let watch = async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_told = false;
            loop {
                ticks.tick().await;
                match look(&*store, &supervisor).await {
                    Ok(()) => is_told = false,
                    Err(error) if !std::mem::replace(&mut is_told, true) => {
                        tracing::warn!(%error, "deadlines of tool calls could not be looked at");
                    }
                    Err(_) => {}
                }
            }
        };
        task.spawn_on(watch, io);
        Self { _task: task }
    }
}

/// Looks at all that are overdue once.
async fn look(store: &dyn Store, supervisor: &SupervisorHandle) -> Result<(), StoreError> {
    loop {
        let now = Timestamp::now();
        let overdue = store.runs_with_overdue_calls(now, RUNS_AT_ONCE).await?;
        let is_last = overdue.len() < RUNS_AT_ONCE as usize;
        for run in overdue {
            let outcome = if run.calls.run_is_overdue(now) {
                supervisor.end_overdue(run.id).await?
            } else {
                supervisor.resolve_calls(run.id, run.calls.overdue(now)).await?
            };
            if let ParkedOutcome::Updated { record, .. } = outcome {
                tracing::info!(run_id = %run.id, state = %record.state, "a tool call was waited for long enough");
            }
        }
        if is_last {
            return Ok(());
        }
    }
}
