//! The `EventLog` of a fleet: every instance has a log of its own, and Redis connects them.
//!
//! ```text
//!   instance that writes the run              instance where somebody follows it
//!   append ─▶ local log ─▶ publisher ─▶ Redis ─▶ mirror ─▶ local log ─▶ readers
//!                 │                                  ▲
//!              readers                             store
//! ```
//!
//! What holds:
//! - Readers follow the local log, always. Those of a run that is written here do not need Redis.
//! - The publisher reads from the local log (and the store behind it) what is not published yet: nothing is kept twice, and what was
//!   appended while Redis was away is delivered when it is back.
//! - An entry's id begins with the epoch: once a later epoch has written, Redis refuses what an earlier one still sends. A writer that is
//!   refused stops being one, and its readers hear what the later one writes.
//! - A mirror feeds only what continues the local log. Gaps are filled from Redis's stream or from the store; it shows no gap that
//!   the writer did not make. In doubt it waits for the store, which gets everything.
//! - Two connections per instance, however many runs are written or followed (with a Cluster: one per node, and one).
//! - All work is done on one runtime, whoever calls or polls.

mod elsewhere;
mod mirror;
mod options;
mod publisher;
mod run;
mod script;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::event_log::Reach;
use callboard_actors::ports::{EventLog, EventLogError, EventStream, LogHead, Store};
use futures::{Stream, StreamExt};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

use self::mirror::Mirror;
pub use self::options::RedisLogOptions;
use self::run::Runs;
use self::script::Commands;
use self::subscriptions::{Inbox, Subscriptions};
use crate::redis_client::{Endpoint, Link};
pub use crate::redis_client::{RedisAddress, RedisSetupError};

/// Runs that are sent to Redis at the same moment; their commands share one connection.
const SENDING_AT_ONCE: usize = 256;
/// Runs of others that are looked up in the store and in Redis at the same moment.
const LOOKING_AT_ONCE: usize = 16;

/// How well this instance is connected to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisLogHealth {
    /// Whether events can be sent.
    pub sends: bool,
    /// Whether events of other instances are heard at once. If not, they come slowly, from the store.
    pub hears: bool,
    /// Runs with events that are not sent yet.
    pub unsent_runs: usize,
    /// Runs of other instances that are followed here.
    pub mirrored_runs: usize,
    /// Runs that are written or followed here.
    pub runs: usize,
}

/// The event log of an instance of a fleet. Cheap to clone: all clones are one log. Its work ends with the last clone and stream.
#[derive(Clone)]
pub struct RedisEventLog {
    shared: Arc<Shared>,
    _work: Arc<StopOnDrop>,
}

/// What all parts have in common.
struct Shared {
    options: RedisLogOptions,
    local: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    runs: Runs,
    link: Link,
    subscriptions: Subscriptions,
    commands: Arc<Commands>,
    sending: Semaphore,
    looking: Semaphore,
    /// A run has nothing more to send.
    published: Notify,
    closed: watch::Sender<bool>,
}

struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.closed.send_replace(true);
    }
}

impl RedisEventLog {
    /// A log over `local`, which reads `store`. Connects in the background: a Redis that is away does not keep the server from starting.
    pub fn start(
        local: Arc<dyn EventLog>,
        store: Arc<dyn Store>,
        options: RedisLogOptions,
    ) -> Result<Self, RedisSetupError> {
        let endpoint = Arc::new(Endpoint::new(&options.connect())?);
        let shared = Arc::new(Shared {
            local,
            store,
            runs: Runs::default(),
            link: Link::new(
                &options.connect(),
                Some("events stay on this instance until that is over"),
            ),
            subscriptions: Subscriptions::new(&options),
            commands: Arc::new(Commands::new(&options)),
            sending: Semaphore::new(SENDING_AT_ONCE),
            looking: Semaphore::new(LOOKING_AT_ONCE),
            published: Notify::new(),
            closed: watch::Sender::new(false),
            options,
        });
        let (linked, at) = (Arc::clone(&shared), Arc::clone(&endpoint));
        shared.spawn(async move { linked.link.keep(at).await });
        let hearing = Arc::clone(&shared);
        shared.spawn(async move {
            let commands = Arc::clone(&hearing.commands);
            hearing.subscriptions.keep(endpoint, commands).await;
        });
        Ok(Self {
            _work: Arc::new(StopOnDrop(Arc::clone(&shared))),
            shared,
        })
    }

    /// How well it is connected now.
    pub fn health(&self) -> RedisLogHealth {
        RedisLogHealth {
            sends: self.shared.link.is_up(),
            hears: self.shared.subscriptions.is_up(),
            unsent_runs: self.shared.runs.unpublished(),
            mirrored_runs: self.shared.subscriptions.count(),
            runs: self.shared.runs.count(),
        }
    }

    /// Waits until everything that was appended is sent: for ever, if Redis stays away.
    pub async fn flush(&self) {
        loop {
            let published = self.shared.published.notified();
            tokio::pin!(published);
            published.as_mut().enable();
            if self.shared.runs.unpublished() == 0 {
                return;
            }
            published.await;
        }
    }

