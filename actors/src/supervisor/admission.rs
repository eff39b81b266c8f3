//! Coming in: start at once, wait in the queue, or be refused; and the pump that starts what waits.

use actix::prelude::*;

use crate::encoding::encode;
use crate::event::{EventBody, QueuedReason};
use crate::ids::{AccountId, InstanceId, RunId};
use crate::ledger::{SlotHold, TierQuota};
use crate::ports::StoreError;
use crate::ports::store::{Admission, ClaimRun, Creation, NewRun, RunRecord};
use crate::ports::threads::OnBusy;
use crate::queue::WaitingRun;
use crate::run::Origin;
use crate::services::RunServices;
use crate::supervisor::messages::{Admit, OnLimit, StartError, StartRun, Started};
use crate::supervisor::{Lacks, QueueInstead, StartReply, Supervisor};
use crate::time::Timestamp;

/// A run's row is in the queue, or not.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Arrived {
    waiting: WaitingRun,
    /// With the run as the store has it, if it took it.
    outcome: Result<(RunRecord, Creation), StoreError>,
    position: u64,
    reply: StartReply,
}

/// A new run that was let in. Its first event has the whole of its settings, which may be megabytes: it is written out where the run is, and not
/// by the supervisor, for which everybody waits.
pub(crate) struct Arrival {
    id: RunId,
    instance: InstanceId,
    request: StartRun,
    admission: Admission,
    reserved_seq: u64,
    /// After `run.created`.
    second: EventBody,
    created_at: Timestamp,
}

impl Arrival {
    /// What the store is to write.
    pub(crate) fn into_new_run(self) -> Result<NewRun, StoreError> {
        let created = EventBody::RunCreated {
            spec: self.request.spec.clone(),
        };
        let events = encode(self.id, 0, [created, self.second]);
        Ok(NewRun {
            id: self.id,
            account: self.request.account,
            tier: self.request.tier,
            instance: self.instance,
            idempotency: self.request.idempotency,
            spec: self.request.spec,
            input: self.request.input,
            thread: self.request.thread,
            admission: self.admission,
            events: events.ok_or_else(|| StoreError::Damaged("a run without events".into()))?,
            reserved_seq: self.reserved_seq,
            created_at: self.created_at,
        })
    }
}

impl Supervisor {
    pub(super) fn admit(&mut self, request: StartRun, reply: StartReply, ctx: &mut Context<Self>) {
        let run = RunId::new();
        let Some(quota) = self.settings.tiers.get(&request.tier).copied() else {
            return answer(reply, Err(StartError::UnknownTier));
        };
        if self.is_draining {
            return self.refuse(request, StartError::ShuttingDown, reply);
        }
        if self.member.is_some() {
            return self.admit_to_fleet(request, quota, reply, ctx);
        }
        match request.thread {
            Some(enter) => self.admit_to_thread(enter.thread, run, request, quota, reply, ctx),
            None => self.admit_alone(run, request, quota, reply, ctx),
        }
    }

    /// Starts it, lets it wait or refuses it, from memory.
    pub(super) fn admit_alone(
        &mut self,
        run: RunId,
        request: StartRun,
        quota: TierQuota,
        reply: StartReply,
        ctx: &mut Context<Self>,
    ) {
        let line_is_free = self.queue.len_of(&request.account) == 0 && !self.arriving.contains_key(&request.account);
        let slot = self.ledger.try_take(&request.account, quota.concurrent_runs).ok();
        let has_slot = slot.is_some();
        if let Some(slot) = slot
            && line_is_free
            && let Some(permit) = self.permits.try_acquire()
        {
            return self.start(run, request, quota, permit, slot, reply);
        }
        // Behind others of its account it waits for what they wait for: with a Slot free, that is room on this server.
        let reason = if has_slot {
            QueuedReason::Capacity
        } else {
            QueuedReason::Quota
        };
        if request.on_limit == OnLimit::Refuse {
            let error = match quota.concurrent_runs {
                Some(limit) if !has_slot => self.over_quota(&request, limit, false),
                _ => StartError::AtCapacity {
                    limit: self.permits.limit(),
                },
            };
            return self.refuse(request, error, reply);
        }
        self.enqueue(run, request, reason, reply, ctx);
    }

