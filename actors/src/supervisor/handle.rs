//! A cheap handle on the supervisor, for whoever has requests to bring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::ids::RunId;
use crate::ports::Fleet;
use crate::ports::StoreError;
use crate::ports::store::RunRecord;
use crate::services::RunServices;
use crate::supervisor::messages::{
    Admit, CancelMarked, CancelRun, Drain, QueuePosition, Snapshot, StartError, StartRun, Started, TakeSnapshot,
};
use crate::supervisor::resuming::ResumeRun;
use crate::supervisor::{Beginning, Supervisor, SupervisorSettings};

/// A cheap handle on the supervisor. May be used from any thread and any runtime.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) supervisor: Addr<Supervisor>,
    fleet: Option<Arc<dyn Fleet>>,
    io: tokio::runtime::Handle,
}

impl SupervisorHandle {
    /// Starts the supervisor on an arbiter of its own. Must be called on the thread of an actix
    /// system, whose arbiters then run the actors.
    pub fn start_supervisor(services: RunServices, settings: SupervisorSettings, beginning: Beginning) -> Self {
        let arbiter = Arbiter::new();
        let io = services.io.clone();
        let fleet = match &beginning {
            Beginning::Alone { .. } => None,
            Beginning::InFleet(membership) => Some(membership.fleet.clone()),
        };
        let supervisor = Supervisor::new(services, settings, beginning);
        Self {
            fleet,
            io,
            supervisor: Supervisor::start_in_arbiter(&arbiter.handle(), move |_| supervisor),
        }
    }

    /// Starts a run or queues it; answers when its row is durable. Dropping the future takes nothing back.
    pub async fn start(&self, request: StartRun) -> Result<Started, StartError> {
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let gone = || StartError::Store(StoreError::Unavailable("the supervisor is gone".into()));
        let in_mailbox = InMailbox::enter();
        self.supervisor
            .send(Admit { request, reply })
            .await
            .map_err(|_| gone())?;
        drop(in_mailbox);
        let answer = answer.await.unwrap_or_else(|_| Err(gone()));
        if answer.is_ok() {
            metrics::histogram!("callboard_run_start_seconds").record(began.elapsed());
        }
        answer
    }

    /// Stops a run for good and gives it back as it is then; one that is over is given back as it is. `None`: no such run. Whoever
    /// calls has checked whose it is.
    pub async fn cancel(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable("the supervisor is gone".into());
        self.supervisor
            .send(CancelRun { run, reply })
            .await
            .map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Stops runs that the store has marked as to be cancelled. Returns at once; they are stopped even if the store cannot be reached now.
    pub async fn cancel_marked(&self, runs: Vec<RunId>) {
        // A supervisor that is gone has left the marks in the store, for the next one.
        let _ = self.supervisor.send(CancelMarked { runs }).await;
    }

    /// Gives a waiting run its place in the queue, first in its account's line. `false`: it does not wait (any more), or is just about to.
    pub async fn resume(&self, run: RunId) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable("the supervisor is gone".into());
        self.supervisor
            .send(ResumeRun { run, reply })
            .await
            .map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A run's place in its account's line; 1 is next, `None` if it is not in the queue, or the store does not say.
    pub async fn queue_position(&self, run: RunId) -> Option<u64> {
        if let Some(fleet) = self.fleet.clone() {
            let asked = self.io.spawn(async move { fleet.queue_position(run).await });
            return asked.await.ok()?.ok()?;
        }
        self.supervisor.send(QueuePosition { run }).await.ok().flatten()
    }

    /// How things stand.
    pub async fn snapshot(&self) -> Snapshot {
        self.supervisor.send(TakeSnapshot).await.unwrap_or_default()
    }

    /// Admits nothing from now on, lets what runs go on for `grace`, hands the rest back to the queue, and returns when no run is left.
    pub async fn drain(&self, grace: Duration) {
        let (done, drained) = oneshot::channel();
        if self.supervisor.send(Drain { grace, done }).await.is_ok() {
            // A supervisor that is gone has nothing left to wait for.
            let _ = drained.await;
        }
    }
}

/// A start that waits in the supervisor's mailbox: the gauge that tells first when the supervisor falls behind.
struct InMailbox(metrics::Gauge);

impl InMailbox {
    fn enter() -> Self {
        let gauge = metrics::gauge!("callboard_mailbox_length", "actor" => "supervisor");
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for InMailbox {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