    /// The run becomes written here with this append, unless it is refused.
    async fn take(&self, run: RunId, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError> {
        let entry = self.shared.runs.with(run, |entry, _| Arc::clone(entry));
        let _quiet = entry.feeding.lock().await;
        let local = &self.shared.local;
        // What was committed before it is appended may have been brought here from the store already, by a mirror that was faster.
        match local.append(run, epoch, events.clone()).await {
            Err(EventLogError::OutOfOrder { expected, found }) if expected > found => {
                if !self.has_locally(run, &events.truncated(expected - found)).await? {
                    return Err(EventLogError::OutOfOrder { expected, found });
                }
                if let Some(rest) = events.after(Some(expected - 1)) {
                    local.append(run, epoch, rest).await?;
                }
            }
            Err(EventLogError::Ended) if events.is_terminal() => {
                if !self.has_locally(run, &events).await? {
                    return Err(EventLogError::Ended);
                }
            }
            answer => answer?,
        }
        self.shared.appended(run, epoch, &events);
        Ok(())
    }

    /// Whether the local log has exactly these events.
    async fn has_locally(&self, run: RunId, events: &EncodedEvents) -> Result<bool, EventLogError> {
        let after = events.first_seq().checked_sub(1);
        let batches = self.shared.local.read(run, after, events.count()).await?;
        let mut rest: &[u8] = events.bytes();
        for batch in &batches {
            match rest.strip_prefix(&batch.bytes()[..]) {
                Some(after) => rest = after,
                None => return Ok(false),
            }
        }
        Ok(rest.is_empty())
    }
}

impl Shared {
    /// Work that ends with the log.
    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut closed = self.closed.subscribe();
        let task = self.options.runtime.spawn(async move {
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => {}
                () = work => {}
            }
        });
        task.abort_handle()
    }

    fn is_connected(&self) -> bool {
        self.link.is_up() && self.subscriptions.is_up()
    }

    /// The events are in the local log: the others are to hear of them.
    fn appended(self: &Arc<Self>, run: RunId, epoch: u64, events: &EncodedEvents) {
        let (publish, inbox) = self
            .runs
            .with(run, |_, used| (used.appended(epoch, events), used.stop_mirror()));
        self.close_inbox(run, inbox);
        if publish {
            self.spawn(publisher::publish_all(Arc::clone(self), run));
        }
    }

    /// Starts a mirror if somebody follows the run here and nobody writes it here.
    fn mirror_if_needed(self: &Arc<Self>, run: RunId) {
        self.runs.with(run, |entry, used| {
            if used.needs_mirror() {
                let inbox = self.subscriptions.open(run);
                let mirror = Mirror::new(Arc::clone(self), Arc::clone(entry), Arc::clone(&inbox));
                let task = self.spawn(mirror.work());
                used.mirrored_by(task, inbox);
            }
        });
    }

    fn close_inbox(&self, run: RunId, inbox: Option<Arc<Inbox>>) {
        if let Some(inbox) = inbox {
            self.subscriptions.close(run, &inbox);
        }
    }
}

#[async_trait]
impl EventLog for RedisEventLog {
    async fn append(&self, run: RunId, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError> {
        let entry = self.shared.runs.get(run);
        if !entry.is_some_and(|entry| entry.is_written_under(epoch)) {
            return self.take(run, epoch, events).await;
        }
        self.shared.local.append(run, epoch, events.clone()).await?;
        self.shared.appended(run, epoch, &events);
        Ok(())
    }

    fn mark_durable(&self, run: RunId, seq: u64) {
        self.shared.local.mark_durable(run, seq);
        if let Some(entry) = self.shared.runs.get(run) {
            entry.mark_durable(seq);
        }
    }

    async fn head(&self, run: RunId) -> Result<Option<LogHead>, EventLogError> {
        if self.shared.runs.is_written(run) {
            return self.shared.local.head(run).await;
        }
        let shared = Arc::clone(&self.shared);
        let looking = self
            .shared
            .options
            .runtime
            .spawn(async move { shared.head_elsewhere(run).await });
        looking.await.map_err(|_| stopped())?
    }

    async fn read(&self, run: RunId, after: Option<u64>, limit: u64) -> Result<Vec<EncodedEvents>, EventLogError> {
        if self.shared.runs.is_written(run) {
            return self.shared.local.read(run, after, limit).await;
        }
        let shared = Arc::clone(&self.shared);
        let runtime = &self.shared.options.runtime;
        let reading = runtime.spawn(async move { shared.read_elsewhere(run, after, limit).await });
        reading.await.map_err(|_| stopped())?
    }

    fn release(&self, run: RunId) {
        self.shared.local.release(run);
        self.shared.runs.with(run, |_, used| used.release());
        self.shared.mirror_if_needed(run);
    }

    fn reach(&self) -> Option<Reach> {
        Some(if self.shared.is_connected() && !self.shared.link.refuses() {
            Reach::Everywhere
        } else {
            Reach::OnlyHere
        })
    }

    fn follow(&self, run: RunId, after: Option<u64>) -> EventStream {
        // Joined before the mirror begins: what it brings is heard.
        let events = self.shared.local.follow(run, after);
        self.shared.runs.with(run, |_, used| used.add_follower());
        self.shared.mirror_if_needed(run);
        let follower = Follower { log: self.clone(), run };
        Followed {
            events,
            _follower: follower,
        }
        .boxed()
    }
}

fn stopped() -> EventLogError {
    EventLogError::Unavailable("the runtime has stopped".to_owned())
}

/// Somebody who follows a run here, for as long as it lives.
struct Follower {
    log: RedisEventLog,
    run: RunId,
}

impl Drop for Follower {
    fn drop(&mut self) {
        let inbox = self.log.shared.runs.with(self.run, |_, used| used.remove_follower());
        self.log.shared.close_inbox(self.run, inbox);
    }
}

/// What the local log shows. It is left before the follower is.
struct Followed {
    events: EventStream,
    _follower: Follower,
}

impl Stream for Followed {
    type Item = Result<EncodedEvents, EventLogError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}
