//! Runs that wait for tool calls beyond a deadline: the call's own, or the run's.
//!
//! In a fleet every instance looks after all of them. The store sees to it that each deadline counts once. A run that cannot be seen to now, for
//! whatever reason, keeps no other one waiting; it is looked at again the next time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::call_ledger::CallLedger;
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::{OverduePlace, OverdueRun, ParkedOutcome};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::time::Timestamp;
use futures::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How late a deadline may count.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs that are read together.
const RUNS_AT_ONCE: u32 = 200;

/// Runs that are seen to at the same time: one whose actor does not let go takes seconds.
const SEEN_TO_AT_ONCE: usize = 8;

/// Goes on until it is dropped.
pub(crate) struct CallWatch {
    _task: JoinSet<()>,
}

impl CallWatch {
    /// Begins on the runtime to which the store's connections belong.
    pub(crate) fn start(store: &Arc<dyn Store>, supervisor: &SupervisorHandle, io: &Handle) -> Self {
        let mut watcher = Watcher {
            deadlines: Runs {
                store: store.clone(),
                supervisor: supervisor.clone(),
            },
            failing: HashSet::new(),
        };
        let mut task = JoinSet::new();
        let watch = async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_told = false;
            loop {
                ticks.tick().await;
                match watcher.look(Timestamp::now()).await {
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

/// What is overdue, and what becomes of it: a seam for tests.
#[async_trait]
trait Deadlines: Send + Sync + 'static {
    /// As [`Store::runs_with_overdue_calls`].
    async fn overdue(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError>;

    /// Lets the deadlines count that are over at `now`.
    async fn see_to(&self, run: RunId, calls: CallLedger, now: Timestamp) -> Result<ParkedOutcome, StoreError>;
}

struct Runs {
    store: Arc<dyn Store>,
    supervisor: SupervisorHandle,
}

#[async_trait]
impl Deadlines for Runs {
    async fn overdue(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError> {
        self.store.runs_with_overdue_calls(now, after, limit).await
    }

    async fn see_to(&self, run: RunId, calls: CallLedger, now: Timestamp) -> Result<ParkedOutcome, StoreError> {
        if calls.run_is_overdue(now) {
            self.supervisor.end_overdue(run).await
        } else {
            self.supervisor.resolve_calls(run, calls.overdue(now)).await
        }
    }
}

struct Watcher<D> {
    deadlines: D,
    /// Runs that could not be seen to the last time, and have been told of.
    failing: HashSet<RunId>,
}

impl<D: Deadlines> Watcher<D> {
    /// Looks once at all that are overdue at `now`.
    async fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut failed = HashSet::new();
        let mut after = None;
        loop {
            let overdue = self.deadlines.overdue(now, after, RUNS_AT_ONCE).await?;
            after = overdue.last().map(|run| run.place);
            let is_last = overdue.len() < RUNS_AT_ONCE as usize;
            let deadlines = &self.deadlines;
            let seeing_to = overdue.into_iter().map(|OverdueRun { place, calls }| async move {
                let outcome = match calls {
                    Ok(calls) => deadlines.see_to(place.run, calls, now).await,
                    Err(error) => Err(error),
                };
                (place.run, outcome)
            });
            let mut seen_to = stream::iter(seeing_to).buffer_unordered(SEEN_TO_AT_ONCE);
            while let Some((run, outcome)) = seen_to.next().await {
                match outcome {
                    Ok(ParkedOutcome::Updated { record, .. }) => {
                        tracing::info!(run_id = %run, state = %record.state, "a tool call was waited for long enough");
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if !self.failing.contains(&run) {
                            tracing::warn!(run_id = %run, %error, "a deadline of tool calls could not be seen to; trying again");
                        }
                        failed.insert(run);
                    }
                }
            }
            if is_last {
                self.failing = failed;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Runs in the order in which they are overdue, of which some can never be seen to.
    struct SomeFail {
        runs: Vec<RunId>,
        fails: fn(usize) -> bool,
        unreadable: fn(usize) -> bool,
        tried: Mutex<HashSet<RunId>>,
    }

    #[async_trait]
    impl Deadlines for SomeFail {
        async fn overdue(
            &self,
            _now: Timestamp,
            after: Option<OverduePlace>,
            limit: u32,
        ) -> Result<Vec<OverdueRun>, StoreError> {
            let all = self.runs.iter().enumerate().map(|(index, run)| OverdueRun {
                place: OverduePlace {
                    deadline: Timestamp::from_micros(index as i64),
                    run: *run,
                },
                calls: if (self.unreadable)(index) {
                    Err(StoreError::Damaged("calls".into()))
                } else {
                    Ok(CallLedger::default())
                },
            });
            let behind = all.filter(|run| after.is_none_or(|after| run.place > after));
            Ok(behind.take(limit as usize).collect())
        }

        async fn see_to(&self, run: RunId, _calls: CallLedger, _now: Timestamp) -> Result<ParkedOutcome, StoreError> {
            self.tried.lock().expect("no panic").insert(run);
            let index = self.runs.iter().position(|other| *other == run).expect("one of them");
            if (self.fails)(index) {
                return Err(StoreError::Unavailable("the run's actor does not let go".into()));
            }
            Ok(ParkedOutcome::NotFound)
        }
    }

    #[tokio::test]
    async fn runs_that_cannot_be_seen_to_keep_none_of_those_behind_them_waiting() {
        let count = RUNS_AT_ONCE as usize + 50;
        let runs: Vec<RunId> = (0..count).map(|_| RunId::new()).collect();
        // More than a page of them, all in front.
        let mut watcher = Watcher {
            deadlines: SomeFail {
                runs: runs.clone(),
                fails: |index| index < RUNS_AT_ONCE as usize + 10,
                unreadable: |index| index == 3,
                tried: Mutex::default(),
            },
            failing: HashSet::new(),
        };
        for _ in 0..2 {
            watcher.look(Timestamp::now()).await.expect("the store answers");
            let tried = std::mem::take(&mut *watcher.deadlines.tried.lock().expect("no panic"));
            let expected = runs.iter().enumerate().filter(|(index, _)| *index != 3);
            assert_eq!(tried, expected.map(|(_, run)| *run).collect());
            assert_eq!(
                watcher.failing,
                runs[..RUNS_AT_ONCE as usize + 10].iter().copied().collect()
            );
        }
    }
}
