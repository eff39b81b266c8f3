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

/// How long an answer waits for a run that another instance has to end: long enough for a take-over.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
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
        let record = match cancel_parked(&services, run).await? {
            ParkedOutcome::Updated { record, .. } => {
                count_ending(&record);
                services.log.release(run);
                return Ok(Some(*record));
            }
            ParkedOutcome::NotParked(record) => record,
            ParkedOutcome::NotFound => return Ok(None),
        };
        if record.state != RunState::Running || began.elapsed() >= LONGEST_WAIT {
            return Ok(Some(*record));
        }
        if !is_asked {
            is_asked = fleet.ask_to_cancel(run).await? == Some(RunState::Running);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
