//! The supervisor: admits runs against Permits and Slots, queues what must wait, and answers for every run of this instance.
//!
//! Alone on its store it decides from memory; as one of a fleet it asks the store ([`fleet`]). It never awaits I/O: writes for runs that
//! have no actor go to tasks on the I/O runtime, which message back. It hears of every actor's end through the ticket that the actor holds, panics included.

mod admission;
pub(crate) mod arbiters;
mod departures;
pub mod fleet;
mod handle;
pub mod messages;
mod parked;
mod resolving;
mod resuming;
mod threads;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{mpsc, oneshot};

use crate::ids::{AccountId, InstanceId, RunId};
use crate::ledger::{Ledger, SlotHold, TierQuota};
use crate::permits::{Permit, Permits};
use crate::ports::store::{Recovered, RunRecord};
use crate::queue::{FairQueue, WaitingRun};
use crate::run::ticket::{Departure, RunTicket};
use crate::run::{HandOver, Origin, RunActor};
use crate::services::RunServices;
use crate::supervisor::arbiters::Arbiters;
use crate::supervisor::fleet::{Member, Membership};
pub(crate) use crate::supervisor::messages::StartReply;
use crate::supervisor::messages::{CancelReply, Drain, QueuePosition, Snapshot, StartRun, TakeSnapshot};
use crate::supervisor::threads::Entering;
use crate::time::Timestamp;

pub(crate) use admission::Arrival;
pub use handle::SupervisorHandle;

/// Bounds of admission.
#[derive(Debug, Clone)]
pub struct SupervisorSettings {
    /// Runs that may run here at once.
    pub permits: u32,
    /// Runs that may wait in all.
    pub queue_limit: u64,
    /// How long a run may wait; `None` for ever.
    pub queue_deadline: Option<Duration>,
    /// How often, at most, a waiting run's log tells its position.
    pub position_interval: Duration,
    /// What each tier allows.
    pub tiers: BTreeMap<String, TierQuota>,
    /// Arbiters for runs; one per core is right.
    pub arbiters: usize,
    /// Messages that may wait for the supervisor before senders are held up.
    pub mailbox: usize,
}

/// A run that was admitted from memory and not by the store: it shall wait.
#[derive(Debug)]
pub(crate) struct QueueInstead {
    pub(crate) run: RunId,
    pub(crate) request: StartRun,
    pub(crate) lacks: Lacks,
    pub(crate) reply: StartReply,
}

/// What the store did not have for a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lacks {
    /// A Slot: so many runs of the account have one.
    Slot { running: u32 },
    /// Its turn: a run of its thread has not ended of which memory knows nothing.
    Turn,
}

/// How an instance begins.
pub enum Beginning {
    /// Alone on its store.
    Alone {
        /// Its name.
        instance: InstanceId,
        /// What the instance before it left.
        recovered: Recovered,
    },
    /// One of several.
    InFleet(Membership),
}

pub(crate) struct Supervisor {
    /// The name of an instance that is alone.
    instance: InstanceId,
    /// Its part in a fleet.
    member: Option<Member>,
    services: Arc<RunServices>,
    settings: SupervisorSettings,
    permits: Permits,
    ledger: Ledger,
    queue: FairQueue,
    /// Runs that are being written into the queue: they count against its bounds and hold their account's line.
    arriving: HashMap<AccountId, u64>,
    /// Threads that a new run is just entering, with the starts that come after it.
    entering: Entering,
    registry: HashMap<RunId, Addr<RunActor>>,
    /// Runs that are `running` in the store and have no actor: their end, or their way back into the queue, is being written.
    resolving: HashSet<RunId>,
    cancel_replies: HashMap<RunId, Vec<CancelReply>>,
    arbiters: Arbiters,
    departures: mpsc::UnboundedSender<Departure>,
    arrivals_of_departures: Option<mpsc::UnboundedReceiver<Departure>>,
    recovered: Option<Recovered>,
    expiry: Option<(Timestamp, SpawnHandle)>,
    draining: Option<oneshot::Sender<()>>,
    is_draining: bool,
    /// The grace period is over: whatever still comes is handed back at once.
    hands_over: bool,
}

impl Supervisor {
    fn new(services: RunServices, settings: SupervisorSettings, beginning: Beginning) -> Self {
        let (departures, arrivals_of_departures) = mpsc::unbounded_channel();
        let (instance, recovered, member) = match beginning {
            Beginning::Alone { instance, recovered } => (instance, Some(recovered), None),
            Beginning::InFleet(membership) => (membership.instance, None, Some(Member::new(membership))),
        };
        Self {
            instance,
            member,
            permits: Permits::new(settings.permits),
            arbiters: Arbiters::start(settings.arbiters),
            services: Arc::new(services),
            settings,
            ledger: Ledger::default(),
            queue: FairQueue::default(),
            arriving: HashMap::new(),
            entering: Entering::new(),
            registry: HashMap::new(),
            resolving: HashSet::new(),
            cancel_replies: HashMap::new(),
            departures,
            arrivals_of_departures: Some(arrivals_of_departures),
            recovered,
            expiry: None,
            draining: None,
            is_draining: false,
            hands_over: false,
        }
    }

