//! What is done now and then, beside the runs: events of runs that have ended are archived, and what is kept for a time only is forgotten
//! when that is over, what deleted files leave is removed, and what accounts have used is summed up by day.
//!
//! In a fleet every instance does it. The store sees to it that nothing is done twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard_actors::ports::{Budgets, Store, StoreError};
use callboard_actors::time::Timestamp;
use metrics::Counter;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use crate::files::FileService;

/// How often expired idempotency keys are looked for.
const IDEMPOTENCY_INTERVAL: Duration = Duration::from_secs(600);

/// How often charges are folded that no call of their account has folded.
const FOLD_INTERVAL: Duration = Duration::from_secs(30);

/// How often what deleted files and broken uploads left is looked for.
const GARBAGE_INTERVAL: Duration = Duration::from_secs(60);

/// Runs that the store archives or forgets at once, and charges that it folds, before it rests.
const AT_ONCE: u32 = 256;

/// How long what is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HousekeepingTimes {
    /// From a run's creation: its idempotency key.
    pub(crate) idempotency_retention: Duration,
    /// From a run's end: its events as they were committed.
    pub(crate) archive_after: Duration,
    /// From a run's end: its events; `None` is for ever.
    pub(crate) history_retention: Option<Duration>,
}

/// Goes on until it is dropped.
pub(crate) struct Housekeeping {
    _tasks: JoinSet<()>,
}

impl Housekeeping {
    /// Begins on the runtime to which the store's connections belong.
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        budgets: Arc<dyn Budgets>,
        files: &FileService,
        times: HousekeepingTimes,
        io: &Handle,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn_on(forget_idempotency_keys(store.clone(), times.idempotency_retention), io);
        tasks.spawn_on(archive_events(store.clone(), times.archive_after), io);
        tasks.spawn_on(fold_charges(budgets), io);
        tasks.spawn_on(remove_garbage(files.clone()), io);
        if let Some(retention) = times.history_retention {
            tasks.spawn_on(forget_events(store.clone(), retention), io);
        }
        Self { _tasks: tasks }
    }
}

async fn forget_idempotency_keys(store: Arc<dyn Store>, retention: Duration) {
    let mut ticks = every(IDEMPOTENCY_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = store.forget_idempotency_keys(ago(retention)).await {
            tracing::warn!(%error, "expired idempotency keys could not be forgotten; trying again later");
        }
    }
}

async fn fold_charges(budgets: Arc<dyn Budgets>) {
    let mut ticks = every(FOLD_INTERVAL);
    loop {
        ticks.tick().await;
        let some = || budgets.fold_charges(Timestamp::now(), AT_ONCE);
        if let Err(error) = until_none_is_left(some, &Counter::noop()).await {
            tracing::warn!(%error, "what accounts have used could not be summed up; trying again later");
        }
    }
}

async fn remove_garbage(files: FileService) {
    let mut ticks = every(GARBAGE_INTERVAL);
    loop {
        // One pass at a time, however much is deleted: while the storage is silent a pass takes long.
        tokio::select! {
            _ = ticks.tick() => {}
            () = files.deletion() => {}
        }
        if let Err(error) = files.remove_garbage().await {
            tracing::warn!(%error, "what deleted files and broken uploads left could not be removed; trying again later");
        }
    }
}

async fn archive_events(store: Arc<dyn Store>, archive_after: Duration) {
    let archived = metrics::counter!("callboard_event_histories_archived_total");
    let mut ticks = every(a_part_of(archive_after));
    loop {
        ticks.tick().await;
        let some = || store.archive_ended(ago(archive_after), AT_ONCE);
        if let Err(error) = until_none_is_left(some, &archived).await {
            tracing::warn!(%error, "events of ended runs could not be archived; trying again later");
        }
    }
}

async fn forget_events(store: Arc<dyn Store>, retention: Duration) {
    let forgotten = metrics::counter!("callboard_event_histories_forgotten_total");
    let mut ticks = every(a_part_of(retention));
    loop {
        ticks.tick().await;
        let some = || store.forget_events(ago(retention), AT_ONCE);
        if let Err(error) = until_none_is_left(some, &forgotten).await {
            tracing::warn!(%error, "events whose time is over could not be forgotten; trying again later");
        }
    }
}

/// Calls `some` again and again, which does [`AT_ONCE`] or all that are left. After each call it rests for as long as that has
/// taken: a backlog, as after an update, must not take the store from the runs.
async fn until_none_is_left<Doing>(mut some: impl FnMut() -> Doing, done: &Counter) -> Result<(), StoreError>
where
    Doing: Future<Output = Result<u64, StoreError>>,
{
    loop {
        let began = Instant::now();
        let count = some().await?;
        done.increment(count);
        if count < u64::from(AT_ONCE) {
            return Ok(());
        }
        tokio::time::sleep(began.elapsed()).await;
    }
}

fn every(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How often to look for what is due after this time: so that it is not much late, and a look is not much of the work.
fn a_part_of(time: Duration) -> Duration {
    (time / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

fn ago(time: Duration) -> Timestamp {
    let time = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backlog_is_worked_off_until_an_error_or_the_end() {
        let full = u64::from(AT_ONCE);
        for (answers, expected) in [
            (vec![Ok(0)], Ok(())),
            (vec![Ok(full), Ok(full), Ok(3)], Ok(())),
            (vec![Ok(full), Err(StoreError::Fenced)], Err(StoreError::Fenced)),
        ] {
            let mut left = answers.into_iter();
            let some = || std::future::ready(left.next().expect("it was told to stop"));
            assert_eq!(until_none_is_left(some, &Counter::noop()).await, expected);
            assert_eq!(left.next(), None);
        }
    }
}
