//! Living on a lease: what a heartbeat brings, what is lost with the lease, and what is taken over from others.

use actix::prelude::*;
use tokio::sync::oneshot;

use crate::error::{RunError, RunErrorCode};
use crate::ids::{InstanceId, RunId};
use crate::ports::StoreError;
use crate::ports::fleet::{Beat, Notice};
use crate::ports::store::{ParkedOutcome, RunRecord};
use crate::run::{CancelNow, LetGo};
use crate::supervisor::Supervisor;
use crate::supervisor::parked::{cancel_parked, count_ending, show_and_release};

/// Runs that are taken over in one go.
const MOST_TAKEN_OVER: u64 = 256;
/// Runs whose queue deadline is over that are failed in one go.
const MOST_EXPIRED: u32 = 256;

/// A heartbeat was answered and the lease is held.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Beaten(pub(super) Beat);

/// Something happened elsewhere.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Noticed(pub(super) Notice);

/// The lease is lost: stop every run, write nothing. `gone` hears when no actor is left.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LeaseLost {
    pub(super) gone: oneshot::Sender<()>,
}

/// There is a new lease, under a new name.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Rejoined {
    pub(super) instance: InstanceId,
}

/// Runs that this instance was given and never heard of were given up, or not.
#[derive(Message)]
#[rtype(result = "()")]
struct Settled {
    instance: InstanceId,
    outcome: Result<u64, StoreError>,
}

/// Runs of lost instances are this instance's now.
#[derive(Message)]
#[rtype(result = "()")]
struct TakenOver {
    instance: InstanceId,
    wanted: usize,
    outcome: Result<Vec<RunRecord>, StoreError>,
}

impl Handler<Beaten> for Supervisor {
    type Result = ();

    fn handle(&mut self, beaten: Beaten, ctx: &mut Self::Context) {
        let Beaten(beat) = beaten;
        let Some(member) = &mut self.member else { return };
        member.learn(&beat);
        for run in &beat.to_cancel {
            self.cancel_here(*run);
        }
        self.cancel_parked_marked(&beat);
        if beat.expired {
            self.expire_in_fleet();
        }
        self.settle(ctx);
        self.take_over_lost(&beat, ctx);
        self.pump(ctx);
    }
}

impl Handler<Noticed> for Supervisor {
    type Result = ();

    fn handle(&mut self, noticed: Noticed, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        match noticed.0 {
            Notice::Claimable | Notice::Missed => {
                member.claimable = true;
                self.pump(ctx);
            }
            Notice::CancelAsked { run, owner } if owner == member.instance => self.cancel_here(run),
            Notice::CancelAsked { .. } | Notice::KeysChanged | Notice::AgentChanged(_) => {}
        }
    }
}

impl Handler<LeaseLost> for Supervisor {
    type Result = ();

    fn handle(&mut self, lost: LeaseLost, _ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.is_held = false;
        member.let_go = Some(lost.gone);
        for address in self.registry.values() {
            // One that is gone has left already.
            let _ = address.try_send(LetGo);
        }
        self.check_let_go();
    }
}

impl Handler<Rejoined> for Supervisor {
    type Result = ();

    fn handle(&mut self, rejoined: Rejoined, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.instance = rejoined.instance;
        member.is_held = true;
        // What the old name was given is taken over like the rest of it.
        member.unsure = false;
        member.claimable = true;
        self.pump(ctx);
    }
}

impl Handler<TakenOver> for Supervisor {
    type Result = ();

    fn handle(&mut self, taken: TakenOver, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.under_way -= 1;
        member.taking_over = false;
        let is_mine = member.is_held && member.instance == taken.instance;
        match taken.outcome {
            Ok(records) => {
                if !records.is_empty() {
                    metrics::counter!("callboard_runs_taken_over_total").increment(records.len() as u64);
                }
                if records.len() == taken.wanted {
                    // There may be more.
                    member.signals.beat_now.notify_one();
                }
                // What came after the lease was lost waits for the end of that lease, like the rest.
                if is_mine {
                    for record in records {
                        self.go_on_with(record, ctx);
                    }
                }
            }
            Err(error) => {
                member.is_unsure();
                tracing::warn!(%error, "runs of lost instances could not be taken over; trying again");
            }
        }
        self.check_let_go();
        self.check_drained();
    }
}

