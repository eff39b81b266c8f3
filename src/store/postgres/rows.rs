//! Between rows and the vocabulary.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::event::WaitingReason;
use callboard_actors::ids::{AccountId, InstanceId, KeyId, RunId};
use callboard_actors::item::{Item, Usage};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{KeyRecord, RunProgress, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::spec::RunSpec;
use callboard_actors::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// What [`run_record`] reads besides `spec`.
macro_rules! narrow_run_columns {
    () => {
        "runs.id, runs.account, runs.tier, runs.state, runs.epoch, runs.next_seq, runs.reserved_seq, runs.steps, \
         runs.input_tokens, runs.output_tokens, runs.error, runs.waiting, runs.created_at, runs.started_at, \
         runs.ended_at, runs.queue_deadline"
    };
}
pub(super) use narrow_run_columns;

/// What [`run_record`] reads, for a `SELECT` of `runs` joined with `run_specs`.
macro_rules! run_columns {
    () => {
        concat!(crate::store::postgres::rows::narrow_run_columns!(), ", run_specs.spec")
    };
}
pub(super) use run_columns;

pub(super) fn run_record(row: &PgRow) -> Result<RunRecord, StoreError> {
    let state: &str = get(row, "state")?;
    let error: Option<&str> = get(row, "error")?;
    let waiting: Option<&str> = get(row, "waiting")?;
    let spec: &str = get(row, "spec")?;
    Ok(RunRecord {
        id: RunId::from_uuid(uuid(row, "id")?),
        account: account(row)?,
        tier: get(row, "tier")?,
        state: RunState::parse(state).ok_or_else(|| damaged("state"))?,
        epoch: unsigned(row, "epoch")?,
        spec: from_json::<RunSpec>(spec, "spec")?,
        error: error.map(|text| from_json::<RunError>(text, "error")).transpose()?,
        waiting: waiting
            .map(|text| from_json::<WaitingReason>(text, "waiting"))
            .transpose()?,
        progress: RunProgress {
            steps: u32::try_from(get::<i64>(row, "steps")?).map_err(|_| damaged("steps"))?,
            usage: Usage {
                input_tokens: unsigned(row, "input_tokens")?,
                output_tokens: unsigned(row, "output_tokens")?,
            },
        },
        next_seq: unsigned(row, "next_seq")?,
        reserved_seq: unsigned(row, "reserved_seq")?,
        created_at: Timestamp::from_micros(get(row, "created_at")?),
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
        queue_deadline: time(row, "queue_deadline")?,
    })
}

pub(super) fn key_record(row: &PgRow) -> Result<KeyRecord, StoreError> {
    let secret_hash: &[u8] = get(row, "secret_hash")?;
    Ok(KeyRecord {
        id: KeyId::from_uuid(uuid(row, "id")?),
        account: account(row)?,
        tier: get(row, "tier")?,
        secret_hash: secret_hash.try_into().map_err(|_| damaged("secret_hash"))?,
        last_four: get(row, "last_four")?,
        created_at: Timestamp::from_micros(get(row, "created_at")?),
        revoked_at: time(row, "revoked_at")?,
    })
}

pub(super) fn placed_item(row: &PgRow) -> Result<(u32, Item), StoreError> {
    let position = u32::try_from(get::<i64>(row, "position")?).map_err(|_| damaged("position"))?;
    Ok((position, from_json(get(row, "content")?, "item")?))
}

pub(super) fn events(row: &PgRow) -> Result<EncodedEvents, StoreError> {
    let frames: Vec<u8> = get(row, "frames")?;
    EncodedEvents::from_stored(frames.into()).map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(super) fn account(row: &PgRow) -> Result<AccountId, StoreError> {
    let name: &str = get(row, "account")?;
    name.parse().map_err(|_| damaged("account"))
}

pub(super) fn uuid(row: &PgRow, column: &'static str) -> Result<Uuid, StoreError> {
    Uuid::from_slice(get(row, column)?).map_err(|_| damaged(column))
}

pub(super) fn time(row: &PgRow, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

pub(super) fn unsigned(row: &PgRow, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(get::<i64>(row, column)?).map_err(|_| damaged(column))
}

pub(super) fn get<'row, T>(row: &'row PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'row, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column)
        .map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} does not read back"))
}

fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| damaged(what))
}

/// As JSON text, in which JSON itself escapes the zero byte that Postgres refuses in text.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Postgres has no unsigned numbers. Seqs stay below 2^53; token counts beyond 2^63 are cut.
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
id_bytes!(RunId, InstanceId, KeyId);
