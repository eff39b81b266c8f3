//! Brings what other instances write of one run into the local log, for those who follow it here.
//!
//! Three sources, each enough to be right and together fast: the subscription tells what comes; the stream has what was published before
//! or missed; the store has all that is durable. Everything passes through the local log, which takes only what continues it.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventLogError;
use tokio::time::Instant;

use super::Shared;
use super::run::RunEntry;
use super::script::{Message, PAGE};
use super::subscriptions::Inbox;
use crate::redis_client::{Backoff, describe, jittered};

/// How long the first look waits for the subscription, so that one look is enough.
const SUBSCRIPTION_PATIENCE: Duration = Duration::from_millis(250);
/// Looks at a store that moves on under them.
const ATTEMPTS: usize = 16;
/// A run that stays silent is looked at less and less often, down to this multiple of the interval.
const RAREST: u32 = 6;

/// What became of an attempt to bring the local log up to date.
enum Progress {
    /// It has everything that is known.
    UpToDate,
    /// Something is missing that will come.
    Behind,
    /// The run has ended and the local log says so; or it is written here.
    Over,
}

/// The run's mirror.
pub(super) struct Mirror {
    shared: Arc<Shared>,
    entry: Arc<RunEntry>,
    run: RunId,
    inbox: Arc<Inbox>,
    /// The seq after the last one that the local log has; `None` until it was looked at.
    next: Option<u64>,
    silent_checks: u32,
}

impl Mirror {
    pub(super) fn new(shared: Arc<Shared>, entry: Arc<RunEntry>, inbox: Arc<Inbox>) -> Self {
        Self {
            run: entry.run,
            shared,
            entry,
            inbox,
            next: None,
            silent_checks: 0,
        }
    }

    /// Mirrors until the end of the run.
    pub(super) async fn work(mut self) {
        let mut backoff = Backoff::new();
        let mut first = tokio::time::timeout(SUBSCRIPTION_PATIENCE, self.inbox.take())
            .await
            .unwrap_or_default()
            .messages;
        loop {
            let known = self.next;
            match self.catch_up().await {
                Ok(Progress::Over) => break,
                Ok(Progress::UpToDate) => backoff.reset(),
                Ok(Progress::Behind) => {
                    backoff.pause().await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(run_id = %self.run, %error, "a run of another instance could not be read");
                    backoff.pause().await;
                    continue;
                }
            }
            if self.next != known {
                self.silent_checks = 0;
            }
            if let Progress::Over = self.listen(std::mem::take(&mut first)).await {
                break;
            }
        }
        self.shared.subscriptions.close(self.run, &self.inbox);
        self.shared
            .runs
            .with(self.run, |_, used| used.mirrored_to_the_end(&self.inbox));
    }

    /// Feeds what comes, until something is missing, or it is time for a look.
    async fn listen(&mut self, first: Vec<Message>) -> Progress {
        let mut messages = first;
        loop {
            for message in messages {
                match self.feed(message).await {
                    Progress::UpToDate => self.silent_checks = 0,
                    other => return other,
                }
            }
            let due = Instant::now() + self.until_next_look();
            let arrivals = tokio::select! {
                arrivals = self.inbox.take() => arrivals,
                () = tokio::time::sleep_until(due) => {
                    self.silent_checks = self.silent_checks.saturating_add(1);
                    return Progress::UpToDate;
                }
            };
            if arrivals.missed {
                return Progress::Behind;
            }
            messages = arrivals.messages;
        }
    }

    fn until_next_look(&self) -> Duration {
        let options = &self.shared.options;
        if !self.shared.is_connected() {
            return jittered(options.away_interval);
        }
        jittered(options.check_interval * (1 + self.silent_checks).min(RAREST))
    }

