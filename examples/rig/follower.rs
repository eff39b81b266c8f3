//! A client that follows one run to its end, on whatever instance answers, and checks each event as it comes.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::OpenError;
use super::fleet_client::FleetClient;
use super::reader::{EventReader, SeenEvent, StreamError};
use super::rules::lost_in;
use super::{PATIENCE, patiently};

/// After so much silence an instance counts as gone. Several times `server.heartbeat_interval` of the rig.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: ViolationKind,
    pub(crate) text: String,
}

/// What must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ViolationKind {
    /// A seq is missing, and no `run.recovered` says that it is lost.
    Gap,
    /// An event came once more, or an earlier one after a later one.
    Duplicate,
    /// A seq came once more and is another event now.
    Changed,
    /// An event came after the terminal one.
    AfterTheEnd,
    /// The server says that there is nothing more, and no terminal event came.
    NoEnd,
    /// What came is no event of this run.
    Malformed,
    /// The stream was refused for a reason that does not pass.
    Refused,
    /// Nothing new came for [`PATIENCE`].
    Stuck,
}

/// What a follower saw.
#[derive(Clone, Default)]
pub(crate) struct Followed {
    pub(crate) run: String,
    /// Without what [`Followed::violations`] names as duplicate or changed.
    pub(crate) events: Vec<SeenEvent>,
    pub(crate) violations: Vec<Violation>,
    /// From which instance each stream came, with the seq it began after and why it ended.
    pub(crate) streams: Vec<String>,
}

impl Followed {
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.events.last().map(|event| event.seq)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.events.last().is_some_and(SeenEvent::is_terminal)
    }

    pub(crate) fn has(&self, kind: &str) -> bool {
        self.events.iter().any(|event| event.kind == kind)
    }

    fn violate(&mut self, kind: ViolationKind, text: impl Into<String>) {
        let text = text.into();
        self.violations.push(Violation { kind, text });
    }

    /// Takes an event in and checks that it follows what was seen.
    fn take_in(&mut self, event: SeenEvent) {
        if event.data["run_id"].as_str() != Some(&self.run) {
            self.violate(ViolationKind::Malformed, format!("an event of another run: {event:?}"));
            return;
        }
        let next = self.last_seq().map_or(0, |seq| seq + 1);
        if event.seq < next {
            let known = self.events.iter().find(|known| known.seq == event.seq);
            match known.filter(|known| known.frame != event.frame).cloned() {
                Some(known) => self.violate(ViolationKind::Changed, format!("{known:?} and later {event:?}")),
                None => self.violate(ViolationKind::Duplicate, format!("after seq {next}: {event:?}")),
            }
            return;
        }
        if self.has_ended() {
            self.violate(ViolationKind::AfterTheEnd, format!("{event:?}"));
        }
        if event.seq > next && !says_lost(&event, next) {
            self.violate(ViolationKind::Gap, format!("seq {next} was next: {event:?}"));
        }
        self.events.push(event);
    }
}

/// In short: the events by kind.
impl fmt::Debug for Followed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {:#?}", self.run, self.violations)?;
        for alike in self.events.chunk_by(|one, next| one.kind == next.kind) {
            writeln!(
                formatter,
                "  {} × {}, from seq {}",
                alike.len(),
                alike[0].kind,
                alike[0].seq
            )?;
        }
        for stream in &self.streams {
            writeln!(formatter, "  a stream from {stream}")?;
        }
        Ok(())
    }
}

/// Whether the event says that all seqs from `next` up to its own are lost.
fn says_lost(event: &SeenEvent, next: u64) -> bool {
    let before = event.seq.checked_sub(1);
    event.kind == "run.recovered"
        && lost_in(event).is_some_and(|lost| *lost.start() <= next && Some(*lost.end()) == before)
}

/// Follows a run. Made by [`FleetClient::follower`].
pub(crate) struct Follower {
    client: FleetClient,
    turn: usize,
    longest_silence: Duration,
    counter: Option<watch::Sender<u64>>,
    seen: watch::Sender<Followed>,
}

/// A follower at work.
pub(crate) struct Following {
    task: JoinHandle<()>,
    seen: watch::Receiver<Followed>,
}

impl Follower {
    pub(super) fn new(client: FleetClient, run: &str, turn: usize) -> Self {
        let seen = Followed {
            run: run.to_owned(),
            ..Followed::default()
        };
        Self {
            client,
            turn,
            longest_silence: LONGEST_SILENCE,
            counter: None,
            seen: watch::Sender::new(seen),
        }
    }

