//! What PostgreSQL and Redis have when all is over.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context;
use callboard_actors::ids::RunId;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection, Row};
use uuid::Uuid;

use crate::rig::SeenEvent;

/// `encoding` of events that were archived: compressed.
const ARCHIVED: i16 = 1;

/// A run as the database has it.
#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) account: String,
    pub(super) state: String,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    pub(super) idempotency_key: Option<String>,
    pub(super) error: Option<String>,
    pub(super) log: Vec<SeenEvent>,
    pub(super) items: Vec<Value>,
}

/// What an account's row counts.
#[derive(Debug)]
pub(super) struct StoredAccount {
    pub(super) running: i64,
    pub(super) queued: i64,
}

/// The database.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) runs: BTreeMap<String, StoredRun>,
    pub(super) accounts: BTreeMap<String, StoredAccount>,
}

/// Reads the whole database.
pub(super) async fn read(database_url: &str) -> anyhow::Result<Stored> {
    let mut connection = PgConnectOptions::from_str(database_url)?.connect().await?;
    let mut stored = Stored::default();
    let rows = "SELECT account, running::bigint, queued FROM accounts";
    for row in sqlx::query(rows).fetch_all(&mut connection).await? {
        let counts = StoredAccount {
            running: row.try_get("running")?,
            queued: row.try_get("queued")?,
        };
        stored.accounts.insert(row.try_get("account")?, counts);
    }
    let rows = "SELECT id, account, state, epoch, next_seq, idempotency_key, error FROM runs ORDER BY id";
    for row in sqlx::query(rows).fetch_all(&mut connection).await? {
        let run = StoredRun {
            account: row.try_get("account")?,
            state: row.try_get("state")?,
            epoch: u64::try_from(row.try_get::<i64, _>("epoch")?)?,
            next_seq: u64::try_from(row.try_get::<i64, _>("next_seq")?)?,
            idempotency_key: row.try_get("idempotency_key")?,
            error: row.try_get("error")?,
            log: Vec::new(),
            items: Vec::new(),
        };
        stored.runs.insert(id_of(&row, "id")?, run);
    }
    read_logs(&mut connection, &mut stored).await?;
    read_items(&mut connection, &mut stored).await?;
    Ok(stored)
}

async fn read_logs(connection: &mut PgConnection, stored: &mut Stored) -> anyhow::Result<()> {
    let rows = "SELECT run_id, frames, encoding FROM event_batches ORDER BY run_id, last_seq";
    for row in sqlx::query(rows).fetch_all(connection).await? {
        let id = id_of(&row, "run_id")?;
        let run = stored
            .runs
            .get_mut(&id)
            .with_context(|| format!("events of {id}, which is no run"))?;
        let mut frames: Vec<u8> = row.try_get("frames")?;
        if row.try_get::<i16, _>("encoding")? == ARCHIVED {
            frames = zstd::decode_all(frames.as_slice()).with_context(|| format!("the archive of {id}"))?;
        }
        run.log
            .extend(SeenEvent::all_in(&frames).with_context(|| format!("the log of {id}"))?);
    }
    Ok(())
}

async fn read_items(connection: &mut PgConnection, stored: &mut Stored) -> anyhow::Result<()> {
    let rows = "SELECT run_id, content FROM items ORDER BY run_id, position";
    for row in sqlx::query(rows).fetch_all(connection).await? {
        let id = id_of(&row, "run_id")?;
        let run = stored
            .runs
            .get_mut(&id)
            .with_context(|| format!("items of {id}, which is no run"))?;
        let content: String = row.try_get("content")?;
        run.items
            .push(serde_json::from_str(&content).with_context(|| format!("an item of {id}"))?);
    }
    Ok(())
}

fn id_of(row: &PgRow, column: &str) -> anyhow::Result<String> {
    let bytes: Vec<u8> = row.try_get(column)?;
    Ok(RunId::from_uuid(Uuid::from_slice(&bytes)?).to_string())
}

/// The events that Redis has of each run, with the epoch under which each was published, in the order of the streams.
pub(super) async fn read_streams(redis_url: &str) -> anyhow::Result<BTreeMap<String, Vec<(u64, SeenEvent)>>> {
    let client = redis::Client::open(redis_url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:events").query_async(&mut connection).await?;
    let mut streams = BTreeMap::new();
    for key in keys {
        let run = key.split(['{', '}']).nth(1).with_context(|| format!("the key {key}"))?;
        let entries: Vec<(String, BTreeMap<String, Vec<u8>>)> = redis::cmd("XRANGE")
            .arg(&key)
            .arg("-")
            .arg("+")
            .query_async(&mut connection)
            .await?;
        let mut events = Vec::new();
        for (id, fields) in entries {
            let message = fields.get("e").with_context(|| format!("the entry {id} of {key}"))?;
            // The epoch is in the id; what stands before the first line break is for instances.
            let (epoch, _) = id.split_once('-').with_context(|| format!("the id {id} of {key}"))?;
            let head = message
                .iter()
                .position(|byte| *byte == b'\n')
                .context("a message without a head")?;
            for event in SeenEvent::all_in(&message[head + 1..])? {
                events.push((epoch.parse()?, event));
            }
        }
        streams.insert(run.to_owned(), events);
    }
    Ok(streams)
}
