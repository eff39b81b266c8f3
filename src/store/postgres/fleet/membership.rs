//! Who is alive, by this database's clock, and whose runs are to be taken over.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::{Beat, Heartbeat, InstanceLoad, JoinError, NewInstance};
use callboard_actors::ports::store::RunRecord;
use callboard_actors::time::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use crate::store::postgres::budgets::charge_holds_of;
use crate::store::postgres::failure::store_error;
use crate::store::postgres::rows::{self, IdBytes, run_columns};

/// Owns the runs that an instance gave up. Its lease was always over.
pub(super) const NOBODY: InstanceId = InstanceId::from_uuid(Uuid::nil());

/// Instances join one after the other: each locks this row.
const ONE_JOINS: &str = "SELECT id FROM instances WHERE id = $1 FOR UPDATE";
const END_THE_ONE_BEFORE: &str = "UPDATE instances SET lease_until = clock_timestamp() \
                                  WHERE place = $1 AND lease_until > clock_timestamp()";
const OTHERS: &str = "SELECT count(*) AS alive, COALESCE(bool_and(shares_events), TRUE) AS share FROM instances \
                      WHERE lease_until > clock_timestamp()";
const JOIN: &str = "INSERT INTO instances (id, name, version, shares_events, place, lease_until) \
     VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 microsecond') \
     RETURNING (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// Those that are long gone and left nothing.
const FORGET: &str = "DELETE FROM instances WHERE lease_until < clock_timestamp() - interval '1 hour' AND id <> $1 \
     AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.instance = instances.id AND runs.state = 'running')";
/// Of instances that were killed.
const FORGET_LANES: &str = "DELETE FROM writer_lanes WHERE written_at < clock_timestamp() - interval '7 days'";

const RENEW: &str = "UPDATE instances SET heartbeat_at = clock_timestamp(), \
     lease_until = clock_timestamp() + $2 * interval '1 microsecond', permits_limit = $3, permits_in_use = $4, draining = $5 \
     WHERE id = $1 AND lease_until > clock_timestamp()";

const LOOK: &str = "SELECT (extract(epoch FROM now) * 1000000)::bigint AS now, \
     (SELECT count(*) FROM instances AS lost JOIN runs ON runs.instance = lost.id AND runs.state = 'running' \
      WHERE lost.lease_until <= now) AS lost_runs, \
     (SELECT count(*) FROM instances WHERE lease_until > now AND NOT draining) AS live, \
     (SELECT (extract(epoch FROM min(other.lease_until) - now) * 1000000)::bigint FROM instances AS other \
      WHERE other.id <> $1 AND other.lease_until > now \
        AND EXISTS (SELECT 1 FROM runs WHERE runs.instance = other.id AND runs.state = 'running')) AS next_lease_end, \
     EXISTS (SELECT 1 FROM accounts WHERE queued > 0 AND (slot_limit IS NULL OR running < slot_limit)) AS claimable, \
     EXISTS (SELECT 1 FROM runs WHERE state = 'queued' \
             AND queue_deadline <= (extract(epoch FROM now) * 1000000)::bigint) AS expired, \
     ARRAY(SELECT id FROM runs WHERE instance = $1 AND state = 'running' AND cancel_requested) AS to_cancel, \
     ARRAY(SELECT id FROM runs WHERE state IN ('queued', 'waiting') AND cancel_requested ORDER BY id LIMIT 100) AS parked_to_cancel \
     FROM (SELECT clock_timestamp() AS now) AS clock";
const QUEUED_BY_TIER: &str = "SELECT tier, sum(queued)::bigint AS queued FROM (\
     SELECT tier, queued FROM accounts WHERE queued > 0 UNION ALL SELECT tier, held FROM accounts WHERE held > 0) AS waiting \
     GROUP BY tier";

const LEAVE: &str = "UPDATE instances SET lease_until = LEAST(lease_until, clock_timestamp()), draining = TRUE, permits_in_use = 0 \
                     WHERE id = $1";
const DISOWN: &str = "UPDATE runs SET instance = $4 WHERE id IN \
     (SELECT id FROM runs WHERE instance = $1 AND state = 'running' AND id < $3 AND id <> ALL($2) ORDER BY id FOR UPDATE)";

