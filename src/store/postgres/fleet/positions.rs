//! Where queued runs stand, and telling it to their logs.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::ToldPosition;
use sqlx::{Connection, PgConnection};

use crate::store::activity::Activity;
use crate::store::postgres::failure::store_error;
use crate::store::postgres::picture::Picture;
use crate::store::postgres::pool::Pool;
use crate::store::postgres::read_set::{UNREAD_SPEC, picture_columns, run_picture};
use crate::store::postgres::rows::{self, IdBytes, signed};
use crate::store::postgres::write_set;

const POSITION: &str = "SELECT (SELECT count(*) FROM runs AS ahead WHERE ahead.account = runs.account AND ahead.state = 'queued' AND NOT ahead.held \
            AND (ahead.line, ahead.place) <= (runs.line, runs.place)) AS position \
     FROM runs WHERE id = $1 AND state = 'queued' AND NOT held";

/// Only so many of a line are looked at: those far behind will be told when they have come nearer.
const LOOKED_AT: i64 = 1000;

const TO_TELL: &str = "SELECT id, position FROM (\
         SELECT id, told_position, told_at, row_number() OVER (ORDER BY line, place) AS position FROM (\
             SELECT id, line, place, told_position, told_at FROM runs WHERE account = $1 AND state = 'queued' AND NOT held \
             ORDER BY line, place LIMIT $2) AS front) AS standing \
     WHERE (told_position IS NULL OR position * 2 <= told_position) \
       AND COALESCE(told_at, 0) <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $3 \
     ORDER BY position LIMIT $4";

/// Those that somebody else writes at this moment are left to the next time, and those that another instance has just told are told.
const LOCK: &str = concat!(
    "SELECT ",
    picture_columns!("$1", "$2"),
    ", runs.told_position FROM runs WHERE runs.id = ANY($1) AND runs.state = 'queued' AND NOT runs.held \
       AND COALESCE(runs.told_at, 0) <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $3 \
     ORDER BY runs.id FOR UPDATE OF runs SKIP LOCKED"
);

/// All that changes about a run in one statement. A second update of a row in one transaction makes PostgreSQL look at what the row refers to
/// again, its account, and lock that: after the run, where everybody else locks it before.
const NOTE: &str = "UPDATE runs SET told_position = told.position, next_seq = told.next_seq, reserved_seq = 0, \
                       told_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
     FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS told (id, position, next_seq) WHERE runs.id = told.id";

pub(super) async fn queue_position(pool: &Pool, run: RunId) -> Result<Option<u64>, StoreError> {
    let row = pool.row(sqlx::query(POSITION).bind(run.id_bytes())).await?;
    let position: Option<i64> = row.map(|row| rows::get(&row, "position")).transpose()?;
    Ok(position.and_then(|position| u64::try_from(position).ok()))
}

pub(super) async fn tell_positions(
    connection: &mut PgConnection,
    activity: &Activity,
    account: &AccountId,
    interval: Duration,
    limit: u32,
) -> Result<Vec<ToldPosition>, StoreError> {
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
    let to_tell = sqlx::query(TO_TELL)
        .bind(account.as_str())
        .bind(LOOKED_AT)
        .bind(interval)
        .bind(i64::from(limit));
    let mut positions = BTreeMap::new();
    for row in to_tell.fetch_all(&mut *transaction).await.map_err(store_error)? {
        positions.insert(rows::run_id(&row)?, rows::get::<i64>(&row, "position")?);
    }
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Vec<u8>> = positions.keys().map(IdBytes::id_bytes).collect();
    let lock = sqlx::query(LOCK).bind(ids).bind(UNREAD_SPEC).bind(interval);
    let locked = lock.fetch_all(&mut *transaction).await.map_err(store_error)?;
    let mut picture = Picture::default();
    for row in &locked {
        let (run, row_picture) = run_picture(row)?;
        let told: Option<i64> = rows::get(row, "told_position")?;
        let position = positions.get(&run).copied().unwrap_or(i64::MAX);
        let is_time = told.is_none_or(|told| position.saturating_mul(2) <= told);
        if is_time && !row_picture.is_damaged {
            picture.runs.insert(run, row_picture);
        }
    }
    let told = tell(&positions, &mut picture)?;
    write_set::write(&picture, &mut transaction, activity).await?;
    let column = |value: fn(&(ToldPosition, i64)) -> i64| told.iter().map(value).collect::<Vec<_>>();
    let note = sqlx::query(NOTE)
        .bind(told.iter().map(|(told, _)| told.run.id_bytes()).collect::<Vec<_>>())
        .bind(column(|(_, position)| *position))
        .bind(column(|(told, _)| signed(told.events.last_seq() + 1)));
    note.execute(&mut *transaction).await.map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(told.into_iter().map(|(told, _)| told).collect())
}

/// Those in front first.
fn tell(positions: &BTreeMap<RunId, i64>, picture: &mut Picture) -> Result<Vec<(ToldPosition, i64)>, StoreError> {
    let mut told = Vec::with_capacity(positions.len());
    for (run, row) in &picture.runs {
        let Some(&position) = positions.get(run) else { continue };
        let event = EventBody::RunQueuePosition {
            position: u64::try_from(position).unwrap_or(1),
        };
        let record = &row.record;
        let events = encode(*run, record.first_free_seq(), [event]).ok_or_else(|| rows::damaged("an event"))?;
        picture.events.push((*run, events.clone()));
        let epoch = record.epoch;
        told.push((
            ToldPosition {
                run: *run,
                epoch,
                events,
            },
            position,
        ));
    }
    told.sort_by_key(|(_, position)| *position);
    Ok(told)
}
