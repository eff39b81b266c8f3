//! The newest events of one run, in memory: what the writer appended, minus what was dropped because the store has it.

use std::collections::VecDeque;

use callboard_actors::encoding::EncodedEvents;

/// Small neighbouring chunks are merged once they are this many bytes together: each byte is copied once.
const MERGED_BYTES: usize = 4 * 1024;
/// What a chunk costs beside its bytes.
const CHUNK_OVERHEAD: usize = 96;
/// What a run costs beside its chunks (its place in the map, lock, notifier).
const WINDOW_OVERHEAD: usize = 512;

/// Why an append does not continue the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A higher epoch writes.
    Fenced,
    /// The terminal event is there.
    Ended,
    /// It begins below the end, which is `expected`.
    Behind { expected: u64 },
    /// It begins above the end, which is `expected`, under the same epoch.
    Gap { expected: u64 },
}

/// What comes next for a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Neighbouring chunks; the first may begin below what the reader needs.
    Chunks(Vec<EncodedEvents>),
    /// Memory has nothing below this seq. What the store has not either, the writer left out.
    Stored { below: u64 },
    /// The reader has seen everything.
    Nothing { ended: bool },
}

/// The newest events of one run. Chunks are in order; where two do not touch, the writer (or the store) knows why.
#[derive(Debug)]
pub(super) struct Window {
    epoch: u64,
    next_seq: u64,
    ended: bool,
    /// Seqs below this are in the store, or will never be.
    durable_below: u64,
    chunks: VecDeque<EncodedEvents>,
    /// How many chunks at the back are not merged yet; they are neighbours.
    loose: usize,
    loose_bytes: usize,
    bytes: usize,
}