const HOLDS_LEASE: &str = "SELECT count(*) FROM instances WHERE id = $1 AND lease_until > clock_timestamp()";
/// Runs that somebody writes at this moment are passed over, and those of an instance whose lease is being renewed: they are found again.
const LOST_RUNS: &str = "SELECT runs.id, lost.name FROM instances AS lost JOIN runs ON runs.instance = lost.id AND runs.state = 'running' \
     WHERE lost.lease_until <= clock_timestamp() ORDER BY runs.id LIMIT $1 \
     FOR UPDATE OF runs SKIP LOCKED FOR SHARE OF lost SKIP LOCKED";
const TAKE_OVER: &str = "UPDATE runs SET epoch = epoch + 1, instance = $2 WHERE id = ANY($1)";
const TAKEN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = ANY($1) ORDER BY runs.id"
);

const SET_TIERS: &str = "INSERT INTO tiers (name, concurrent_runs) SELECT * FROM unnest($1::text[], $2::int[]) \
                         ON CONFLICT (name) DO UPDATE SET concurrent_runs = excluded.concurrent_runs";
const SET_LIMITS: &str = "UPDATE accounts SET slot_limit = tiers.concurrent_runs FROM tiers \
     WHERE tiers.name = accounts.tier AND accounts.account IN \
     (SELECT accounts.account FROM accounts JOIN tiers ON tiers.name = accounts.tier \
      WHERE accounts.slot_limit IS DISTINCT FROM tiers.concurrent_runs ORDER BY accounts.account FOR UPDATE OF accounts)";

pub(super) async fn join(connection: &mut PgConnection, new: &NewInstance) -> Result<Timestamp, JoinError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let wait = sqlx::query(ONE_JOINS).bind(NOBODY.id_bytes());
    wait.execute(&mut *transaction).await.map_err(store_error)?;
    let end = sqlx::query(END_THE_ONE_BEFORE).bind(&new.place);
    end.execute(&mut *transaction).await.map_err(store_error)?;
    let others = sqlx::query(OTHERS)
        .fetch_one(&mut *transaction)
        .await
        .map_err(store_error)?;
    let alive: i64 = rows::get(&others, "alive")?;
    let others_share: bool = rows::get(&others, "share")?;
    if alive > 0 && !(others_share && new.shares_events) {
        transaction.rollback().await.map_err(store_error)?;
        return Err(JoinError::MustBeAlone);
    }
    let join = sqlx::query_scalar(JOIN)
        .bind(new.id.id_bytes())
        .bind(&new.name)
        .bind(&new.version)
        .bind(new.shares_events)
        .bind(&new.place)
        .bind(micros(new.lease));
    let now: i64 = join.fetch_one(&mut *transaction).await.map_err(store_error)?;
    let forget = sqlx::query(FORGET).bind(NOBODY.id_bytes());
    forget.execute(&mut *transaction).await.map_err(store_error)?;
    sqlx::query(FORGET_LANES)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Timestamp::from_micros(now))
}

pub(super) async fn heartbeat(connection: &mut PgConnection, heartbeat: &Heartbeat) -> Result<Beat, StoreError> {
    let InstanceLoad {
        permits_limit,
        permits_in_use,
        draining,
    } = heartbeat.load;
    let renew = sqlx::query(RENEW)
        .bind(heartbeat.instance.id_bytes())
        .bind(micros(heartbeat.lease))
        .bind(i64::from(permits_limit))
        .bind(i64::from(permits_in_use))
        .bind(draining);
    let renewed = renew
        .execute(&mut *connection)
        .await
        .map_err(store_error)?
        .rows_affected();
    let look = sqlx::query(LOOK).bind(heartbeat.instance.id_bytes());
    let row = look.fetch_one(&mut *connection).await.map_err(store_error)?;
    let tiers = sqlx::query(QUEUED_BY_TIER)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    beat(renewed > 0, &row, &tiers)
}

fn beat(held: bool, row: &PgRow, tiers: &[PgRow]) -> Result<Beat, StoreError> {
    let mut queued_by_tier = BTreeMap::new();
    for tier in tiers {
        queued_by_tier.insert(rows::get(tier, "tier")?, counted(tier, "queued")?);
    }
    let next_lease_end: Option<i64> = rows::get(row, "next_lease_end")?;
    Ok(Beat {
        held,
        store_now: Timestamp::from_micros(rows::get(row, "now")?),
        to_cancel: run_ids(row, "to_cancel")?,
        parked_to_cancel: run_ids(row, "parked_to_cancel")?,
        lost_runs: counted(row, "lost_runs")?,
        live_instances: u32::try_from(counted(row, "live")?).unwrap_or(u32::MAX),
        next_lease_end: next_lease_end.map(|left| Duration::from_micros(u64::try_from(left).unwrap_or(0))),
        queued_by_tier,
        claimable: rows::get(row, "claimable")?,
        expired: rows::get(row, "expired")?,
    })
}

