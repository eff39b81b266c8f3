//! The ticket of a run: its Permit and its Slot, and the promise that the supervisor hears when the actor is gone, however it went.

use tokio::sync::mpsc::UnboundedSender;

use crate::ids::{AccountId, RunId};
use crate::ledger::SlotHold;
use crate::permits::Permit;
use crate::supervisor::QueueInstead;

/// Held by a run's actor; dropping it tells the supervisor.
#[derive(Debug)]
pub(crate) struct RunTicket {
    pub(crate) run: RunId,
    pub(crate) account: AccountId,
    /// What the supervisor will hear. `Abandoned` until the actor says otherwise: a panic drops the ticket as it is.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) slot: Option<SlotHold>,
    /// Under which epoch the run would have to be failed if its actor is lost.
    pub(crate) epoch: u64,
    permit: Option<Permit>,
    departures: UnboundedSender<Departure>,
}

/// A run's actor is gone. Its Permit is free already.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) run: RunId,
    pub(crate) account: AccountId,
    pub(crate) epoch: u64,
    pub(crate) outcome: Outcome,
    /// Still held if the store may still count the Slot.
    pub(crate) slot: Option<SlotHold>,
}

/// Why a run's actor is gone.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The run left `running` in the store: it ended, waits, or was handed over.
    Left,
    /// It never started: nothing of it is in the store, or somebody else changed it first.
    NotStarted,
    /// It could not be claimed now; it is still in the queue.
    StillQueued,
    /// The store had no Slot for it: it shall wait.
    QueueInstead(Box<QueueInstead>),
    /// Another instance has it.
    Fenced,
    /// The actor broke. The run may still be `running` in the store.
    Abandoned,
}

impl RunTicket {
    pub(crate) fn new(
        run: RunId,
        account: AccountId,
        epoch: u64,
        permit: Permit,
        slot: SlotHold,
        departures: UnboundedSender<Departure>,
    ) -> Self {
        Self {
            run,
            account,
            outcome: None,
            slot: Some(slot),
            epoch,
            permit: Some(permit),
            departures,
        }
    }
}

impl Drop for RunTicket {
    fn drop(&mut self) {
        drop(self.permit.take());
        let departure = Departure {
            run: self.run,
            account: self.account.clone(),
            epoch: self.epoch,
            outcome: self.outcome.take().unwrap_or(Outcome::Abandoned),
            slot: self.slot.take(),
        };
        // A few words for each run that has just gone. Without a supervisor nobody needs to know.
        let _ = self.departures.send(departure);
    }
}
