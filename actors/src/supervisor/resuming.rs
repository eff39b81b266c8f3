//! Waiting runs whose wait is over: they go back into the queue, first in their account's line.

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::event::{EventBody, QueuedReason};
use crate::ids::RunId;
use crate::ports::StoreError;
use crate::ports::store::{ParkedOutcome, ParkedUpdate, StateChange};
use crate::run_state::RunState;
use crate::supervisor::Supervisor;
use crate::supervisor::parked::update;
use crate::time::Timestamp;

/// Give a waiting run its place in the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ResumeRun {
    pub(crate) run: RunId,
    /// Hears whether it has one now because of this.
    pub(crate) reply: oneshot::Sender<Result<bool, StoreError>>,
}

/// A waiting run was to be given its place.
#[derive(Message)]
#[rtype(result = "()")]
struct ResumeTried {
    outcome: Result<ParkedOutcome, StoreError>,
    reply: oneshot::Sender<Result<bool, StoreError>>,
}

impl Handler<ResumeRun> for Supervisor {
    type Result = ();

    fn handle(&mut self, resume: ResumeRun, ctx: &mut Self::Context) {
        let ResumeRun { run, reply } = resume;
        // Its actor is about to go, or somebody is at it: whoever asks may ask again.
        let is_busy = self.registry.contains_key(&run) || self.resolving.contains(&run);
        if self.is_draining || is_busy {
            let _ = reply.send(Ok(false));
            return;
        }
        let services = self.services.clone();
        self.io_task(ctx, async move {
            let queued = EventBody::RunQueued {
                position: 1,
                reason: QueuedReason::Resumed,
            };
            let change = StateChange {
                to: RunState::Queued,
                error: None,
                waiting: None,
                at: Timestamp::now(),
            };
            let resumed = ParkedUpdate::moving(run, vec![queued], change);
            let outcome = update(&services, resumed).await;
            ResumeTried { outcome, reply }
        });
    }
}

impl Handler<ResumeTried> for Supervisor {
    type Result = ();

    fn handle(&mut self, tried: ResumeTried, ctx: &mut Self::Context) {
        let resumed = match tried.outcome {
            Ok(ParkedOutcome::Updated { record, .. }) => {
                self.line_up(&record);
                self.pump(ctx);
                Ok(true)
            }
            // Somebody else was faster, or it has been cancelled.
            Ok(ParkedOutcome::NotParked(_) | ParkedOutcome::NotFound | ParkedOutcome::Refused(_))
            | Err(StoreError::IllegalMove { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        // Whoever asked may be gone.
        let _ = tried.reply.send(resumed);
    }
}