/// A column of ids of runs.
fn run_ids(row: &PgRow, column: &'static str) -> Result<Vec<RunId>, StoreError> {
    let ids = rows::get::<Vec<Vec<u8>>>(row, column)?.into_iter();
    ids.map(|id| {
        Uuid::from_slice(&id)
            .map(RunId::from_uuid)
            .map_err(|_| rows::damaged("a run"))
    })
    .collect()
}

pub(super) async fn leave(connection: &mut PgConnection, instance: InstanceId) -> Result<(), StoreError> {
    let leave = sqlx::query(LEAVE).bind(instance.id_bytes());
    leave.execute(&mut *connection).await.map_err(store_error)?;
    Ok(())
}

pub(super) async fn disown_unknown(
    connection: &mut PgConnection,
    instance: InstanceId,
    known: &[RunId],
    made_before: RunId,
) -> Result<u64, StoreError> {
    let known: Vec<Vec<u8>> = known.iter().map(IdBytes::id_bytes).collect();
    let disown = sqlx::query(DISOWN)
        .bind(instance.id_bytes())
        .bind(known)
        .bind(made_before.id_bytes())
        .bind(NOBODY.id_bytes());
    Ok(disown
        .execute(&mut *connection)
        .await
        .map_err(store_error)?
        .rows_affected())
}

pub(super) async fn take_over(
    connection: &mut PgConnection,
    instance: InstanceId,
    limit: u32,
) -> Result<Vec<RunRecord>, StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let holds = sqlx::query_scalar(HOLDS_LEASE).bind(instance.id_bytes());
    let holds: i64 = holds.fetch_one(&mut *transaction).await.map_err(store_error)?;
    if holds == 0 {
        return Err(StoreError::Unavailable("the lease of this instance is over".into()));
    }
    let lost = sqlx::query_as(LOST_RUNS).bind(i64::from(limit));
    let lost: Vec<(Vec<u8>, String)> = lost.fetch_all(&mut *transaction).await.map_err(store_error)?;
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let mut runs_of = BTreeMap::<String, u64>::new();
    let mut ids = Vec::with_capacity(lost.len());
    for (id, owner) in lost {
        *runs_of.entry(owner).or_default() += 1;
        ids.push(id);
    }
    let lost = ids;
    charge_holds_of(&mut transaction, &lost).await?;
    let take = sqlx::query(TAKE_OVER).bind(&lost).bind(instance.id_bytes());
    take.execute(&mut *transaction).await.map_err(store_error)?;
    let taken = sqlx::query(TAKEN).bind(&lost);
    let taken = taken.fetch_all(&mut *transaction).await.map_err(store_error)?;
    let records = taken.iter().map(rows::run_record).collect::<Result<Vec<_>, _>>()?;
    transaction.commit().await.map_err(store_error)?;
    for (lost, runs) in runs_of {
        tracing::info!(lost, runs, "took over runs of a lost instance");
    }
    Ok(records)
}

pub(super) async fn set_tier_limits(
    connection: &mut PgConnection,
    limits: Vec<(String, Option<u32>)>,
) -> Result<(), StoreError> {
    let number = |limit: Option<u32>| limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
    let mut limits = limits;
    // Instances that start at the same moment lock the tiers in the same order.
    limits.sort();
    let (names, limits): (Vec<String>, Vec<Option<i32>>) =
        limits.into_iter().map(|(name, limit)| (name, number(limit))).unzip();
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let set = sqlx::query(SET_TIERS).bind(names).bind(limits);
    set.execute(&mut *transaction).await.map_err(store_error)?;
    sqlx::query(SET_LIMITS)
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

pub(super) fn counted(row: &PgRow, column: &'static str) -> Result<u64, StoreError> {
    let count: i64 = row
        .try_get(column)
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    u64::try_from(count).map_err(|_| rows::damaged(column))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
