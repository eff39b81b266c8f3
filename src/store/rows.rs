//! Rows as the port knows them, and values as the tables keep them: the same in every database.

use std::sync::Arc;

use callboard_actors::call_ledger::CallLedger;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::{
    AccountId, AgentId, FileId, FileObjectId, InstanceId, KeyId, ModelCallId, RunId, ThreadId,
};
use callboard_actors::item::{Item, Usage};
use callboard_actors::money::Money;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{
    Creation, Idempotency, KeyRecord, OverduePlace, OverdueRun, QueuedRun, RunProgress, RunRecord,
};
use callboard_actors::ports::threads::{RunThread, ThreadItem, ThreadPlace, ThreadRecord, Turn};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::store::archive;

/// What [`run_record`] reads besides `spec`.
macro_rules! narrow_run_columns {
    () => {
        "runs.id, runs.account, runs.tier, runs.state, runs.epoch, runs.next_seq, runs.reserved_seq, runs.steps, \
         runs.input_tokens, runs.output_tokens, runs.cached_input_tokens, runs.cache_write_input_tokens, runs.reasoning_tokens, \
         runs.cost_nanos, runs.error, runs.waiting, runs.calls, runs.created_at, runs.started_at, \
         runs.ended_at, runs.queue_deadline, CAST(runs.history AS BIGINT) AS history, runs.thread_id, runs.thread_position"
    };
}
pub(super) use narrow_run_columns;

/// What [`run_record`] reads, for a `SELECT` of `runs` joined with `run_specs`.
macro_rules! run_columns {
    () => {
        concat!(crate::store::rows::narrow_run_columns!(), ", run_specs.spec")
    };
}
pub(super) use run_columns;

/// `history` of a run whose events were forgotten.
const EVENTS_FORGOTTEN: i64 = 2;

