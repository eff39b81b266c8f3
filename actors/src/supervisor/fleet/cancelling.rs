//! Stopping a run that this instance does not have: if it waits, it is cancelled in the store; if another instance has it, that one is
//! told, and the answer waits until the run is over.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::RunId;
use crate::ports::store::{ParkedOutcome, RunRecord};
use crate::ports::{Fleet, StoreError};
use crate::run_state::RunState;
use crate::services::RunServices;
use crate::supervisor::parked::{cancel_parked, count_ending};

/// How long a run that another instance has is looked at until it ends: longer than any lease. Whoever asked may have given up before
/// (`server.cancel_timeout`); it is looked at all the same, because it may come to wait where nobody is told that it is to be cancelled.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Between two looks at the run; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The run as it is when it is over, or as it is when the time is over: the cancel sticks all the same. `None`: no such run.
pub(in crate::supervisor) async fn cancel_elsewhere(
    services: Arc<RunServices>,
    fleet: Arc<dyn Fleet>,
    run: RunId,
) -> Result<Option<RunRecord>, StoreError> {
    let began = tokio::time::Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut is_asked = false;
    loop {
        match look(&services, &*fleet, run, &mut is_asked).await {
            Ok(Look::Over(answer)) => return Ok(answer.map(|record| *record)),
            Ok(Look::Running(record)) if began.elapsed() >= LONGEST_WAIT => return Ok(Some(*record)),
            Ok(Look::Running(_)) => {}
            // It is asked for already, and the store will be back.
            Err(StoreError::Unavailable(_)) if is_asked && began.elapsed() < LONGEST_WAIT => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Look {
    /// There is nothing more to wait for.
    Over(Option<Box<RunRecord>>),
    /// Another instance has it.
    Running(Box<RunRecord>),
}

/// Only looks, unless the run can be cancelled here or its owner is to be told.
async fn look(services: &RunServices, fleet: &dyn Fleet, run: RunId, is_asked: &mut bool) -> Result<Look, StoreError> {
    let Some(record) = services.store.run(run).await? else {
        return Ok(Look::Over(None));
    };
    if record.is_parked() {
        return match cancel_parked(services, run).await? {
            ParkedOutcome::Updated { record, .. } => {
                count_ending(&record);
                services.log.release(run);
                Ok(Look::Over(Some(record)))
            }
            // Its turn has come, or somebody else ended it: the next look tells.
            ParkedOutcome::NotParked(record) => Ok(Look::Running(record)),
            // Nothing was said of its tool calls.
            ParkedOutcome::NotFound | ParkedOutcome::Refused(_) => Ok(Look::Over(None)),
        };
    }
    if record.state != RunState::Running {
        return Ok(Look::Over(Some(Box::new(record))));
    }
    if !*is_asked {
        *is_asked = fleet.ask_to_cancel(run).await? == Some(RunState::Running);
    }
    Ok(Look::Running(Box::new(record)))
}