impl Handler<Settled> for Supervisor {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.under_way -= 1;
        member.settling = false;
        match settled.outcome {
            Ok(given_up) => {
                if given_up > 0 {
                    tracing::warn!(
                        runs = given_up,
                        "gave up runs whose start this instance had not heard of"
                    );
                    member.signals.beat_now.notify_one();
                }
            }
            Err(error) => {
                // A lease that was lost meanwhile has taken the doubt with it.
                member.unsure |= member.instance == settled.instance;
                tracing::warn!(%error, "it is not known which runs this instance has; asking again");
            }
        }
        self.pump(ctx);
        self.check_let_go();
        self.check_drained();
    }
}

impl Supervisor {
    /// Gives up what the store may have given this instance without its knowledge, once no answer is under way that could bring it.
    pub(super) fn settle(&mut self, ctx: &mut Context<Self>) {
        let Some(member) = &mut self.member else { return };
        if !member.unsure || member.settling || member.claiming || member.taking_over || !member.is_held {
            return;
        }
        // From here on, not from the answer on: what is known now and becomes doubtful before the answer is not given up by this.
        member.unsure = false;
        member.settling = true;
        member.under_way += 1;
        let known = self.registry.keys().chain(&self.resolving).chain(&member.admitting);
        let known = known.copied().collect();
        let (fleet, instance) = (member.fleet.clone(), member.instance);
        // What is admitted from now on has an id above this.
        let made_before = RunId::new();
        self.io_task(ctx, async move {
            let outcome = fleet.disown_unknown(instance, known, made_before).await;
            Settled { instance, outcome }
        });
    }

    /// Whether a lease is held; true where none is needed.
    pub(in crate::supervisor) fn holds_lease(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.is_held)
    }

    /// Tells the keeper when the last actor of a lost lease is gone.
    pub(in crate::supervisor) fn check_let_go(&mut self) {
        let is_empty = self.registry.is_empty();
        let Some(member) = &mut self.member else { return };
        if is_empty
            && member.under_way == 0
            && let Some(gone) = member.let_go.take()
        {
            // A keeper that is gone needs no answer.
            let _ = gone.send(());
        }
    }

    /// Cancels marked runs that no instance has. Others may be at it: one of them does it. While this one still is, what it has not come to is
    /// told by the next heartbeat again.
    fn cancel_parked_marked(&self, beat: &Beat) {
        let Some(member) = &self.member else { return };
        if beat.parked_to_cancel.is_empty() {
            return;
        }
        let Ok(turn) = member.cancelling_parked.clone().try_acquire_owned() else {
            return;
        };
        let runs = beat.parked_to_cancel.clone();
        let services = self.services.clone();
        self.services.io.spawn(async move {
            let _turn = turn;
            for run in runs {
                match cancel_parked(&services, run).await {
                    Ok(ParkedOutcome::Updated { record, .. }) => {
                        count_ending(&record);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(run_id = %run, %error, "a run that is to be cancelled was not; trying again")
                    }
                }
            }
        });
    }

    fn cancel_here(&self, run: RunId) {
        if let Some(address) = self.registry.get(&run) {
            // One that is gone already is about to be reported.
            let _ = address.try_send(CancelNow);
        }
    }

    /// Takes this instance's share of what lost instances left. Runs for which there is no Permit here go on into the queue.
    fn take_over_lost(&mut self, beat: &Beat, ctx: &mut Context<Self>) {
        let is_draining = self.is_draining;
        let Some(member) = &mut self.member else { return };
        if beat.lost_runs == 0 || member.taking_over || member.settling || !member.is_held || is_draining {
            return;
        }
        let share = beat.lost_runs.div_ceil(u64::from(beat.live_instances.max(1)));
        let limit = share.clamp(1, MOST_TAKEN_OVER) as u32;
        member.taking_over = true;
        member.under_way += 1;
        let (fleet, instance) = (member.fleet.clone(), member.instance);
        self.io_task(ctx, async move {
            let outcome = fleet.take_over(instance, limit).await;
            TakenOver {
                instance,
                wanted: limit as usize,
                outcome,
            }
        });
    }

    fn expire_in_fleet(&self) {
        let Some(member) = &self.member else { return };
        let (fleet, services) = (member.fleet.clone(), self.services.clone());
        self.services.io.spawn(async move {
            let error = RunError::new(
                RunErrorCode::QueueDeadline,
                "the run did not start before its queue deadline",
            );
            match fleet.expire_queued(error, MOST_EXPIRED).await {
                Ok(expired) => {
                    for run in expired {
                        count_ending(&run.record);
                        show_and_release(&services, run.record.id, run.record.epoch, run.events).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "expired runs could not be failed; trying again"),
            }
        });
    }
}