    fn start(
        &mut self,
        run: RunId,
        request: StartRun,
        quota: TierQuota,
        permit: crate::permits::Permit,
        slot: SlotHold,
        reply: StartReply,
    ) {
        let (account, on_limit) = (request.account.clone(), request.on_limit);
        let admission = Admission::Start {
            slot_limit: quota.concurrent_runs,
        };
        let arrival = Box::new(self.arrival(run, request, admission, EventBody::RunStarted { epoch: 1 }));
        let origin = Origin::New {
            arrival,
            on_limit,
            reply,
        };
        self.launch(run, account, 1, permit, slot, origin);
    }

    /// Writes a run into the queue; it can start once it is durable there.
    pub(super) fn enqueue(
        &mut self,
        run: RunId,
        request: StartRun,
        reason: QueuedReason,
        reply: StartReply,
        ctx: &mut Context<Self>,
    ) {
        let quota = self.settings.tiers.get(&request.tier).copied();
        let queued = self.queued_of(&request.account);
        // Whether it may wait for its thread at all the store says.
        let is_only_asking =
            reason == QueuedReason::ThreadBusy && request.thread.is_some_and(|enter| enter.on_busy == OnBusy::Refuse);
        if let Some(limit) = quota
            .and_then(|quota| quota.queued_runs)
            .filter(|limit| !is_only_asking && queued >= *limit)
        {
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            let error = self.over_quota(&request, limit, true);
            return self.refuse(request, error, reply);
        }
        if self.queue.len() + self.arriving.values().sum::<u64>() >= self.settings.queue_limit {
            return self.refuse(
                request,
                StartError::QueueFull {
                    limit: self.settings.queue_limit,
                },
                reply,
            );
        }
        let now = Timestamp::now();
        let deadline = self.settings.queue_deadline.map(|deadline| now.after(deadline));
        // It stands behind those of its account; one that waits for its thread, behind those of its thread.
        let position = match reason {
            // There is one before it, even if only the store knows of it.
            QueuedReason::ThreadBusy => self.services.thread_lines.ahead_of(run).max(1),
            _ => queued - self.queue.held_of(&request.account) + 1,
        };
        *self.arriving.entry(request.account.clone()).or_insert(0) += 1;
        let waiting = WaitingRun {
            id: run,
            account: request.account.clone(),
            tier: request.tier.as_str().into(),
            deadline,
            told_at: now,
        };
        let second = EventBody::RunQueued { position, reason };
        let arrival = self.arrival(run, request, Admission::Queue { deadline }, second);
        let services = self.services.clone();
        self.io_task(ctx, async move {
            let outcome = write(&services, arrival).await;
            Arrived {
                waiting,
                outcome,
                position,
                reply,
            }
        });
    }

    fn arrival(&self, id: RunId, request: StartRun, admission: Admission, second: EventBody) -> Arrival {
        let reserved_seq = match admission {
            Admission::Start { .. } => self.services.settings.durability.reservation(),
            Admission::Queue { .. } => 0,
        };
        Arrival {
            id,
            instance: self.instance,
            request,
            admission,
            reserved_seq,
            second,
            created_at: Timestamp::now(),
        }
    }

    fn over_quota(&self, request: &StartRun, limit: u32, queue_full: bool) -> StartError {
        let running = self.ledger.running(&request.account);
        StartError::Quota {
            limit,
            running,
            queued: self.queued_of(&request.account),
            queue_full,
        }
    }

    /// How many runs of an account wait, with those whose row is being written: they have their place already.
    fn queued_of(&self, account: &AccountId) -> u64 {
        let arriving = self.arriving.get(account).copied().unwrap_or(0);
        self.queue.len_of(account) + self.queue.held_of(account) + arriving
    }

    /// Says no, unless the same request came before: then its run is the answer, full or not.
    pub(super) fn refuse(&self, request: StartRun, error: StartError, reply: StartReply) {
        let Some(idempotency) = request.idempotency else {
            return answer(reply, Err(error));
        };
        let services = self.services.clone();
        self.services.io.spawn(async move {
            let found = services.store.find_idempotent(&request.account, &idempotency).await;
            answer(
                reply,
                match found {
                    Ok(Some(Creation::Existing(run))) => Ok(Started::replay(*run)),
                    Ok(Some(Creation::IdempotencyConflict)) => Err(StartError::IdempotencyConflict),
                    Ok(_) => Err(error),
                    Err(store) => Err(store.into()),
                },
            );
        });
    }

