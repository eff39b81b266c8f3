//! Starting what waits in the fleet's queue, as far as there are Permits here.

use std::time::{Duration, Instant};

use actix::prelude::*;

use crate::encoding::EncodedEvents;
use crate::ids::{AccountId, InstanceId};
use crate::item::Item;
use crate::permits::Permit;
use crate::ports::StoreError;
use crate::ports::fleet::{ClaimNext, ClaimedRun};
use crate::ports::store::RunRecord;
use crate::run::Origin;
use crate::supervisor::Supervisor;
use crate::supervisor::parked::show_and_release;
use crate::time::Timestamp;

/// Runs that are claimed in one go.
const MOST_CLAIMED: usize = 64;
/// How long to wait after a claim that failed.
const CLAIM_PAUSE: Duration = Duration::from_millis(500);
/// Runs of one line that are told their place in one go.
const MOST_TOLD: u32 = 100;

/// Runs were claimed for these Permits.
#[derive(Message)]
#[rtype(result = "()")]
struct ClaimsCame {
    instance: InstanceId,
    permits: Vec<Permit>,
    outcome: Result<Vec<ClaimedRun>, StoreError>,
}

impl Supervisor {
    /// Asks the fleet's queue for runs, unless it is known to have none that could start or an answer is on its way.
    pub(in crate::supervisor) fn claim_from_fleet(&mut self, ctx: &mut Context<Self>) {
        let reserve_seqs = self.services.settings.durability.reservation();
        let Some(member) = &mut self.member else { return };
        if member.claiming || member.settling || !member.claimable || !member.is_held {
            return;
        }
        // Half of what is free: whoever comes while the store is asked must not find a Permit missing that nobody uses. A claim that gets
        // all it asked for is followed by another.
        let free = self.permits.limit().saturating_sub(self.permits.in_use());
        let permits: Vec<Permit> = std::iter::from_fn(|| self.permits.try_acquire())
            .take((free.div_ceil(2) as usize).min(MOST_CLAIMED))
            .collect();
        if permits.is_empty() {
            return;
        }
        member.claiming = true;
        // What becomes claimable from now on may be too late for this claim.
        member.claimable = false;
        member.under_way += 1;
        let (fleet, instance) = (member.fleet.clone(), member.instance);
        let claim = ClaimNext {
            instance,
            limit: permits.len() as u32,
            reserve_seqs,
            at: Timestamp::now(),
        };
        self.io_task(ctx, async move {
            let outcome = fleet.claim_next(claim).await;
            ClaimsCame {
                instance,
                permits,
                outcome,
            }
        });
    }

    /// An actor for a run that the store has `running` for this instance, and nobody has told its readers.
    pub(super) fn launch_held(
        &mut self,
        record: RunRecord,
        events: EncodedEvents,
        input: Option<Vec<Item>>,
        permit: Permit,
    ) {
        let slot = self.ledger.adopt(&record.account);
        let (run, account, epoch) = (record.id, record.account.clone(), record.epoch);
        let origin = Origin::Held {
            record: Box::new(record),
            events,
            input,
        };
        self.launch(run, account, epoch, permit, slot, origin);
    }

    /// Lets the store tell the runs of an account where they stand now, not too often.
    fn tell_positions_in_fleet(&mut self, account: AccountId) {
        let interval = self.settings.position_interval;
        let Some(member) = &mut self.member else { return };
        if member.told.get(&account).is_some_and(|told| told.elapsed() < interval) {
            return;
        }
        member.told.insert(account.clone(), Instant::now());
        let (fleet, services) = (member.fleet.clone(), self.services.clone());
        self.services.io.spawn(async move {
            match fleet.tell_positions(&account, interval, MOST_TOLD).await {
                Ok(told) => {
                    for place in told {
                        show_and_release(&services, place.run, place.epoch, place.events).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "queue positions could not be told"),
            }
        });
    }
}

impl Handler<ClaimsCame> for Supervisor {
    type Result = ();

    fn handle(&mut self, came: ClaimsCame, ctx: &mut Self::Context) {
        let Some(member) = &mut self.member else { return };
        member.claiming = false;
        member.under_way -= 1;
        let is_mine = member.is_held && member.instance == came.instance;
        match came.outcome {
            Ok(claimed) => {
                member.claimable |= claimed.len() == came.permits.len();
                // What was claimed under a lease that is lost meanwhile is taken over when that is over.
                if is_mine {
                    for (claimed, permit) in claimed.into_iter().zip(came.permits) {
                        let ClaimedRun { record, events } = claimed;
                        let account = record.account.clone();
                        let waited = Timestamp::now().since(record.created_at);
                        metrics::histogram!("callboard_run_queue_wait_seconds").record(waited);
                        self.launch_held(record, events, None, permit);
                        self.tell_positions_in_fleet(account);
                    }
                }
                // Before the next claim: a doubt must not wait until nothing is left to claim.
                self.settle(ctx);
                self.claim_from_fleet(ctx);
            }
            Err(error) => {
                member.is_unsure();
                tracing::warn!(%error, "queued runs could not be claimed; trying again");
                ctx.run_later(CLAIM_PAUSE, |supervisor, ctx| {
                    if let Some(member) = &mut supervisor.member {
                        member.claimable = true;
                    }
                    supervisor.pump(ctx);
                });
            }
        }
        self.check_let_go();
        self.check_drained();
    }
}
