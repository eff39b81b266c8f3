//! Going: what the supervisor does when a run's actor is gone, however it went.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;

use crate::error::RunError;
use crate::ids::{AccountId, RunId};
use crate::ledger::SlotHold;
use crate::ports::StoreError;
use crate::queue::WaitingRun;
use crate::run::ticket::{Departure, Outcome};
use crate::services::RunServices;
use crate::supervisor::Supervisor;
use crate::time::Timestamp;

/// How long a run that could not be claimed stays aside before it is tried again.
const CLAIM_PAUSE: Duration = Duration::from_millis(500);

/// A run whose actor broke has its end in the store.
#[derive(Message)]
#[rtype(result = "()")]
struct Resolved {
    run: RunId,
    account: AccountId,
    slot: Option<SlotHold>,
}

impl StreamHandler<Departure> for Supervisor {
    fn handle(&mut self, departure: Departure, ctx: &mut Context<Self>) {
        let Departure {
            run,
            account,
            epoch,
            outcome,
            slot,
        } = departure;
        self.registry.remove(&run);
        match outcome {
            Outcome::Left | Outcome::NotStarted => drop(slot),
            Outcome::Fenced => {
                drop(slot);
                // Should the store have it as this instance's after all, it is not forgotten.
                if let Some(member) = &mut self.member {
                    member.is_unsure();
                }
            }
            Outcome::StillQueued => {
                drop(slot);
                self.wait_again(run, ctx);
            }
            Outcome::QueueInstead(instead) => {
                drop(slot);
                self.queue_instead(*instead, ctx);
            }
            Outcome::Abandoned => return self.resolve(run, account, epoch, slot, ctx),
        }
        self.gone(run, &account, ctx);
    }

    /// Departures end with the supervisor itself.
    fn finished(&mut self, _ctx: &mut Context<Self>) {}
}

impl Supervisor {
    /// A run has gone: whoever waited for its end is answered, and its room is given to the next.
    pub(super) fn gone(&mut self, run: RunId, account: &AccountId, ctx: &mut Context<Self>) {
        for reply in self.cancel_replies.remove(&run).unwrap_or_default() {
            self.answer_cancel(run, reply, ctx);
        }
        self.services.log.release(run);
        self.queue.slot_freed(account);
        self.pump(ctx);
        self.check_let_go();
        self.check_drained();
    }

    /// Puts a run that could not be claimed back into the queue after a pause, as the store has it.
    fn wait_again(&self, run: RunId, ctx: &mut Context<Self>) {
        let services = self.services.clone();
        ctx.run_later(CLAIM_PAUSE, move |supervisor, ctx| {
            supervisor.io_task(ctx, async move {
                let found = services.store.run(run).await;
                WaitAgain {
                    run,
                    found: found.map(|record| record.map(Box::new)),
                }
            });
        });
    }

    fn resolve(&mut self, run: RunId, account: AccountId, epoch: u64, slot: Option<SlotHold>, ctx: &mut Context<Self>) {
        tracing::error!(run_id = %run, "a run's actor broke; the run is failed");
        self.resolving.insert(run);
        let services = self.services.clone();
        self.io_task(ctx, async move {
            fail_abandoned(services, run, epoch).await;
            Resolved { run, account, slot }
        });
    }
}

/// Writes the end of a run whose actor broke; while the store does not answer, or breaks too, again and again.
async fn fail_abandoned(services: Arc<RunServices>, run: RunId, epoch: u64) {
    let mut delay = Duration::from_millis(50);
    loop {
        let attempt = services.store.fail_abandoned_run(run, epoch, RunError::internal());
        match AssertUnwindSafe(attempt).catch_unwind().await {
            Ok(Ok(None)) => match services.store.run(run).await {
                // It had left `running` before its actor broke, for the queue or to wait.
                Ok(Some(record)) if !record.state.is_terminal() => return,
                Ok(_) => return services.thread_lines.ended(run),
                Err(error) => {
                    tracing::warn!(run_id = %run, %error, "it is not known what became of a broken run; asking again")
                }
            },
            Ok(Ok(Some(events))) => {
                services.thread_lines.ended(run);
                metrics::counter!("callboard_runs_total", "state" => "failed", "code" => "internal").increment(1);
                super::parked::show(&services, run, epoch + 1, events).await;
                return;
            }
            Ok(Err(StoreError::Unavailable(reason))) => {
                tracing::debug!(run_id = %run, reason, "the store is unavailable; the run's end waits for it");
            }
            Ok(Err(error)) => tracing::error!(run_id = %run, %error, "a broken run could not be failed"),
            Err(_panic) => tracing::error!(run_id = %run, "the store panicked"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

/// A run that could not be claimed, as the store has it.
#[derive(Message)]
#[rtype(result = "()")]
struct WaitAgain {
    run: RunId,
    found: Result<Option<Box<crate::ports::store::RunRecord>>, StoreError>,
}

impl Handler<WaitAgain> for Supervisor {
    type Result = ();

    fn handle(&mut self, again: WaitAgain, ctx: &mut Self::Context) {
        match again.found {
            Ok(Some(record)) if record.state == crate::run_state::RunState::Queued => {
                self.let_wait(WaitingRun {
                    id: record.id,
                    account: record.account,
                    tier: record.tier.into(),
                    deadline: record.queue_deadline,
                    told_at: Timestamp::now(),
                });
                self.pump(ctx);
                self.schedule_expiry(ctx);
            }
            Ok(_) => {}
            Err(_) => self.wait_again(again.run, ctx),
        }
    }
}

impl Handler<Resolved> for Supervisor {
    type Result = ();

    fn handle(&mut self, resolved: Resolved, ctx: &mut Self::Context) {
        self.resolving.remove(&resolved.run);
        drop(resolved.slot);
        self.gone(resolved.run, &resolved.account, ctx);
    }
}
