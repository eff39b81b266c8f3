//! Locks and reads what a batch of writes decides about: accounts by name, then runs by id, one order everywhere.

use std::collections::{BTreeMap, BTreeSet};

use callboard_actors::ids::{InstanceId, RunId, ThreadId};
use callboard_actors::ports::StoreError;
use callboard_actors::time::Timestamp;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::failure::store_error;
use super::picture::{AccountCounts, Picture, RunPicture, ThreadPicture};
use super::rows::{self, IdBytes};
use super::write::Write;
use crate::store::activity::Activity;

/// What [`account_counts`] reads.
macro_rules! account_columns {
    () => {
        "account, running, queued, held, slot_limit, next_place, turn"
    };
}
pub(super) use account_columns;

/// What [`run_picture`] reads, with `$unread` for the text of the spec where `$whole` does not name the run: it may be long and is read
/// only where the answer needs it.
macro_rules! picture_columns {
    ($whole:literal, $unread:literal) => {
        concat!(
            crate::store::rows::narrow_run_columns!(),
            ", runs.instance, runs.next_item, runs.line, runs.place, runs.cancel_requested, runs.held, runs.hidden, \
             COALESCE((SELECT run_specs.spec FROM run_specs WHERE run_specs.run_id = runs.id AND runs.id = ANY(",
            $whole,
            ")), ",
            $unread,
            ") AS spec"
        )
    };
}
pub(super) use picture_columns;

/// One array, because a condition with `OR` and a subquery is no condition of an index: all accounts would be read.
const LOCK_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM accounts \
     WHERE account = ANY($1::text[] || ARRAY(SELECT runs.account FROM runs WHERE runs.id = ANY($2))) \
     ORDER BY account FOR UPDATE"
);

/// Of these instances, those whose lease is held; and the time.
const LEASES: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now, \
     ARRAY(SELECT id FROM instances WHERE id = ANY($1) AND lease_until > clock_timestamp()) AS held";

const FIND_IDEMPOTENT: &str = "SELECT runs.account, runs.idempotency_key, runs.request_hash, runs.id \
     FROM unnest($1::text[], $2::text[]) AS asked (account, key) \
     JOIN runs ON runs.account = asked.account AND runs.idempotency_key = asked.key";

const LOCK_RUNS: &str = concat!(
    "SELECT ",
    picture_columns!("$2", "$3"),
    " \
     FROM runs WHERE runs.id = ANY($1) ORDER BY runs.id FOR UPDATE OF runs"
);

/// The same, with the first runs without an end of the threads of `$4`, which may end, and of `$5`, which a new run enters: at most `$6` and
/// `$7` of each.
const LOCK_RUNS_AND_THEIR_THREADS: &str = concat!(
    "SELECT ",
    picture_columns!("$2", "$3"),
    " \
     FROM runs WHERE runs.id = ANY($1 || ARRAY(\
         SELECT beside.id FROM runs AS may_end CROSS JOIN LATERAL (\
             SELECT peer.id FROM runs AS peer WHERE peer.thread_id = may_end.thread_id \
                AND peer.state IN ('queued', 'running', 'waiting') ORDER BY peer.thread_position LIMIT $6) AS beside \
         WHERE may_end.id = ANY($4) AND may_end.thread_id IS NOT NULL) || ARRAY(\
         SELECT beside.id FROM unnest($5::bytea[]) AS entered (thread_id) CROSS JOIN LATERAL (\
             SELECT peer.id FROM runs AS peer WHERE peer.thread_id = entered.thread_id \
                AND peer.state IN ('queued', 'running', 'waiting') ORDER BY peer.thread_position LIMIT $7) AS beside)) \
     ORDER BY runs.id FOR UPDATE OF runs"
);

const LOCK_THREADS: &str = "SELECT id, account, next_position FROM threads WHERE id = ANY($1) AND deleted_at IS NULL \
                            ORDER BY id FOR UPDATE";

/// Stands for a spec that nobody reads and that is never written.
pub(super) const UNREAD_SPEC: &str = r#"{"model":"","limits":{"max_steps":1,"deadline_seconds":1}}"#;