/// The columns of a row, whatever database it is from. What is not there, or of another type, is `Damaged`.
pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<&str, StoreError>;
    fn text_or_null(&self, column: &'static str) -> Result<Option<&str>, StoreError>;
    fn number(&self, column: &'static str) -> Result<i64, StoreError>;
    fn number_or_null(&self, column: &'static str) -> Result<Option<i64>, StoreError>;
    fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError>;
    fn bytes_or_null(&self, column: &'static str) -> Result<Option<&[u8]>, StoreError>;
}

/// Reads the columns of this kind of row with `get`.
macro_rules! columns_by_get {
    ($row:ty) => {
        impl crate::store::rows::Columns for $row {
            fn text(&self, column: &'static str) -> Result<&str, StoreError> {
                get(self, column)
            }

            fn text_or_null(&self, column: &'static str) -> Result<Option<&str>, StoreError> {
                get(self, column)
            }

            fn number(&self, column: &'static str) -> Result<i64, StoreError> {
                get(self, column)
            }

            fn number_or_null(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
                get(self, column)
            }

            fn bytes(&self, column: &'static str) -> Result<&[u8], StoreError> {
                get(self, column)
            }

            fn bytes_or_null(&self, column: &'static str) -> Result<Option<&[u8]>, StoreError> {
                get(self, column)
            }
        }
    };
}
pub(super) use columns_by_get;

/// For whoever works on the run: all of it reads back.
pub(super) fn run_record(row: &impl Columns) -> Result<RunRecord, StoreError> {
    let (record, calls) = shown_run(row)?;
    calls.map(|()| record)
}

/// For whoever only shows the run or ends it, with what is wrong with the ledger of its tool calls, which is left out then: a later version may
/// have written it, and no other run is to suffer for it.
pub(super) fn shown_run(row: &impl Columns) -> Result<(RunRecord, Result<(), StoreError>), StoreError> {
    let (calls, damage) = match call_ledger(row) {
        Ok(calls) => (calls, Ok(())),
        Err(error) => (CallLedger::default(), Err(error)),
    };
    Ok((run_with(row, calls)?, damage))
}

/// The same, for those to whom it is all one.
pub(super) fn shown_run_record(row: &impl Columns) -> Result<RunRecord, StoreError> {
    let (record, damage) = shown_run(row)?;
    if let Err(error) = damage {
        tracing::warn!(run_id = %record.id, %error, "the tool calls of a run are left out");
    }
    Ok(record)
}

fn run_with(row: &impl Columns, calls: CallLedger) -> Result<RunRecord, StoreError> {
    let error = row.text_or_null("error")?;
    let waiting = row.text_or_null("waiting")?;
    Ok(RunRecord {
        id: run_id(row)?,
        account: account(row)?,
        tier: row.text("tier")?.to_owned(),
        state: RunState::parse(row.text("state")?).ok_or_else(|| damaged("state"))?,
        epoch: unsigned(row, "epoch")?,
        spec: Arc::new(from_json(row.text("spec")?, "spec")?),
        thread: run_thread(row)?,
        error: error.map(|text| from_json(text, "error")).transpose()?,
        waiting: waiting.map(|text| from_json(text, "waiting")).transpose()?,
        calls,
        progress: RunProgress {
            steps: small(row, "steps")?,
            usage: usage(row)?,
            cost: Money::from_nanos(unsigned(row, "cost_nanos")?),
        },
        next_seq: unsigned(row, "next_seq")?,
        reserved_seq: unsigned(row, "reserved_seq")?,
        created_at: Timestamp::from_micros(row.number("created_at")?),
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        queue_deadline: time(row, "queue_deadline")?,
        events_forgotten: row.number("history")? == EVENTS_FORGOTTEN,
    })
}

/// A row with `id`, `calls` and `calls_deadline`.
pub(super) fn overdue_run(row: &impl Columns) -> Result<OverdueRun, StoreError> {
    Ok(OverdueRun {
        place: OverduePlace {
            deadline: Timestamp::from_micros(row.number("calls_deadline")?),
            run: run_id(row)?,
        },
        calls: call_ledger(row),
    })
}

fn call_ledger(row: &impl Columns) -> Result<CallLedger, StoreError> {
    let calls = row.text_or_null("calls")?;
    let calls = calls.map(|text| from_json(text, "calls")).transpose()?;
    Ok(calls.unwrap_or_default())
}

/// The place of a run in its thread, if it is in one.
pub(super) fn run_thread(row: &impl Columns) -> Result<Option<RunThread>, StoreError> {
    let Some(id) = row.bytes_or_null("thread_id")? else {
        return Ok(None);
    };
    Ok(Some(RunThread {
        id: ThreadId::from_uuid(Uuid::from_slice(id).map_err(|_| damaged("thread_id"))?),
        position: unsigned(row, "thread_position")?,
    }))
}

/// A row of `threads`.
pub(super) fn thread_record(row: &impl Columns) -> Result<ThreadRecord, StoreError> {
    Ok(ThreadRecord {
        id: ThreadId::from_uuid(uuid(row, "id")?),
        account: account(row)?,
        metadata: from_json(row.text("metadata")?, "metadata")?,
        created_at: Timestamp::from_micros(row.number("created_at")?),
    })
}

/// A row with `run_id` (or null), `run_position`, `position` and `content`.
pub(super) fn thread_item(row: &impl Columns) -> Result<ThreadItem, StoreError> {
    let run = row.bytes_or_null("run_id")?;
    let run = run.map(|id| {
        Uuid::from_slice(id)
            .map(RunId::from_uuid)
            .map_err(|_| damaged("run_id"))
    });
    let (item, content) = placed_item(row)?;
    Ok(ThreadItem {
        place: ThreadPlace {
            position: unsigned(row, "run_position")?,
            item,
        },
        run: run.transpose()?,
        item: content,
    })
}

/// Rows with `run_position` and `content`, of turns in this order: null for a turn without items.
pub(super) fn turns<'row, Row: Columns + 'row>(
    rows: impl IntoIterator<Item = &'row Row>,
) -> Result<Vec<Turn>, StoreError> {
    let mut turns: Vec<Turn> = Vec::new();
    for row in rows {
        let position = unsigned(row, "run_position")?;
        if turns.last().is_none_or(|turn| turn.position != position) {
            turns.push(Turn {
                position,
                items: Vec::new(),
            });
        }
        if let (Some(turn), Some(content)) = (turns.last_mut(), row.text_or_null("content")?) {
            turn.items.push(from_json(content, "item")?);
        }
    }
    Ok(turns)
}

/// The tokens of a run, a charge or a day.
pub(super) fn usage(row: &impl Columns) -> Result<Usage, StoreError> {
    Ok(Usage {
        input_tokens: unsigned(row, "input_tokens")?,
        output_tokens: unsigned(row, "output_tokens")?,
        cached_input_tokens: unsigned(row, "cached_input_tokens")?,
        cache_write_input_tokens: unsigned(row, "cache_write_input_tokens")?,
        reasoning_tokens: unsigned(row, "reasoning_tokens")?,
    })
}

/// The run of a row with `request_hash`, found by its idempotency key: the same request, or another.
pub(super) fn earlier(row: &impl Columns, idempotency: &Idempotency) -> Result<Creation, StoreError> {
    if row.bytes("request_hash")? != idempotency.request_hash {
        return Ok(Creation::IdempotencyConflict);
    }
    Ok(Creation::Existing(Box::new(run_record(row)?)))
}

pub(super) fn queued_run(row: &impl Columns) -> Result<QueuedRun, StoreError> {
    Ok(QueuedRun {
        id: run_id(row)?,
        account: account(row)?,
        tier: row.text("tier")?.to_owned(),
        deadline: time(row, "queue_deadline")?,
    })
}

pub(super) fn key_record(row: &impl Columns) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: KeyId::from_uuid(uuid(row, "id")?),
        account: account(row)?,
        tier: row.text("tier")?.to_owned(),
        secret_hash: hash(row, "secret_hash")?,
        last_four: row.text("last_four")?.to_owned(),
        is_admin: row.number("is_admin")? != 0,
        created_at: Timestamp::from_micros(row.number("created_at")?),
        revoked_at: time(row, "revoked_at")?,
    })
}

