//! The form in which events are kept and sent: written once by the actor, the same bytes in memory, on disk and on the wire.
//!
//! One event is one Server-Sent-Events frame, LF only, and its JSON has no raw line break, so `\n\n` ends a frame and nothing else does:
//!
//! ```text
//! id: 7
//! event: text.delta
//! data: {"seq":7,"run_id":"run_…","at":"…","type":"text.delta","item_id":"item_…","delta":"Hi"}
//!
//! ```

use bytes::{Bytes, BytesMut};

use crate::event::{Event, EventBody};
use crate::ids::RunId;
use crate::time::Timestamp;

/// Neighbouring events of one run: `first_seq`, `first_seq + 1`, … without a gap, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvents {
    first_seq: u64,
    count: u64,
    terminal: bool,
    bytes: Bytes,
}

/// One event of an [`EncodedEvents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its place in the log.
    pub seq: u64,
    /// Its `type`.
    pub kind: &'a str,
    /// Its JSON, one line.
    pub data: &'a str,
}

/// Bytes that are not a sequence of frames: a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored events are damaged")]
pub struct DamagedEvents;

impl EncodedEvents {
    /// The seq of the first event.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The seq of the last event.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.count - 1
    }

    /// How many events, at least 1.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the last event is the run's last.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// The frames, ready to be sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Reads back what [`EncodedEvents::bytes`] gave. Checks every frame.
    pub fn from_stored(bytes: Bytes) -> Result<Self, DamagedEvents> {
        let mut first_seq = None;
        let mut count = 0;
        let mut terminal = false;
        let mut rest = std::str::from_utf8(&bytes).map_err(|_| DamagedEvents)?;
        while !rest.is_empty() {
            let (frame, after) = next_frame(rest).ok_or(DamagedEvents)?;
            let first = *first_seq.get_or_insert(frame.seq);
            if frame.seq != first + count || terminal {
                return Err(DamagedEvents);
            }
            count += 1;
            terminal = is_terminal_kind(frame.kind);
            rest = after;
        }
        let first_seq = first_seq.ok_or(DamagedEvents)?;
        Ok(Self {
            first_seq,
            count,
            terminal,
            bytes,
        })
    }

    /// Each event, in order.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut rest = std::str::from_utf8(&self.bytes).unwrap_or_default();
        std::iter::from_fn(move || {
            let (frame, after) = next_frame(rest)?;
            rest = after;
            Some(frame)
        })
    }

    /// Each event, decoded. Fails on a vocabulary that this version does not know.
    pub fn events(&self) -> Result<Vec<Event>, DamagedEvents> {
        self.frames()
            .map(|frame| serde_json::from_str(frame.data).map_err(|_| DamagedEvents))
            .collect()
    }

    /// The events with a seq above `after`, sharing the same memory; `None` if there is none.
    pub fn after(&self, after: Option<u64>) -> Option<Self> {
        let Some(after) = after.filter(|after| *after >= self.first_seq) else {
            return Some(self.clone());
        };
        if after >= self.last_seq() {
            return None;
        }
        let skipped = after - self.first_seq + 1;
        let start = self.offset_of(skipped);
        Some(Self {
            first_seq: after + 1,
            count: self.count - skipped,
            terminal: self.terminal,
            bytes: self.bytes.slice(start..),
        })
    }

    /// The first `limit` events (at least one), sharing the same memory.
    pub fn truncated(&self, limit: u64) -> Self {
        let limit = limit.max(1);
        if limit >= self.count {
            return self.clone();
        }
        let end = self.offset_of(limit);
        Self {
            first_seq: self.first_seq,
            count: limit,
            terminal: false,
            bytes: self.bytes.slice(..end),
        }
    }

    /// All of them as one; each must continue the one before. `None` if there is none.
    pub fn join_all<'a>(batches: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let batches: Vec<&Self> = batches.into_iter().collect();
        let (first, last) = (batches.first()?, batches.last()?);
        if batches.len() == 1 {
            return Some((*first).clone());
        }
        debug_assert!(
            batches
                .windows(2)
                .all(|pair| pair[1].first_seq == pair[0].last_seq() + 1),
            "batches are neighbours"
        );
        let mut bytes = BytesMut::with_capacity(batches.iter().map(|batch| batch.bytes.len()).sum());
        for batch in &batches {
            bytes.extend_from_slice(&batch.bytes);
        }
        Some(Self {
            first_seq: first.first_seq,
            count: last.last_seq() - first.first_seq + 1,
            terminal: last.terminal,
            bytes: bytes.freeze(),
        })
    }

    /// Where the frame with this index begins.
    fn offset_of(&self, index: u64) -> usize {
        let text = std::str::from_utf8(&self.bytes).unwrap_or_default();
        let mut rest = text;
        for _ in 0..index {
            let Some((_, after)) = next_frame(rest) else { break };
            rest = after;
        }
        text.len() - rest.len()
    }
}

/// Numbers events and writes them, one after the other.
#[derive(Debug)]
pub struct EventEncoder {
    run_id: RunId,
    first_seq: u64,
    next_seq: u64,
    terminal: bool,
    buffer: Vec<u8>,
}

impl EventEncoder {
    /// An encoder whose first event will be `next_seq`.
    pub fn new(run_id: RunId, next_seq: u64) -> Self {
        Self {
            run_id,
            first_seq: next_seq,
            next_seq,
            terminal: false,
            buffer: Vec::new(),
        }
    }

    /// The seq that the next event will get.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether the run's last event was written.
    pub fn is_ended(&self) -> bool {
        self.terminal
    }