pub(super) async fn read(
    writes: &[&Write],
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<Picture, StoreError> {
    let mut picture = Picture::default();
    lock_accounts(writes, &mut picture, connection, activity).await?;
    let mut named: BTreeSet<RunId> = writes.iter().map(|write| write.run()).collect();
    let mut whole: BTreeSet<RunId> = writes
        .iter()
        .filter(|write| write.needs_spec())
        .map(|write| write.run())
        .collect();
    look_at_leases(writes, &mut picture, connection, activity).await?;
    find_idempotent(writes, &mut picture, connection, activity).await?;
    for (_, run) in picture.idempotency.values() {
        named.insert(*run);
        whole.insert(*run);
    }
    lock_threads(writes, &mut picture, connection, activity).await?;
    let may_end: BTreeSet<RunId> = writes
        .iter()
        .filter(|write| write.may_end())
        .map(|write| write.run())
        .collect();
    let mut lock = sqlx::query(if may_end.is_empty() && picture.threads.is_empty() {
        LOCK_RUNS
    } else {
        LOCK_RUNS_AND_THEIR_THREADS
    });
    lock = lock.bind(id_bytes(&named)).bind(id_bytes(&whole)).bind(UNREAD_SPEC);
    if !(may_end.is_empty() && picture.threads.is_empty()) {
        // As many as end, and the one behind them.
        let behind = i64::try_from(writes.len() + 1).unwrap_or(i64::MAX);
        lock = lock
            .bind(id_bytes(&may_end))
            .bind(picture.threads.keys().map(IdBytes::id_bytes).collect::<Vec<_>>())
            .bind(behind)
            .bind(i64::MAX);
    }
    activity.count_statements(1);
    let found = lock.fetch_all(&mut *connection).await.map_err(store_error)?;
    picture.runs = found.iter().map(run_picture).collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(picture)
}

async fn lock_threads(
    writes: &[&Write],
    picture: &mut Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let entered = writes.iter().filter_map(|write| write.enters());
    let entered: BTreeSet<Vec<u8>> = entered.map(|enter| enter.thread.id_bytes()).collect();
    if entered.is_empty() {
        return Ok(());
    }
    activity.count_statements(1);
    let lock = sqlx::query(LOCK_THREADS).bind(entered.into_iter().collect::<Vec<_>>());
    for row in lock.fetch_all(&mut *connection).await.map_err(store_error)? {
        let thread = ThreadPicture {
            account: rows::account(&row)?,
            next_position: rows::unsigned(&row, "next_position")?,
            changed: false,
        };
        picture
            .threads
            .insert(ThreadId::from_uuid(rows::uuid(&row, "id")?), thread);
    }
    Ok(())
}

async fn lock_accounts(
    writes: &[&Write],
    picture: &mut Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let mut accounts = BTreeSet::new();
    let mut runs = BTreeSet::new();
    for write in writes.iter().filter(|write| write.may_move()) {
        match write.newcomer() {
            Some((account, _)) => {
                accounts.insert(account.as_str());
            }
            // The row's account counts, whatever the write says.
            None => {
                runs.insert(write.run());
            }
        }
    }
    if accounts.is_empty() && runs.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = accounts.into_iter().collect();
    activity.count_statements(1);
    let lock = sqlx::query(LOCK_ACCOUNTS).bind(accounts).bind(id_bytes(&runs));
    for row in lock.fetch_all(&mut *connection).await.map_err(store_error)? {
        picture.accounts.insert(rows::account(&row)?, account_counts(&row)?);
    }
    Ok(())
}

async fn look_at_leases(
    writes: &[&Write],
    picture: &mut Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let mut instances = BTreeSet::new();
    for write in writes {
        match write {
            Write::Admit(admission) => {
                instances.insert(admission.instance);
            }
            Write::Expire(_) => {}
            _ => continue,
        }
        picture.now = Some(Timestamp::from_micros(0));
    }
    if picture.now.is_none() {
        return Ok(());
    }
    activity.count_statements(1);
    let instances: Vec<Vec<u8>> = instances.iter().map(IdBytes::id_bytes).collect();
    let look = sqlx::query(LEASES).bind(instances);
    let row = look.fetch_one(&mut *connection).await.map_err(store_error)?;
    picture.now = Some(Timestamp::from_micros(rows::get(&row, "now")?));
    for held in rows::get::<Vec<Vec<u8>>>(&row, "held")? {
        let id = Uuid::from_slice(&held).map_err(|_| rows::damaged("instance"))?;
        picture.held_leases.insert(InstanceId::from_uuid(id));
    }
    Ok(())
}

pub(super) fn account_counts(row: &PgRow) -> Result<AccountCounts, StoreError> {
    let running: i32 = rows::get(row, "running")?;
    let slot_limit: Option<i32> = rows::get(row, "slot_limit")?;
    let unsigned = |value: i32| u32::try_from(value).map_err(|_| rows::damaged("an account's counters"));
    Ok(AccountCounts {
        running: unsigned(running)?,
        queued: rows::get(row, "queued")?,
        slot_limit: slot_limit.map(unsigned).transpose()?,
        next_place: rows::get(row, "next_place")?,
        turn: rows::get(row, "turn")?,
        held: rows::get(row, "held")?,
        changed: false,
    })
}

async fn find_idempotent(
    writes: &[&Write],
    picture: &mut Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let mut asked = BTreeSet::new();
    for write in writes {
        if let Some((account, idempotency)) = write.idempotency() {
            asked.insert((account.as_str(), idempotency.key.as_str()));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let (accounts, keys): (Vec<&str>, Vec<&str>) = asked.into_iter().unzip();
    activity.count_statements(1);
    let find = sqlx::query(FIND_IDEMPOTENT).bind(accounts).bind(keys);
    for row in find.fetch_all(&mut *connection).await.map_err(store_error)? {
        let key = (rows::account(&row)?, rows::get(&row, "idempotency_key")?);
        let asked = (rows::hash(&row, "request_hash")?, rows::run_id(&row)?);
        picture.idempotency.insert(key, asked);
    }
    Ok(())
}

pub(super) fn run_picture(row: &PgRow) -> Result<(RunId, RunPicture), StoreError> {
    let (record, damage) = rows::shown_run(row)?;
    let picture = RunPicture {
        instance: InstanceId::from_uuid(rows::uuid(row, "instance")?),
        next_item: rows::get(row, "next_item")?,
        line: rows::get(row, "line")?,
        place: rows::get(row, "place")?,
        cancel_requested: rows::get(row, "cancel_requested")?,
        held: rows::get(row, "held")?,
        hidden: rows::get(row, "hidden")?,
        is_damaged: damage.is_err(),
        new: None,
        changed: false,
        record,
    };
    Ok((picture.record.id, picture))
}

fn id_bytes(ids: &BTreeSet<RunId>) -> Vec<Vec<u8>> {
    ids.iter().map(IdBytes::id_bytes).collect()
}
