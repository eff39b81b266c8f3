//! How the events of runs that have ended are kept: the many small rows of a run joined into few, each compressed with zstd.
//!
//! A row is whole batches that are neighbours, about 64 KiB of them; a batch that is larger is a row of its own. The key of a row stays its
//! last seq, so that "all after n" is still one seek and costs the decoding of one row. Which rows of a run are archived already, each
//! of them says itself: a run may be half way, and readers see no difference.

use bytes::Bytes;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;

/// `encoding` of a row whose frames are as they are sent.
const AS_SENT: i64 = 0;
/// `encoding` of a row whose frames are compressed.
const ZSTD: i64 = 1;

/// Bytes of a row before it is compressed, unless one batch has more: what a reader takes at once (`events.read_chunk`), so that archived
/// runs cost readers no more memory than others. Rows of four times the size are hardly smaller (docs/operating.md has the figures).
const ROW_BYTES: usize = 64 * 1024;

/// zstd's default: the next levels cost far more and gain little.
const LEVEL: i32 = 3;

/// Bytes of events, as they are sent, that are rewritten in one transaction, and so what the archive holds in memory for one.
pub(super) const BYTES_AT_ONCE: usize = 1024 * 1024;

/// What of a run is rewritten in one transaction.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) run: RunId,
    pub(super) rows: Vec<ArchivedRow>,
    /// Bytes of its events as they are sent.
    pub(super) bytes: usize,
    /// Nothing is left of the run to be archived.
    pub(super) is_last: bool,
}

impl Portion {
    /// Of what was read of the run's rows that are not archived yet: [`BYTES_AT_ONCE`] or a little more, or all there is. What does not
    /// read back stays as it is, and the run is done with: it must not keep the others waiting.
    pub(super) async fn of(run: RunId, read: Result<Vec<EncodedEvents>, StoreError>) -> Result<Self, StoreError> {
        let batches = match read {
            Ok(batches) => batches,
            Err(StoreError::Damaged(reason)) => {
                tracing::error!(run_id = %run, reason, "events cannot be archived; they stay as they are");
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let bytes = batches.iter().map(|batch| batch.bytes().len()).sum();
        Ok(Self {
            run,
            rows: compress(&batches).await?,
            bytes,
            is_last: bytes < BYTES_AT_ONCE,
        })
    }

    /// How many rows it takes the place of.
    pub(super) fn replaces(&self) -> u64 {
        self.rows.iter().map(|row| row.replaces).sum()
    }
}

/// A row that takes the place of others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ArchivedRow {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// Compressed.
    pub(super) frames: Vec<u8>,
    /// How many rows it takes the place of.
    pub(super) replaces: u64,
}

/// The frames of a row, as they are sent. What is not what was written is `Damaged`: zstd keeps a checksum.
pub(super) fn decode(encoding: i64, frames: &[u8]) -> Result<Bytes, StoreError> {
    match encoding {
        AS_SENT => Ok(Bytes::copy_from_slice(frames)),
        ZSTD => match zstd::decode_all(frames) {
            // Readers may keep it for long: without what the vector has to spare.
            Ok(frames) => Ok(frames.into_boxed_slice().into()),
            Err(error) => Err(StoreError::Damaged(format!("archived events do not decode: {error}"))),
        },
        other => Err(StoreError::Damaged(format!("events have the unknown encoding {other}"))),
    }
}

/// Joins neighbours and compresses them. Some milliseconds for [`BYTES_AT_ONCE`]; others have their turn between two rows.
async fn compress(batches: &[EncodedEvents]) -> Result<Vec<ArchivedRow>, StoreError> {
    let mut rows = Vec::new();
    for neighbours in joinable(batches) {
        let Some(joined) = EncodedEvents::join_all(neighbours) else {
            continue;
        };
        rows.push(ArchivedRow {
            first_seq: joined.first_seq(),
            last_seq: joined.last_seq(),
            frames: compressed(joined.bytes()).map_err(|error| StoreError::Unavailable(error.to_string()))?,
            replaces: neighbours.len() as u64,
        });
        tokio::task::yield_now().await;
    }
    Ok(rows)
}

fn compressed(frames: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(frames)
}

/// The batches of each row, in order. A seq that is left out (after a crash) ends a row: within one there is no gap.
fn joinable(batches: &[EncodedEvents]) -> Vec<&[EncodedEvents]> {
    let mut rows = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, batch) in batches.iter().enumerate() {
        let size = batch.bytes().len();
        let continues = index > start && batches[index - 1].last_seq() + 1 == batch.first_seq();
        if index > start && (!continues || bytes + size > ROW_BYTES) {
            rows.push(&batches[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < batches.len() {
        rows.push(&batches[start..]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_actors::encoding::encode;
    use callboard_actors::event::EventBody;
    use callboard_actors::ids::{ItemId, RunId};

    fn batch(run: RunId, seq: u64, bytes: usize) -> EncodedEvents {
        let item_id = ItemId::new();
        let delta = "x".repeat(bytes);
        encode(run, seq, [EventBody::TextDelta { item_id, delta }]).expect("an event")
    }

    fn seqs(rows: &[ArchivedRow]) -> Vec<(u64, u64, u64)> {
        let seqs = |row: &ArchivedRow| (row.first_seq, row.last_seq, row.replaces);
        rows.iter().map(seqs).collect()
    }

    #[tokio::test]
    async fn rows_are_full_or_end_at_a_gap() {
        let run = RunId::new();
        // Each event has some 200 bytes beside its text.
        let sizes = [30_000, 30_000, 10_000, 200_000, 10, 10];
        let mut batches: Vec<_> = (0..).zip(sizes).map(|(seq, bytes)| batch(run, seq, bytes)).collect();
        batches.push(batch(run, 50, 10));
        let rows = compress(&batches).await.expect("compresses");
        assert_eq!(seqs(&rows), [(0, 1, 2), (2, 2, 1), (3, 3, 1), (4, 5, 2), (50, 50, 1)]);
        let written: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect();
        let read: Vec<u8> = rows
            .iter()
            .flat_map(|row| decode(ZSTD, &row.frames).expect("decodes"))
            .collect();
        assert_eq!(read, written);
        assert_eq!(compress(&[]).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_was_changed_on_the_disk_does_not_decode() {
        let run = RunId::new();
        let rows = compress(&[batch(run, 0, 5000)]).await.expect("compresses");
        let frames = &rows[0].frames;
        for index in 0..frames.len() {
            let mut changed = frames.clone();
            changed[index] ^= 0x10;
            let decoded = decode(ZSTD, &changed).ok();
            let original = decode(ZSTD, frames).expect("decodes");
            // Where a change is without effect, so it is.
            assert!(decoded.is_none_or(|decoded| decoded == original), "byte {index}");
        }
        for cut in 0..frames.len() {
            assert!(decode(ZSTD, &frames[..cut]).is_err() || cut == 0, "cut at {cut}");
        }
        assert!(decode(2, frames).is_err());
        assert_eq!(decode(AS_SENT, b"as it is"), Ok(Bytes::from_static(b"as it is")));
    }
}