pub(super) fn placed_item(row: &impl Columns) -> Result<(u32, Item), StoreError> {
    Ok((small(row, "position")?, from_json(row.text("content")?, "item")?))
}

/// The events of a row with `last_seq`, `frames` and `encoding`.
pub(super) fn events(row: &impl Columns) -> Result<EncodedEvents, StoreError> {
    let frames = archive::decode(row.number("encoding")?, row.bytes("frames")?)?;
    let events = EncodedEvents::from_stored(frames).map_err(|error| StoreError::Damaged(error.to_string()))?;
    if signed(events.last_seq()) != row.number("last_seq")? {
        return Err(damaged("last_seq"));
    }
    Ok(events)
}

pub(super) fn run_id(row: &impl Columns) -> Result<RunId, StoreError> {
    Ok(RunId::from_uuid(uuid(row, "id")?))
}

pub(super) fn account(row: &impl Columns) -> Result<AccountId, StoreError> {
    row.text("account")?.parse().map_err(|_| damaged("account"))
}

pub(super) fn uuid(row: &impl Columns, column: &'static str) -> Result<Uuid, StoreError> {
    Uuid::from_slice(row.bytes(column)?).map_err(|_| damaged(column))
}

/// A SHA-256.
pub(super) fn hash(row: &impl Columns, column: &'static str) -> Result<[u8; 32], StoreError> {
    row.bytes(column)?.try_into().map_err(|_| damaged(column))
}

fn time(row: &impl Columns, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.number_or_null(column)?.map(Timestamp::from_micros))
}

pub(super) fn unsigned(row: &impl Columns, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(row.number(column)?).map_err(|_| damaged(column))
}

/// A number that fits 32 bits.
pub(super) fn small(row: &impl Columns, column: &'static str) -> Result<u32, StoreError> {
    u32::try_from(row.number(column)?).map_err(|_| damaged(column))
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} does not read back"))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| damaged(what))
}

/// As JSON text. Our types have string keys and plain enums, which do not fail to serialise, and JSON escapes the zero byte that
/// some databases refuse in text.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Databases have no unsigned numbers. Seqs stay below 2^53; token counts beyond 2^63 are cut.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The bytes of an id, as the tables keep it.
pub(super) trait IdBytes {
    /// The 16 bytes of its UUID.
    fn id_bytes(&self) -> Vec<u8>;
}

macro_rules! id_bytes {
    ($($id:ident),*) => {
        $(impl IdBytes for $id {
            fn id_bytes(&self) -> Vec<u8> {
                self.uuid().as_bytes().to_vec()
            }
        })*
    };
}
id_bytes!(
    AgentId,
    FileId,
    FileObjectId,
    InstanceId,
    KeyId,
    ModelCallId,
    RunId,
    ThreadId
);
