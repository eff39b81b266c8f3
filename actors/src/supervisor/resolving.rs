//! What somebody says of the tool calls that a waiting run waits for. When nothing is left the run goes back into the queue, first in its
//! account's line.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::call_ledger::CallResolution;
use crate::error::RunError;
use crate::ids::RunId;
use crate::ports::StoreError;
use crate::ports::store::{ParkedOutcome, ParkedUpdate, StateChange};
use crate::run_state::RunState;
use crate::supervisor::parked::{count_ending, update};
use crate::supervisor::{Supervisor, SupervisorHandle};
use crate::time::Timestamp;

/// How long the actor of a run that has just gone to `waiting` may take to be gone.
const LEAVING: Duration = Duration::from_secs(5);

/// Take in what is said of a run's tool calls.
#[derive(Message)]
#[rtype(result = "()")]
struct ResolveCalls {
    update: ParkedUpdate,
    reply: oneshot::Sender<Tried>,
}

/// What became of a try.
enum Tried {
    /// The run's actor is about to go, or somebody is at it: ask again.
    Busy,
    Answered(Result<ParkedOutcome, StoreError>),
}

/// Tool calls were to be resolved.
#[derive(Message)]
#[rtype(result = "()")]
struct ResolveTried {
    outcome: Result<ParkedOutcome, StoreError>,
    reply: oneshot::Sender<Tried>,
}

impl SupervisorHandle {
    /// Takes in what is said of tool calls that the run waits for: all of it, or none.
    pub async fn resolve_calls(
        &self,
        run: RunId,
        resolutions: Vec<CallResolution>,
    ) -> Result<ParkedOutcome, StoreError> {
        self.update_waiting(ParkedUpdate::resolving(run, resolutions, Timestamp::now()))
            .await
    }

    /// Ends a run that has waited beyond its own deadline.
    pub async fn end_overdue(&self, run: RunId) -> Result<ParkedOutcome, StoreError> {
        let change = StateChange {
            to: RunState::Failed,
            error: Some(RunError::deadline_exceeded()),
            waiting: None,
            at: Timestamp::now(),
        };
        self.update_waiting(ParkedUpdate::moving(run, Vec::new(), change)).await
    }

    async fn update_waiting(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        let gone = || StoreError::Unavailable("the supervisor is gone".into());
        let give_up = tokio::time::Instant::now() + LEAVING;
        let mut pause = Duration::from_millis(1);
        loop {
            let (reply, answer) = oneshot::channel();
            let resolve = ResolveCalls {
                update: update.clone(),
                reply,
            };
            self.supervisor.send(resolve).await.map_err(|_| gone())?;
            match answer.await.map_err(|_| gone())? {
                Tried::Answered(outcome) => return outcome,
                Tried::Busy if tokio::time::Instant::now() < give_up => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                Tried::Busy => return Err(StoreError::Unavailable("the run's actor does not let go".into())),
            }
        }
    }
}

impl Handler<ResolveCalls> for Supervisor {
    type Result = ();

    fn handle(&mut self, resolve: ResolveCalls, ctx: &mut Self::Context) {
        let ResolveCalls { update: wanted, reply } = resolve;
        if self.registry.contains_key(&wanted.run) || self.resolving.contains(&wanted.run) {
            // Whoever asks is gone, or asks again.
            let _ = reply.send(Tried::Busy);
            return;
        }
        let services = self.services.clone();
        self.io_task(ctx, async move {
            let outcome = update(&services, wanted).await;
            ResolveTried { outcome, reply }
        });
    }
}

impl Handler<ResolveTried> for Supervisor {
    type Result = ();

    fn handle(&mut self, tried: ResolveTried, ctx: &mut Self::Context) {
        if let Ok(ParkedOutcome::Updated { record, .. }) = &tried.outcome {
            if record.state.is_terminal() {
                count_ending(record);
            }
            if record.state == RunState::Queued {
                self.line_up(record);
            }
            self.pump(ctx);
        }
        // Whoever asked may be gone.
        let _ = tried.reply.send(Tried::Answered(tried.outcome));
    }
}