    /// Starts what waits while there are Permits and somebody with a Slot.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining {
            return;
        }
        if self.member.is_some() {
            return self.claim_from_fleet(ctx);
        }
        while !self.queue.is_empty() {
            let Some(permit) = self.permits.try_acquire() else {
                return;
            };
            let mut slot = None;
            let (tiers, ledger) = (&self.settings.tiers, &self.ledger);
            let next = self.queue.next(|run| {
                // A tier that is gone from the configuration lets nothing start.
                let limit = tiers.get(&*run.tier).map_or(Some(0), |quota| quota.concurrent_runs);
                slot = ledger.try_take(&run.account, limit).ok();
                slot.is_some()
            });
            let (Some(run), Some(slot)) = (next, slot) else { return };
            let claim = ClaimRun {
                run: run.id,
                instance: self.instance,
                slot_limit: tiers.get(&*run.tier).and_then(|quota| quota.concurrent_runs),
                reserve_seqs: self.services.settings.durability.reservation(),
                at: Timestamp::now(),
            };
            let account = run.account.clone();
            self.launch(run.id, account, 0, permit, slot, Origin::Queued(Box::new(claim)));
            self.tell_positions(&run.account);
        }
    }
}

/// Writes a run into the queue.
async fn write(services: &RunServices, arrival: Arrival) -> Result<(RunRecord, Creation), StoreError> {
    let new_run = arrival.into_new_run()?;
    let (record, events) = (new_run.record(), new_run.events.clone());
    let creation = services.store.create_run(new_run).await?;
    if matches!(creation, Creation::Created | Creation::InThread { .. }) {
        super::parked::show(services, record.id, 0, events).await;
    }
    Ok((record, creation))
}

fn answer(reply: StartReply, answer: Result<Started, StartError>) {
    // A client that went away does not need it.
    let _ = reply.send(answer);
}

impl Handler<Admit> for Supervisor {
    type Result = ();

    fn handle(&mut self, admit: Admit, ctx: &mut Self::Context) {
        self.admit(admit.request, admit.reply, ctx);
    }
}

impl Handler<Arrived> for Supervisor {
    type Result = ();

    fn handle(&mut self, arrived: Arrived, ctx: &mut Self::Context) {
        let account = arrived.waiting.account.clone();
        if let Some(count) = self.arriving.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.arriving.remove(&account);
            }
        }
        let result = match arrived.outcome {
            Ok((run, Creation::Created)) => {
                self.queue.insert(arrived.waiting);
                Ok(Started {
                    run,
                    queue_position: Some(arrived.position),
                    replayed: false,
                })
            }
            Ok((_, Creation::InThread { record, displaced })) => {
                let run = arrived.waiting.id;
                self.let_wait(arrived.waiting);
                self.cancel_marked(displaced, ctx);
                Ok(Started {
                    queue_position: self.queue.position(run),
                    run: *record,
                    replayed: false,
                })
            }
            Ok((_, Creation::ThreadBusy { active })) => Err(StartError::ThreadBusy { active }),
            Ok((_, Creation::ThreadNotFound)) => Err(StartError::ThreadNotFound),
            Ok((_, Creation::Existing(run))) => Ok(Started::replay(*run)),
            Ok((_, Creation::IdempotencyConflict)) => Err(StartError::IdempotencyConflict),
            // A run that is not to start takes no Slot, so this is no answer to it.
            Ok((_, Creation::QuotaExceeded { running })) => {
                let queued = self.queue.len_of(&account);
                Err(StartError::Quota {
                    limit: running,
                    running,
                    queued,
                    queue_full: false,
                })
            }
            Err(error) => Err(error.into()),
        };
        answer(arrived.reply, result);
        self.pump(ctx);
        self.schedule_expiry(ctx);
        self.check_drained();
    }
}

impl Supervisor {
    /// The store refused what memory had.
    pub(super) fn queue_instead(&mut self, instead: QueueInstead, ctx: &mut Context<Self>) {
        let reason = match instead.lacks {
            Lacks::Slot { running } if instead.request.on_limit == OnLimit::Refuse => {
                let queued = self.queue.len_of(&instead.request.account);
                return answer(
                    instead.reply,
                    Err(StartError::Quota {
                        limit: running,
                        running,
                        queued,
                        queue_full: false,
                    }),
                );
            }
            Lacks::Slot { .. } => QueuedReason::Quota,
            // First of its thread as far as is known here, it is tried again and again until the store lets it begin.
            Lacks::Turn => QueuedReason::ThreadBusy,
        };
        self.enqueue(instead.run, instead.request, reason, instead.reply, ctx);
    }
}