    /// Begins with this instance, if it is there.
    pub(crate) fn beginning_with(mut self, name: &str) -> Self {
        self.turn = self.client.addresses().turn_of(name).unwrap_or(self.turn);
        self
    }

    /// Bears any silence: an instance that stands still is waited for, so that what it says when it wakes is seen.
    pub(crate) fn patient(mut self) -> Self {
        self.longest_silence = PATIENCE;
        self
    }

    /// Counts each event, for somebody who wants to know how far many followers are.
    pub(crate) fn counting(mut self, counter: watch::Sender<u64>) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Follows the run in a task of its own.
    pub(crate) fn start(self) -> Following {
        let seen = self.seen.subscribe();
        Following {
            task: tokio::spawn(async move { self.follow().await }),
            seen,
        }
    }

    /// From stream to stream, until there is nothing more.
    async fn follow(mut self) {
        let mut last_news = (Instant::now(), None);
        loop {
            let after = self.seen.borrow().last_seq();
            if after != last_news.1 {
                last_news = (Instant::now(), after);
            }
            if last_news.0.elapsed() > PATIENCE {
                self.violate(ViolationKind::Stuck, format!("after seq {after:?}"));
                return;
            }
            let Some(address) = self.client.addresses().in_turn(self.turn) else {
                self.client.addresses().pause().await;
                continue;
            };
            self.turn += 1;
            let opening = self.client.client_of(&address);
            let run = self.seen.borrow().run.clone();
            let ended = match opening.open_events(&run, after, self.longest_silence).await {
                Ok(Some(stream)) => self.read(stream).await,
                Ok(None) if self.seen.borrow().has_ended() => return,
                Ok(None) => {
                    self.violate(
                        ViolationKind::NoEnd,
                        format!("{} has nothing after {after:?}", address.name),
                    );
                    return;
                }
                Err(OpenError::Refused(status, text))
                    if (400..500).contains(&status) && !matches!(status, 408 | 429) =>
                {
                    let text = format!("{} refuses what follows {after:?} with {status}: {text}", address.name);
                    self.violate(ViolationKind::Refused, text);
                    return;
                }
                Err(error) => {
                    self.client.addresses().pause().await;
                    error.to_string()
                }
            };
            let stream = format!("{} after {after:?}: {ended}", address.name);
            self.seen.send_modify(|seen| seen.streams.push(stream));
            if self
                .seen
                .borrow()
                .violations
                .iter()
                .any(|violation| violation.kind == ViolationKind::Malformed)
            {
                return;
            }
        }
    }

    /// Reads a stream to its end, and says how that was. A terminal event does not end it: nothing may follow.
    async fn read(&self, mut stream: EventReader) -> String {
        loop {
            match stream.read().await {
                Ok(Some(event)) => {
                    self.seen.send_modify(|seen| seen.take_in(event));
                    if let Some(counter) = &self.counter {
                        counter.send_modify(|count| *count += 1);
                    }
                }
                Ok(None) => return "ended".to_owned(),
                Err(StreamError::Malformed(text)) => {
                    self.violate(ViolationKind::Malformed, &text);
                    return text;
                }
                Err(error) => return error.to_string(),
            }
        }
    }

    fn violate(&self, kind: ViolationKind, text: impl Into<String>) {
        self.seen.send_modify(|seen| seen.violate(kind, text));
    }
}

impl Following {
    /// What was seen so far.
    pub(crate) fn so_far(&self) -> Followed {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen is as `is_so` wants it.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Followed) -> bool) -> anyhow::Result<()> {
        let waiting = async { self.seen.wait_for(|seen| is_so(seen)).await.is_ok() };
        match patiently(what, waiting).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow!("the follower ended before {what}")),
            Err(error) => Err(error),
        }
        .with_context(|| format!("what was seen of {:?}", *self.seen.borrow()))
    }

    /// Waits until an event of this kind was seen.
    pub(crate) async fn until_seen(&mut self, kind: &str) -> anyhow::Result<()> {
        self.until(kind, |seen| seen.has(kind)).await
    }

    /// Waits until nothing more is to be seen, and gives all.
    pub(crate) async fn ended(self) -> anyhow::Result<Followed> {
        // No patience of its own: the follower ends by itself when nothing new comes.
        self.task.await.context("the follower broke")?;
        Ok(self.seen.borrow().clone())
    }
}
