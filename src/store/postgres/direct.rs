//! Rare writes, each a transaction of its own: recovery, API keys, idempotency keys, the trial write of `ping`.

use callboard_actors::ids::{InstanceId, KeyId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{KeyRecord, Recovered};
use callboard_actors::time::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::budgets::charge_holds_of;
use super::failure::store_error;
use super::pool::Pool;
use super::rows::{self, IdBytes, run_columns};
use crate::store::activity::Activity;

const FORGET_AT_ONCE: u64 = 1000;

const LOCK_ALL_ACCOUNTS: &str = "SELECT account FROM accounts ORDER BY account FOR UPDATE";
const COUNT: &str = "UPDATE accounts SET running = counted.running, queued = counted.queued, held = counted.held FROM (\
     SELECT accounts.account, count(*) FILTER (WHERE runs.state = 'running')::int AS running, \
            count(*) FILTER (WHERE runs.state = 'queued' AND NOT runs.held) AS queued, \
            count(*) FILTER (WHERE runs.state = 'queued' AND runs.held) AS held \
     FROM accounts LEFT JOIN runs ON runs.account = accounts.account AND runs.state IN ('running', 'queued') \
     GROUP BY accounts.account) AS counted \
     WHERE accounts.account = counted.account \
       AND (accounts.running, accounts.queued, accounts.held) \
           IS DISTINCT FROM (counted.running, counted.queued, counted.held)";
const LEFT_RUNNING: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.state = 'running' AND runs.instance <> $1 ORDER BY runs.id FOR UPDATE OF runs"
);
const TAKE_OVER: &str = "UPDATE runs SET epoch = epoch + 1, instance = $1 WHERE state = 'running' AND instance <> $1";
const QUEUED: &str = "SELECT id, account, tier, queue_deadline FROM runs \
                      WHERE state = 'queued' ORDER BY id";
const IN_THREADS: &str = "SELECT id, thread_id, thread_position, cancel_requested FROM runs \
     WHERE thread_id IS NOT NULL AND state IN ('queued', 'running', 'waiting') ORDER BY thread_id, thread_position";

const SET_TIER: &str = "INSERT INTO accounts (account, tier, slot_limit) \
     VALUES ($1, $2, (SELECT concurrent_runs FROM tiers WHERE name = $2)) \
     ON CONFLICT (account) DO UPDATE SET tier = excluded.tier, slot_limit = excluded.slot_limit";
const CREATE_KEY: &str = "INSERT INTO api_keys (id, account, secret_hash, last_four, is_admin, created_at, revoked_at) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7)";
const REVOKE_KEY: &str = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1";
const FORGET: &str = "UPDATE runs SET idempotency_key = NULL, request_hash = NULL WHERE id IN \
     (SELECT id FROM runs WHERE idempotency_key IS NOT NULL AND created_at < $1 ORDER BY id LIMIT $2 FOR UPDATE)";
const TRY_WRITE: &str = "INSERT INTO writer_lanes (id, batch) VALUES ($1, 0)";
const TAKE_BACK: &str = "DELETE FROM writer_lanes WHERE id = $1";

/// As [`Store::recover`](callboard_actors::ports::Store::recover).
pub(super) async fn recover(connection: &mut PgConnection, instance: InstanceId) -> Result<Recovered, StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    for statement in [LOCK_ALL_ACCOUNTS, COUNT] {
        sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
    }
    let left = sqlx::query(LEFT_RUNNING)
        .bind(instance.id_bytes())
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error)?;
    let mut recovered = Recovered {
        running: left.iter().map(rows::run_record).collect::<Result<_, _>>()?,
        ..Recovered::default()
    };
    let left: Vec<Vec<u8>> = recovered.running.iter().map(|record| record.id.id_bytes()).collect();
    charge_holds_of(&mut transaction, &left).await?;
    for record in &mut recovered.running {
        record.epoch += 1;
    }
    let take_over = sqlx::query(TAKE_OVER).bind(instance.id_bytes());
    take_over.execute(&mut *transaction).await.map_err(store_error)?;
    let queued = sqlx::query(QUEUED).fetch_all(&mut *transaction).await;
    for row in queued.map_err(store_error)? {
        recovered.queued.push(rows::queued_run(&row)?);
    }
    let in_threads = sqlx::query(IN_THREADS).fetch_all(&mut *transaction).await;
    for row in in_threads.map_err(store_error)? {
        let thread = rows::run_thread(&row)?.ok_or_else(|| rows::damaged("thread_id"))?;
        recovered.in_threads.push((thread, rows::run_id(&row)?));
        if rows::get(&row, "cancel_requested")? {
            recovered.to_cancel.push(rows::run_id(&row)?);
        }
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(recovered)
}

pub(super) async fn create_key(connection: &mut PgConnection, key: &KeyRecord) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let set_tier = sqlx::query(SET_TIER).bind(key.account.as_str()).bind(&key.tier);
    set_tier.execute(&mut *transaction).await.map_err(store_error)?;
    let create = sqlx::query(CREATE_KEY)
        .bind(key.id.id_bytes())
        .bind(key.account.as_str())
        .bind(&key.secret_hash[..])
        .bind(&key.last_four)
        .bind(i16::from(key.is_admin))
        .bind(key.created_at.as_micros())
        .bind(key.revoked_at.map(Timestamp::as_micros));
    create.execute(&mut *transaction).await.map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) async fn revoke_key(pool: &Pool, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
    let revoke = sqlx::query(REVOKE_KEY).bind(key.id_bytes()).bind(at.as_micros());
    Ok(pool.execute(revoke).await? > 0)
}

/// In transactions of at most 1,000 keys: after an error, some may be forgotten.
pub(super) async fn forget_idempotency_keys(pool: &Pool, created_before: Timestamp) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    loop {
        let forget = sqlx::query(FORGET)
            .bind(created_before.as_micros())
            .bind(rows::signed(FORGET_AT_ONCE));
        let count = pool.execute(forget).await?;
        forgotten += count;
        if count < FORGET_AT_ONCE {
            return Ok(forgotten);
        }
    }
}

/// Writes a row, takes it back and commits.
pub(super) async fn ping(connection: &mut PgConnection, activity: &Activity) -> Result<(), StoreError> {
    let id = Uuid::now_v7().as_bytes().to_vec();
    let mut transaction = connection.begin().await.map_err(store_error)?;
    for statement in [TRY_WRITE, TAKE_BACK] {
        activity.count_statements(1);
        let write = sqlx::query(statement).bind(&id);
        write.execute(&mut *transaction).await.map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)?;
    activity.count_commit();
    Ok(())
}