impl Window {
    /// An empty window that begins at `first_seq`; everything below is in the store.
    pub(super) fn open(epoch: u64, first_seq: u64) -> Self {
        Self {
            epoch,
            next_seq: first_seq,
            ended: false,
            durable_below: first_seq,
            chunks: VecDeque::new(),
            loose: 0,
            loose_bytes: 0,
            bytes: WINDOW_OVERHEAD,
        }
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the store has all of it.
    pub(super) fn is_durable(&self) -> bool {
        self.durable_below >= self.next_seq
    }

    /// Adds events. `gap_is_stored`: what may lie between the end and these is in the store.
    pub(super) fn append(&mut self, epoch: u64, events: &EncodedEvents, gap_is_stored: bool) -> Result<(), Refusal> {
        let (expected, found) = (self.next_seq, events.first_seq());
        if epoch < self.epoch {
            return Err(Refusal::Fenced);
        }
        if self.ended {
            return Err(Refusal::Ended);
        }
        if found < expected {
            return Err(Refusal::Behind { expected });
        }
        if found > expected && epoch == self.epoch && !gap_is_stored {
            return Err(Refusal::Gap { expected });
        }
        if epoch > self.epoch {
            // The writer before is fenced off: what it has not committed by now it never will.
            self.durable_below = self.durable_below.max(expected);
            self.epoch = epoch;
        }
        if found > expected {
            self.merge_loose();
        }
        self.next_seq = events.last_seq() + 1;
        self.ended = events.is_terminal();
        self.push(events.clone());
        Ok(())
    }

    /// The store has everything up to `seq`.
    pub(super) fn mark_durable(&mut self, seq: u64) {
        self.durable_below = self.durable_below.max(seq.saturating_add(1));
    }

    /// Drops the oldest durable chunks while there is more than `limit` bytes, never the newest chunk: readers are about to fetch it.
    pub(super) fn trim(&mut self, limit: usize) {
        while self.bytes > limit && self.chunks.len() > 1 && self.drop_oldest() {}
    }

    /// Drops every durable chunk that no undurable one precedes.
    pub(super) fn drop_durable(&mut self) {
        while self.drop_oldest() {}
        self.chunks.shrink_to_fit();
    }

    /// What comes for a reader whose next event is `next`: about `max_bytes`, at least one chunk.
    pub(super) fn next_from(&self, next: u64, max_bytes: usize) -> Next {
        let found = self.chunks.partition_point(|chunk| chunk.last_seq() < next);
        let Some(first) = self.chunks.get(found) else {
            if next < self.next_seq {
                return Next::Stored { below: self.next_seq };
            }
            return Next::Nothing { ended: self.ended };
        };
        if first.first_seq() > next {
            return Next::Stored {
                below: first.first_seq(),
            };
        }
        let mut chunks = vec![first.clone()];
        let mut bytes = first.bytes().len();
        let mut end = first.last_seq() + 1;
        for chunk in self.chunks.iter().skip(found + 1) {
            bytes += chunk.bytes().len();
            if bytes > max_bytes || chunk.first_seq() != end {
                break;
            }
            end = chunk.last_seq() + 1;
            chunks.push(chunk.clone());
        }
        Next::Chunks(chunks)
    }

    fn push(&mut self, events: EncodedEvents) {
        let bytes = events.bytes().len();
        self.bytes += bytes + CHUNK_OVERHEAD;
        // Those before are not hot any more: their readers have been woken for each.
        if self.loose_bytes + bytes > MERGED_BYTES {
            self.merge_loose();
        }
        self.loose += 1;
        self.loose_bytes += bytes;
        self.chunks.push_back(events);
    }

    fn merge_loose(&mut self) {
        if self.loose > 1 {
            let keep = self.chunks.len() - self.loose;
            if let Some(merged) = EncodedEvents::join_all(self.chunks.range(keep..)) {
                self.bytes -= (self.loose - 1) * CHUNK_OVERHEAD;
                self.chunks.truncate(keep);
                self.chunks.push_back(merged);
            }
        }
        self.loose = 0;
        self.loose_bytes = 0;
    }

    fn drop_oldest(&mut self) -> bool {
        let durable_below = self.durable_below;
        let Some(oldest) = self.chunks.pop_front_if(|chunk| chunk.last_seq() < durable_below) else {
            return false;
        };
        let bytes = oldest.bytes().len();
        self.bytes -= bytes + CHUNK_OVERHEAD;
        if self.loose > self.chunks.len() {
            self.loose -= 1;
            self.loose_bytes -= bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use callboard_actors::encoding::encode;
    use callboard_actors::event::EventBody;
    use callboard_actors::ids::RunId;

    use super::*;

    fn events(first_seq: u64, count: u64) -> EncodedEvents {
        let bodies = (0..count).map(|index| EventBody::RunQueuePosition { position: index + 1 });
        encode(RunId::new(), first_seq, bodies).expect("some events")
    }

    fn chunk_seqs(next: Next) -> Vec<(u64, u64)> {
        let Next::Chunks(chunks) = next else {
            panic!("expected chunks, found {next:?}");
        };
        chunks
            .iter()
            .map(|chunk| (chunk.first_seq(), chunk.last_seq()))
            .collect()
    }

    #[test]
    fn tiny_chunks_are_merged_once_they_are_old() {
        let mut window = Window::open(1, 0);
        for seq in 0..200 {
            window.append(1, &events(seq, 1), false).expect("continues");
        }
        let found = chunk_seqs(window.next_from(0, usize::MAX));
        assert!(found.len() < 60, "{} chunks", found.len());
        assert_eq!((found[0].0, found[found.len() - 1].1), (0, 199));
        let bytes: usize = window
            .chunks
            .iter()
            .map(|chunk| chunk.bytes().len() + CHUNK_OVERHEAD)
            .sum();
        assert_eq!(window.bytes(), bytes + WINDOW_OVERHEAD);
    }

    #[test]
    fn only_what_is_durable_is_dropped_and_the_newest_chunk_stays() {
        let mut window = Window::open(1, 0);
        for seq in 0..6 {
            window.append(1, &events(seq * 40, 40), false).expect("continues");
        }
        window.trim(0);
        assert_eq!(chunk_seqs(window.next_from(0, 1)), [(0, 39)]);
        window.mark_durable(100);
        window.trim(0);
        assert_eq!(window.next_from(0, 1), Next::Stored { below: 80 });
        window.mark_durable(239);
        window.trim(0);
        assert_eq!(window.next_from(0, 1), Next::Stored { below: 200 });
        window.drop_durable();
        assert_eq!(window.next_from(0, 1), Next::Stored { below: 240 });
        assert_eq!(window.next_from(240, 1), Next::Nothing { ended: false });
        assert_eq!(
            (window.bytes(), window.loose, window.loose_bytes),
            (WINDOW_OVERHEAD, 0, 0)
        );
    }

    #[test]
    fn a_jump_is_kept_apart_and_found_again() {
        let mut window = Window::open(1, 0);
        window.append(1, &events(0, 3), false).expect("continues");
        assert_eq!(
            window.append(1, &events(9, 1), false),
            Err(Refusal::Gap { expected: 3 })
        );
        window.append(2, &events(9, 1), false).expect("a higher epoch may jump");
        assert_eq!(chunk_seqs(window.next_from(0, usize::MAX)), [(0, 2)]);
        assert_eq!(window.next_from(3, usize::MAX), Next::Stored { below: 9 });
        assert_eq!(chunk_seqs(window.next_from(9, usize::MAX)), [(9, 9)]);
        assert_eq!(window.append(1, &events(10, 1), false), Err(Refusal::Fenced));
        assert_eq!(
            window.append(2, &events(9, 1), true),
            Err(Refusal::Behind { expected: 10 })
        );
        window.append(2, &events(12, 1), true).expect("the store has 10 and 11");
        assert_eq!(window.next_from(10, usize::MAX), Next::Stored { below: 12 });
    }
}