    /// Runs an actor for `run` on the least loaded arbiter.
    fn launch(&mut self, run: RunId, account: AccountId, epoch: u64, permit: Permit, slot: SlotHold, origin: Origin) {
        let ticket = RunTicket::new(run, account, epoch, permit, slot, self.departures.clone());
        let (arbiter, placement) = self.arbiters.place();
        let services = self.services.clone();
        let address = RunActor::start_in_arbiter(&arbiter, move |_| RunActor::new(services, ticket, placement, origin));
        if self.hands_over {
            // A claim or a take-over that was under way.
            let _ = address.try_send(HandOver);
        }
        self.registry.insert(run, address);
    }

    /// Takes up what the instance before this one left: what ran goes on, what waited waits.
    fn take_up(&mut self, recovered: Recovered, ctx: &mut Context<Self>) {
        let now = Timestamp::now();
        self.take_up_threads(&recovered);
        for queued in recovered.queued {
            self.let_wait(WaitingRun {
                id: queued.id,
                account: queued.account,
                tier: queued.tier.into(),
                deadline: queued.deadline,
                told_at: now,
            });
        }
        let (running, waiting) = (recovered.running.len(), self.queue.len());
        for record in recovered.running {
            self.go_on_with(record, ctx);
        }
        self.cancel_marked(recovered.to_cancel, ctx);
        if running > 0 || waiting > 0 {
            tracing::info!(running, waiting, "took up the runs of the instance before this one");
        }
    }

    /// Goes on with a run that was taken over; without a Permit for it (the server has become smaller) it waits for its turn.
    fn go_on_with(&mut self, record: RunRecord, ctx: &mut Context<Self>) {
        let slot = self.ledger.adopt(&record.account);
        match self.permits.try_acquire() {
            Some(permit) => {
                let (run, account, epoch) = (record.id, record.account.clone(), record.epoch);
                self.launch(run, account, epoch, permit, slot, Origin::Recovered(Box::new(record)));
            }
            None => self.give_back_to_queue(record, slot, ctx),
        }
    }

    /// Hands every run that still runs back to the queue.
    fn hand_over_all(&mut self) {
        self.hands_over = true;
        tracing::info!(
            runs = self.registry.len(),
            "the grace period is over; running runs are handed back to the queue"
        );
        for address in self.registry.values() {
            // One that is gone has left already; one with a full mailbox is told by the next start's recovery.
            let _ = address.try_send(HandOver);
        }
    }

    /// Answers whoever waits for the drain, once no actor is left and nothing is being written.
    fn check_drained(&mut self) {
        let under_way = self.member.as_ref().map_or(0, |member| member.under_way);
        let is_writing = !self.resolving.is_empty() || !self.arriving.is_empty() || !self.entering.is_empty();
        let idle = self.registry.is_empty() && !is_writing && under_way == 0;
        if idle && let Some(done) = self.draining.take() {
            self.leave_fleet(done);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.settings.mailbox);
        if let Some(mut arrivals) = self.arrivals_of_departures.take() {
            ctx.add_stream(futures::stream::poll_fn(move |task| arrivals.poll_recv(task)));
        }
        self.listen_to_threads(ctx);
        if let Some(recovered) = self.recovered.take() {
            self.take_up(recovered, ctx);
        }
        self.start_keeper(ctx);
        self.pump(ctx);
        self.schedule_expiry(ctx);
    }
}

impl Handler<QueuePosition> for Supervisor {
    type Result = Option<u64>;

    fn handle(&mut self, asked: QueuePosition, _ctx: &mut Self::Context) -> Self::Result {
        self.queue.position(asked.run)
    }
}

impl Handler<TakeSnapshot> for Supervisor {
    type Result = MessageResult<TakeSnapshot>;

    fn handle(&mut self, _: TakeSnapshot, _ctx: &mut Self::Context) -> Self::Result {
        let mut queued_by_tier: BTreeMap<String, u64> =
            self.settings.tiers.keys().map(|tier| (tier.clone(), 0)).collect();
        match &self.member {
            Some(member) => queued_by_tier.extend(member.queued_by_tier.clone()),
            None => {
                for (tier, count) in self.queue.len_by_tier() {
                    queued_by_tier.insert(tier.to_string(), *count);
                }
            }
        }
        MessageResult(Snapshot {
            instance: Some(self.member.as_ref().map_or(self.instance, |member| member.instance)),
            live_instances: self.member.as_ref().map_or(1, Member::live_instances),
            permits_limit: self.permits.limit(),
            permits_in_use: self.permits.in_use(),
            queue_limit: self.settings.queue_limit,
            queued_by_tier,
            runs_by_arbiter: self.arbiters.loads(),
            draining: self.is_draining,
            lease_lost: !self.holds_lease(),
        })
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ();

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) {
        tracing::info!(
            running = self.registry.len(),
            waiting = self.queue.len(),
            "draining: no new runs are admitted"
        );
        self.is_draining = true;
        if let Some(member) = &self.member {
            member.drains();
        }
        self.draining = Some(drain.done);
        ctx.run_later(drain.grace, |supervisor, _| supervisor.hand_over_all());
        self.check_drained();
    }
}
