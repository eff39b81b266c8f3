//! Locks and reads what a batch of writes decides about: accounts by name, then runs by id, one order everywhere.

use std::collections::{BTreeMap, BTreeSet};

use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::ports::StoreError;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::failure::store_error;
use super::picture::{AccountCounts, Picture, RunPicture};
use super::rows::{self, IdBytes, narrow_run_columns};
use super::write::Write;
use crate::store::activity::Activity;

const LOCK_ACCOUNTS: &str = "SELECT account, running, queued FROM accounts \
     WHERE account = ANY($1) OR account IN (SELECT runs.account FROM runs WHERE runs.id = ANY($2)) \
     ORDER BY account FOR UPDATE";

const FIND_IDEMPOTENT: &str = "SELECT runs.account, runs.idempotency_key, runs.request_hash, runs.id \
     FROM unnest($1::text[], $2::text[]) AS asked (account, key) \
     JOIN runs ON runs.account = asked.account AND runs.idempotency_key = asked.key";

/// The text of a spec may be long and is read only where the answer needs it.
const LOCK_RUNS: &str = concat!(
    "SELECT ",
    narrow_run_columns!(),
    ", runs.instance, runs.next_item, runs.line, runs.cancel_requested, \
     COALESCE((SELECT run_specs.spec FROM run_specs WHERE run_specs.run_id = runs.id AND runs.id = ANY($2)), $3) AS spec \
     FROM runs WHERE runs.id = ANY($1) ORDER BY runs.id FOR UPDATE OF runs"
);

/// Stands for a spec that nobody reads and that is never written.
const UNREAD_SPEC: &str = r#"{"model":"","limits":{"max_steps":1,"deadline_seconds":1}}"#;

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
    find_idempotent(writes, &mut picture, connection, activity).await?;
    for (_, run) in picture.idempotency.values() {
        named.insert(*run);
        whole.insert(*run);
    }
    let lock = sqlx::query(LOCK_RUNS)
        .bind(id_bytes(&named))
        .bind(id_bytes(&whole))
        .bind(UNREAD_SPEC);
    activity.count_statements(1);
    let found = lock.fetch_all(&mut *connection).await.map_err(store_error)?;
    picture.runs = found.iter().map(run_picture).collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(picture)
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
        match write {
            Write::Create(new) => {
                accounts.insert(new.account.as_str());
            }
            // The row's account counts, whatever the write says.
            other => {
                runs.insert(other.run());
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
        let running: i32 = rows::get(&row, "running")?;
        let counts = AccountCounts {
            running: u32::try_from(running).map_err(|_| rows::damaged("running"))?,
            queued: rows::get(&row, "queued")?,
            changed: false,
        };
        picture.accounts.insert(rows::account(&row)?, counts);
    }
    Ok(())
}

async fn find_idempotent(
    writes: &[&Write],
    picture: &mut Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let mut asked = BTreeSet::new();
    for write in writes {
        if let Write::Create(new) = write
            && let Some(idempotency) = &new.idempotency
        {
            asked.insert((new.account.as_str(), idempotency.key.as_str()));
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

fn run_picture(row: &PgRow) -> Result<(RunId, RunPicture), StoreError> {
    let record = rows::run_record(row)?;
    let picture = RunPicture {
        instance: InstanceId::from_uuid(rows::uuid(row, "instance")?),
        next_item: rows::get(row, "next_item")?,
        line: rows::get(row, "line")?,
        cancel_requested: rows::get(row, "cancel_requested")?,
        new: None,
        changed: false,
        record,
    };
    Ok((picture.record.id, picture))
}

fn id_bytes(ids: &BTreeSet<RunId>) -> Vec<Vec<u8>> {
    ids.iter().map(IdBytes::id_bytes).collect()
}
