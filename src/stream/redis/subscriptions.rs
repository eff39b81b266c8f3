//! The one connection for subscriptions: it hears what others publish of all runs that are followed here, and puts it into their inboxes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::ids::RunId;
use futures::StreamExt;
use redis::Msg;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::Notify;
use tokio::sync::watch;

use super::options::RedisLogOptions;
use super::script::{Commands, Message};
use crate::redis_client::{Backoff, Endpoint, describe};

const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Channels per command.
const CHANNELS_AT_ONCE: usize = 512;
/// Messages that wait for a run's mirror; when there are more, it reads the stream instead.
const INBOX_MESSAGES: usize = 256;
const INBOX_BYTES: usize = 1024 * 1024;

/// What came for a run and was not looked at yet.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    bell: Notify,
}

/// What was in an inbox.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) messages: Vec<Message>,
    /// Something may have been missed: read the stream.
    pub(super) missed: bool,
}

#[derive(Default)]
struct InboxState {
    arrivals: Arrivals,
    bytes: usize,
}

impl Inbox {
    /// What has come, waiting for it.
    pub(super) async fn take(&self) -> Arrivals {
        loop {
            let bell = self.bell.notified();
            let arrivals = {
                let mut state = self.lock();
                state.bytes = 0;
                std::mem::take(&mut state.arrivals)
            };
            if arrivals.missed || !arrivals.messages.is_empty() {
                return arrivals;
            }
            bell.await;
        }
    }

    fn put(&self, message: Option<Message>) {
        let mut state = self.lock();
        let Some(message) = message else {
            state.arrivals.missed = true;
            drop(state);
            self.bell.notify_one();
            return;
        };
        state.bytes += message.events.bytes().len();
        if state.arrivals.missed {
            return;
        }
        if state.arrivals.messages.len() >= INBOX_MESSAGES || state.bytes > INBOX_BYTES {
            state.arrivals.messages = Vec::new();
            state.arrivals.missed = true;
        } else {
            state.arrivals.messages.push(message);
        }
        drop(state);
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who wants to hear of which run.
pub(super) struct Subscriptions {
    wishes: Mutex<Wishes>,
    changed: Notify,
    up: watch::Sender<bool>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

#[derive(Default)]
struct Wishes {
    inboxes: HashMap<RunId, Arc<Inbox>>,
    /// Runs whose wish may differ from what is subscribed.
    changed: HashSet<RunId>,
}

impl Subscriptions {
    pub(super) fn new(options: &RedisLogOptions) -> Self {
        Self {
            wishes: Mutex::default(),
            changed: Notify::new(),
            up: watch::Sender::new(false),
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().inboxes.len()
    }

    /// From now on what is published of the run comes into the answer; a first "missed" says that the subscription stands.
    pub(super) fn open(&self, run: RunId) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        let mut wishes = self.lock();
        wishes.inboxes.insert(run, Arc::clone(&inbox));
        wishes.changed.insert(run);
        drop(wishes);
        self.changed.notify_one();
        inbox
    }

    /// Ends what `open` began, unless somebody else has opened it since.
    pub(super) fn close(&self, run: RunId, inbox: &Arc<Inbox>) {
        let mut wishes = self.lock();
        if wishes
            .inboxes
            .get(&run)
            .is_some_and(|current| Arc::ptr_eq(current, inbox))
        {
            wishes.inboxes.remove(&run);
            wishes.changed.insert(run);
            drop(wishes);
            self.changed.notify_one();
        }
    }

    /// Keeps the connection, for ever.
    pub(super) async fn keep(&self, endpoint: Arc<Endpoint>, commands: Arc<Commands>) {
        let mut backoff = Backoff::new();
        let mut attempt = 0;
        loop {
            let connecting = tokio::time::timeout(self.connect_timeout, endpoint.connect_for_subscriptions(attempt));
            let trouble = match connecting.await {
                Ok(Ok(connection)) => {
                    let (sink, stream) = connection.split();
                    let trouble = self.serve(sink, stream, &commands).await;
                    if self.up.send_replace(false) {
                        backoff.reset();
                    }
                    // What the store has, they can have at once.
                    self.tell_all();
                    trouble
                }
                Ok(Err(error)) => describe(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::debug!(trouble, "the subscriptions at Redis are gone");
            attempt += 1;
            backoff.pause().await;
        }
    }

    /// Serves one connection until it breaks, and says why it did.
    async fn serve(&self, mut sink: PubSubSink, mut stream: PubSubStream, commands: &Commands) -> String {
        let mut subscribed = HashSet::new();
        {
            let mut wishes = self.lock();
            let all: Vec<RunId> = wishes.inboxes.keys().copied().collect();
            wishes.changed.extend(all);
        }
        if let Err(trouble) = self.adjust(&mut sink, &mut subscribed, commands).await {
            return trouble;
        }
        self.up.send_replace(true);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.deliver(&message, commands),
                    None => return "the connection was closed".to_owned(),
                },
                () = self.changed.notified() => {
                    if let Err(trouble) = self.adjust(&mut sink, &mut subscribed, commands).await {
                        return trouble;
                    }
                }
                _ = ping.tick() => {
                    match tokio::time::timeout(self.response_timeout, sink.ping::<redis::Value>()).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return describe(&error),
                        Err(_) => return "no answer in time".to_owned(),
                    }
                }
            }
        }
    }

    /// Subscribes and unsubscribes as was wished since the last time, many channels at once.
    async fn adjust(
        &self,
        sink: &mut PubSubSink,
        subscribed: &mut HashSet<RunId>,
        commands: &Commands,
    ) -> Result<(), String> {
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        let mut fresh = Vec::new();
        {
            let mut wishes = self.lock();
            for run in std::mem::take(&mut wishes.changed) {
                match wishes.inboxes.get(&run) {
                    Some(inbox) => {
                        fresh.push(Arc::clone(inbox));
                        if subscribed.insert(run) {
                            joining.push(commands.channel(run));
                        }
                    }
                    None if subscribed.remove(&run) => leaving.push(commands.channel(run)),
                    None => {}
                }
            }
        }
        for channels in joining.chunks(CHANNELS_AT_ONCE) {
            self.answered(sink.subscribe(channels)).await?;
        }
        for inbox in fresh {
            inbox.put(None);
        }
        for channels in leaving.chunks(CHANNELS_AT_ONCE) {
            self.answered(sink.unsubscribe(channels)).await?;
        }
        Ok(())
    }

    async fn answered(&self, command: impl Future<Output = redis::RedisResult<()>>) -> Result<(), String> {
        match tokio::time::timeout(self.response_timeout, command).await {
            Ok(answer) => answer.map_err(|error| describe(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    fn deliver(&self, message: &Msg, commands: &Commands) {
        let Some(run) = commands.run_of(message.get_channel_name()) else {
            return;
        };
        let Some(inbox) = self.lock().inboxes.get(&run).cloned() else {
            return;
        };
        // What cannot be read is looked up in the stream, where it is reported.
        inbox.put(Message::from_bytes(message.get_payload_bytes()));
    }

    fn tell_all(&self) {
        let inboxes: Vec<Arc<Inbox>> = self.lock().inboxes.values().cloned().collect();
        for inbox in inboxes {
            inbox.put(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