    /// Leaves out seqs up to `next_seq`, which were given away and lost. Only between two batches.
    pub fn skip_to(&mut self, next_seq: u64) {
        debug_assert!(
            self.buffer.is_empty() && next_seq >= self.next_seq,
            "seqs are skipped forwards, between batches"
        );
        self.next_seq = next_seq;
        self.first_seq = next_seq;
    }

    /// Writes an event that happens now. After a terminal event nothing is written any more: one ending.
    pub fn push(&mut self, body: EventBody) {
        if self.terminal {
            tracing::error!(run_id = %self.run_id, kind = body.kind(), "event after the end was dropped");
            return;
        }
        self.terminal = body.is_terminal();
        let kind = body.kind();
        let event = Event {
            seq: self.next_seq,
            run_id: self.run_id,
            at: Timestamp::now(),
            body,
        };
        self.buffer.extend_from_slice(b"id: ");
        self.buffer.extend_from_slice(event.seq.to_string().as_bytes());
        self.buffer.extend_from_slice(b"\nevent: ");
        self.buffer.extend_from_slice(kind.as_bytes());
        self.buffer.extend_from_slice(b"\ndata: ");
        if let Err(error) = serde_json::to_writer(&mut self.buffer, &event) {
            // Maps with string keys and plain enums cannot fail to serialise.
            tracing::error!(run_id = %self.run_id, kind, %error, "event could not be written");
        }
        self.buffer.extend_from_slice(b"\n\n");
        self.next_seq += 1;
    }

    /// Bytes that the next [`EventEncoder::take`] will give.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// What was written since the last call; `None` if nothing was.
    pub fn take(&mut self) -> Option<EncodedEvents> {
        if self.buffer.is_empty() {
            return None;
        }
        let events = EncodedEvents {
            first_seq: self.first_seq,
            count: self.next_seq - self.first_seq,
            terminal: self.terminal,
            bytes: Bytes::from(std::mem::take(&mut self.buffer).into_boxed_slice()),
        };
        self.first_seq = self.next_seq;
        Some(events)
    }
}

/// Encodes these events as one batch that starts at `first_seq`; `None` if there is none.
pub fn encode(run_id: RunId, first_seq: u64, bodies: impl IntoIterator<Item = EventBody>) -> Option<EncodedEvents> {
    let mut encoder = EventEncoder::new(run_id, first_seq);
    for body in bodies {
        encoder.push(body);
    }
    encoder.take()
}

fn is_terminal_kind(kind: &str) -> bool {
    matches!(kind, "run.completed" | "run.failed" | "run.cancelled")
}

fn next_frame(text: &str) -> Option<(Frame<'_>, &str)> {
    let (frame, after) = text.split_once("\n\n")?;
    let (id, rest) = frame.strip_prefix("id: ")?.split_once("\nevent: ")?;
    let (kind, data) = rest.split_once("\ndata: ")?;
    Some((
        Frame {
            seq: id.parse().ok()?,
            kind,
            data,
        },
        after,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ItemId;
    use crate::item::Usage;

    fn sample(run_id: RunId, first_seq: u64) -> EncodedEvents {
        let item_id = ItemId::new();
        let deltas = ["Hi", "\n\nid: 9\n\n", "ü"].map(|text| EventBody::TextDelta {
            item_id,
            delta: text.into(),
        });
        let end = [EventBody::RunCompleted {
            usage: Usage::default(),
        }];
        encode(run_id, first_seq, deltas.into_iter().chain(end)).expect("four events")
    }

    #[test]
    fn what_is_written_reads_back() {
        let run_id = RunId::new();
        let encoded = sample(run_id, 5);
        assert_eq!(EncodedEvents::from_stored(encoded.bytes().clone()), Ok(encoded.clone()));
        let seqs: Vec<u64> = encoded.frames().map(|frame| frame.seq).collect();
        assert_eq!(seqs, [5, 6, 7, 8]);
        let events = encoded.events().expect("decodes");
        assert!(matches!(&events[1].body, EventBody::TextDelta { delta, .. } if delta == "\n\nid: 9\n\n"));
        assert!(encoded.is_terminal());
    }

    #[test]
    fn slices_begin_and_end_at_frames() {
        let encoded = sample(RunId::new(), 5);
        let tail = encoded.after(Some(6)).expect("two left");
        assert_eq!((tail.first_seq(), tail.last_seq(), tail.is_terminal()), (7, 8, true));
        assert_eq!(EncodedEvents::from_stored(tail.bytes().clone()), Ok(tail));
        assert_eq!(encoded.after(Some(8)), None);
        assert_eq!(encoded.after(None), Some(encoded.clone()));
        assert_eq!(encoded.after(Some(3)), Some(encoded.clone()));
        let head = encoded.truncated(2);
        assert_eq!((head.first_seq(), head.last_seq(), head.is_terminal()), (5, 6, false));
        let both = EncodedEvents::join_all([&head, &encoded.after(Some(6)).expect("two left")]);
        assert_eq!(both, Some(encoded));
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut encoder = EventEncoder::new(RunId::new(), 0);
        encoder.push(EventBody::RunCancelled {
            usage: Usage::default(),
        });
        encoder.push(EventBody::RunCompleted {
            usage: Usage::default(),
        });
        assert_eq!(encoder.take().expect("one event").count(), 1);
        assert!(encoder.take().is_none());
    }

    #[test]
    fn damage_is_noticed() {
        let encoded = sample(RunId::new(), 0);
        let bytes = encoded.bytes();
        assert!(EncodedEvents::from_stored(bytes.slice(..bytes.len() - 1)).is_err());
        assert!(EncodedEvents::from_stored(Bytes::new()).is_err());
        assert!(EncodedEvents::from_stored([&bytes[..], &bytes[..]].concat().into()).is_err());
    }
}
