//! Coming in, where the store decides: the run starts here, waits in the fleet's queue, or is refused.

use actix::prelude::*;

use crate::ids::{InstanceId, RunId};
use crate::item::Item;
use crate::ledger::TierQuota;
use crate::permits::Permit;
use crate::ports::StoreError;
use crate::ports::fleet::{Admitted, FleetAdmission, MayWait};
use crate::supervisor::messages::{OnLimit, StartError, StartRun, Started};
use crate::supervisor::parked::show_and_release;
use crate::supervisor::{StartReply, Supervisor};
use crate::time::Timestamp;

/// The store has decided.
#[derive(Message)]
#[rtype(result = "()")]
struct AdmissionDecided {
    run: RunId,
    instance: InstanceId,
    permit: Option<Permit>,
    input: Vec<Item>,
    refusal: Refusal,
    outcome: Result<Admitted, StoreError>,
    reply: StartReply,
}

/// What a refusal would mean, as far as it is known before.
struct Refusal {
    quota: TierQuota,
    might_wait: bool,
    queue_is_full: bool,
}

impl Supervisor {
    pub(in crate::supervisor) fn admit_to_fleet(
        &mut self,
        request: StartRun,
        quota: TierQuota,
        reply: StartReply,
        ctx: &mut Context<Self>,
    ) {
        let reserve_seqs = self.services.settings.durability.reservation();
        let Some(member) = &mut self.member else { return };
        if !member.is_held {
            let error = StoreError::Unavailable("the lease is lost".into());
            let _ = reply.send(Err(error.into()));
            return;
        }
        let permit = self.permits.try_acquire();
        let might_wait = request.on_limit == OnLimit::Queue;
        let queue_is_full = member.queued() >= self.settings.queue_limit;
        let may_wait = (might_wait && !queue_is_full).then_some(MayWait {
            account_limit: quota.queued_runs,
            deadline: self.settings.queue_deadline,
        });
        member.under_way += 1;
        let (fleet, instance, services) = (member.fleet.clone(), member.instance, self.services.clone());
        let refusal = Refusal {
            quota,
            might_wait,
            queue_is_full,
        };
        let admission = FleetAdmission {
            id: RunId::new(),
            account: request.account,
            tier: request.tier,
            instance,
            idempotency: request.idempotency,
            spec: request.spec,
            input: request.input,
            thread: request.thread,
            has_permit: permit.is_some(),
            slot_limit: quota.concurrent_runs,
            may_wait,
            reserve_seqs,
            created_at: Timestamp::now(),
        };
        member.admitting.insert(admission.id);
        self.io_task(ctx, async move {
            let (run, input) = (admission.id, admission.input.clone());
            let outcome = fleet.admit(admission).await;
            if let Ok(Admitted::Queued { record, events, .. }) = &outcome {
                show_and_release(&services, record.id, record.epoch, events.clone()).await;
            }
            AdmissionDecided {
                run,
                instance,
                permit,
                input,
                refusal,
                outcome,
                reply,
            }
        });
    }

    fn refused(&self, refusal: &Refusal, has_slot: bool, running: u32, queued: u64) -> StartError {
        if refusal.queue_is_full && refusal.might_wait {
            return StartError::QueueFull {
                limit: self.settings.queue_limit,
            };
        }
        let bounded = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        let TierQuota {
            concurrent_runs,
            queued_runs,
        } = refusal.quota;
        if refusal.might_wait {
            return StartError::Quota {
                limit: bounded(queued_runs.unwrap_or(queued)),
                running,
                queued,
                queue_full: true,
            };
        }
        match concurrent_runs {
            Some(limit) if !has_slot => StartError::Quota {
                limit,
                running,
                queued,
                queue_full: false,
            },
            _ => StartError::AtCapacity {
                limit: self.permits.limit(),
            },
        }
    }
}

impl Handler<AdmissionDecided> for Supervisor {
    type Result = ();

    fn handle(&mut self, decided: AdmissionDecided, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.under_way -= 1;
        member.admitting.remove(&decided.run);
        let is_mine = member.is_held && member.instance == decided.instance;
        let answer = match decided.outcome {
            Ok(Admitted::Started { record, events }) => {
                let started = Started {
                    run: (*record).clone(),
                    queue_position: None,
                    replayed: false,
                };
                if let Some(permit) = decided.permit.filter(|_| is_mine) {
                    self.launch_held(*record, events, Some(decided.input), permit);
                }
                Ok(started)
            }
            Ok(Admitted::Queued {
                record,
                position,
                displaced,
                ..
            }) => {
                member.claimable = true;
                self.cancel_marked(displaced, ctx);
                Ok(Started {
                    run: *record,
                    queue_position: position,
                    replayed: false,
                })
            }
            Ok(Admitted::ThreadBusy { active }) => Err(StartError::ThreadBusy { active }),
            Ok(Admitted::ThreadNotFound) => Err(StartError::ThreadNotFound),
            Ok(Admitted::Existing(record)) => Ok(Started::replay(*record)),
            Ok(Admitted::IdempotencyConflict) => Err(StartError::IdempotencyConflict),
            Ok(Admitted::Refused {
                has_slot,
                running,
                queued,
            }) => Err(self.refused(&decided.refusal, has_slot, running, queued)),
            Err(error) => {
                member.is_unsure();
                Err(error.into())
            }
        };
        // A client that went away finds its run in the list.
        let _ = decided.reply.send(answer);
        self.pump(ctx);
        self.check_let_go();
        self.check_drained();
    }
}