    /// The store first, then what the stream has above it.
    async fn catch_up(&mut self) -> Result<Progress, EventLogError> {
        let shared = Arc::clone(&self.shared);
        let Ok(_place) = shared.looking.acquire().await else {
            return Ok(Progress::Over);
        };
        let Some(epoch) = self.look_into_the_store().await? else {
            return Ok(Progress::Over);
        };
        let Some(mut connection) = shared.link.now() else {
            return Ok(Progress::UpToDate);
        };
        loop {
            let next = self.next.unwrap_or(0);
            let page = shared.commands.messages(&mut connection, self.run, epoch, next).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    shared.link.report(&error);
                    return Err(EventLogError::Unavailable(describe(&error)));
                }
            };
            let is_last = page.len() < PAGE;
            for message in page {
                match self.feed(message).await {
                    Progress::UpToDate => {}
                    other => return Ok(other),
                }
            }
            if is_last || self.next.unwrap_or(0) == next {
                return Ok(Progress::UpToDate);
            }
        }
    }

    /// Rings the local log's bell with the last event that the store has: readers fetch what is below by themselves. Answers the run's
    /// epoch; `None` if the run is over or written here.
    async fn look_into_the_store(&mut self) -> Result<Option<u64>, EventLogError> {
        let (mut last_expected, mut fenced) = (None, false);
        for _ in 0..ATTEMPTS {
            let record = self.shared.store.run(self.run).await.map_err(unavailable)?;
            let Some(record) = record.filter(|record| record.next_seq > 0) else {
                self.next = Some(self.local_end().await?);
                return Ok(Some(0));
            };
            if record.events_forgotten {
                // Whoever follows it has heard so from the store.
                return Ok(None);
            }
            let has_all = self.next.is_some_and(|next| next >= record.next_seq);
            if has_all && !record.state.is_terminal() {
                self.shared.local.mark_durable(self.run, record.next_seq - 1);
                return Ok(Some(record.epoch));
            }
            let page = self
                .shared
                .store
                .events(self.run, record.next_seq.checked_sub(2), 1)
                .await;
            let Some(last) = page.map_err(unavailable)?.pop() else {
                continue;
            };
            let _quiet = self.entry.feeding.lock().await;
            if self.entry.is_written() {
                return Ok(None);
            }
            let end = last.last_seq() + 1;
            let ended = last.is_terminal();
            match self.shared.local.append(self.run, record.epoch, last).await {
                Ok(()) => self.next = Some(end),
                Err(EventLogError::Ended) if ended => return Ok(None),
                // The run has ended since the look: the end itself is still to be brought.
                Err(EventLogError::Ended) => continue,
                // Either the local log has it, or the store has moved on: then the next look finds another end.
                Err(EventLogError::OutOfOrder { expected, .. })
                    if expected == end || (expected > end && last_expected == Some(expected)) =>
                {
                    self.next = Some(expected);
                }
                Err(EventLogError::OutOfOrder { expected, .. }) => {
                    last_expected = Some(expected);
                    continue;
                }
                Err(EventLogError::Fenced) if fenced => self.next = Some(self.local_end().await?),
                Err(EventLogError::Fenced) => {
                    fenced = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.shared.local.mark_durable(self.run, end - 1);
            return Ok((!ended).then_some(record.epoch));
        }
        Err(EventLogError::Unavailable(
            "the store moved on under every look".to_owned(),
        ))
    }

    async fn local_end(&self) -> Result<u64, EventLogError> {
        let head = self.shared.local.head(self.run).await?;
        Ok(head.map_or(0, |head| head.next_seq))
    }

    /// Brings a message into the local log, as far as it is new there.
    async fn feed(&mut self, message: Message) -> Progress {
        let next = self.next.unwrap_or(0);
        let events = match next.checked_sub(1) {
            None => Some(message.events),
            Some(after) => message.events.after(Some(after)),
        };
        let Some(events) = events else {
            return Progress::UpToDate;
        };
        if events.first_seq() != next {
            return Progress::Behind;
        }
        let _quiet = self.entry.feeding.lock().await;
        if self.entry.is_written() {
            return Progress::Over;
        }
        let (end, ended) = (events.last_seq() + 1, events.is_terminal());
        let fed = self.append(message.epoch, events).await;
        match fed {
            Ok(()) => self.next = Some(end),
            // Also when the run has ended: the store tells whether its readers have heard of it.
            Err(_) => return Progress::Behind,
        }
        // The end is durable before it is shown, and with it all that came before.
        let durable_below = if ended { end } else { message.durable_below.min(end) };
        if let Some(durable) = durable_below.checked_sub(1) {
            self.shared.local.mark_durable(self.run, durable);
        }
        if ended { Progress::Over } else { Progress::UpToDate }
    }

    async fn append(&self, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError> {
        self.shared.local.append(self.run, epoch, events).await
    }
}

fn unavailable(error: callboard_actors::ports::StoreError) -> EventLogError {
    EventLogError::Unavailable(error.to_string())
}
