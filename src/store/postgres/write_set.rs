//! Writes a decided picture: one statement per table, however many writes decided it.

use callboard_actors::ports::StoreError;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};

use super::budgets::charge_holds_of;
use super::failure::store_error;
use super::picture::{AccountCounts, Picture, RunPicture};
use super::rows::{IdBytes, json, signed};
use crate::store::activity::Activity;
use crate::store::budgets::{CHARGE_VALUES, charge_values};

type Statement<'q> = Query<'q, Postgres, PgArguments>;

const INSERT_RUNS: &str = "
INSERT INTO runs (id, state, epoch, instance, next_seq, reserved_seq, next_item, steps, input_tokens, output_tokens,
                  cached_input_tokens, cache_write_input_tokens, reasoning_tokens, cost_nanos, error, waiting, started_at, ended_at, queue_deadline, line,
                  cancel_requested, calls, calls_deadline, held, hidden, account, tier, created_at, idempotency_key, request_hash, place,
                  told_position, told_at, thread_id, thread_position)
SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                     $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::text[],
                     $17::bigint[], $18::bigint[], $19::bigint[], $20::smallint[], $21::bool[], $22::text[], $23::bigint[], $24::bool[],
                     $25::bool[], $26::text[], $27::text[], $28::bigint[], $29::text[], $30::bytea[], $31::bigint[], $32::bigint[],
                     $33::bigint[], $34::bytea[], $35::bigint[])";

const UPDATE_RUNS: &str = "
UPDATE runs SET state = new.state, epoch = new.epoch, instance = new.instance, next_seq = new.next_seq,
                reserved_seq = new.reserved_seq, next_item = new.next_item, steps = new.steps,
                input_tokens = new.input_tokens, output_tokens = new.output_tokens,
                cached_input_tokens = new.cached_input_tokens,
                cache_write_input_tokens = new.cache_write_input_tokens, reasoning_tokens = new.reasoning_tokens,
                cost_nanos = new.cost_nanos, error = new.error, waiting = new.waiting, started_at = new.started_at, ended_at = new.ended_at,
                queue_deadline = new.queue_deadline, line = new.line, cancel_requested = new.cancel_requested,
                calls = new.calls, calls_deadline = new.calls_deadline, held = new.held, hidden = new.hidden
FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::text[],
            $17::bigint[], $18::bigint[], $19::bigint[], $20::smallint[], $21::bool[], $22::text[], $23::bigint[], $24::bool[], $25::bool[])
     AS new (id, state, epoch, instance, next_seq, reserved_seq, next_item, steps, input_tokens, output_tokens,
             cached_input_tokens, cache_write_input_tokens, reasoning_tokens, cost_nanos, error, waiting, started_at, ended_at, queue_deadline, line,
             cancel_requested, calls, calls_deadline, held, hidden)
WHERE runs.id = new.id";

const INSERT_SPECS: &str = "INSERT INTO run_specs (run_id, spec) SELECT * FROM unnest($1::bytea[], $2::text[])";

const INSERT_EVENTS: &str = "INSERT INTO event_batches (run_id, first_seq, last_seq, frames) \
                             SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[])";

const INSERT_ITEMS: &str = "INSERT INTO items (run_id, position, content) \
                            SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[])";

/// With the ends of the holds that the charges are of.
const INSERT_CHARGES: &str = "WITH ended AS (DELETE FROM budget_holds WHERE id = ANY($3::bytea[])) \
     INSERT INTO usage_entries (run_id, account, id, model, provider, day, input_tokens, output_tokens, cached_input_tokens, \
                                cache_write_input_tokens, reasoning_tokens, cost_nanos, call_micros, at) \
     SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], \
                          $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]) \
     ON CONFLICT DO NOTHING";

const UPDATE_THREADS: &str = "UPDATE threads SET next_position = new.next_position \
     FROM unnest($1::bytea[], $2::bigint[]) AS new (id, next_position) WHERE threads.id = new.id";

const UPDATE_ACCOUNTS: &str = "UPDATE accounts SET running = new.running, queued = new.queued, slot_limit = new.slot_limit, \
                       next_place = new.next_place, turn = new.turn, held = new.held \
     FROM unnest($1::text[], $2::int[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[], $7::bigint[]) \
          AS new (account, running, queued, slot_limit, next_place, turn, held) \
     WHERE accounts.account = new.account";

/// Whether there is anything to write.
pub(super) fn is_empty(picture: &Picture) -> bool {
    picture.events.is_empty()
        && picture.items.is_empty()
        && picture.charges.is_empty()
        && !picture.runs.values().any(|run| run.changed)
}

pub(super) async fn write(
    picture: &Picture,
    connection: &mut PgConnection,
    activity: &Activity,
) -> Result<(), StoreError> {
    let changed = picture.runs.values().filter(|run| run.changed);
    let (new, old): (Vec<_>, Vec<_>) = changed.partition(|run| run.new.is_some());
    // What a run is charged goes before its change, and what its owner knows before what is estimated.
    if !picture.charges.is_empty() {
        activity.count_statements(1);
        let charge = insert_charges(picture);
        charge.execute(&mut *connection).await.map_err(store_error)?;
    }
    if !picture.abandoned.is_empty() {
        activity.count_statements(2);
        let runs: Vec<Vec<u8>> = picture.abandoned.iter().map(IdBytes::id_bytes).collect();
        charge_holds_of(connection, &runs).await?;
    }
    let mut statements = Vec::new();
    if !new.is_empty() {
        statements.push(insert_runs(&new)?);
        statements.push(insert_specs(&new)?);
    }
    if !old.is_empty() {
        statements.push(bind_state(sqlx::query(UPDATE_RUNS), &old)?);
    }
    if !picture.events.is_empty() {
        statements.push(insert_events(picture));
    }
    if !picture.items.is_empty() {
        statements.push(insert_items(picture));
    }
    if picture.threads.values().any(|thread| thread.changed) {
        statements.push(update_threads(picture));
    }
    if picture.accounts.values().any(|counts| counts.changed) {
        statements.push(update_accounts(picture));
    }
    for statement in statements {
        activity.count_statements(1);
        statement.execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// One value of each run.
fn column<T>(runs: &[&RunPicture], value: impl Fn(&RunPicture) -> T) -> Vec<T> {
    runs.iter().map(|run| value(run)).collect()
}

/// What can change about a run, `$1` to `$25`.
fn bind_state<'q>(statement: Statement<'q>, runs: &[&RunPicture]) -> Result<Statement<'q>, StoreError> {
    let mut errors = Vec::with_capacity(runs.len());
    let mut waiting = Vec::with_capacity(runs.len());
    let mut calls = Vec::with_capacity(runs.len());
    for run in runs {
        let ledger = Some(&run.record.calls).filter(|calls| !calls.is_empty());
        calls.push(ledger.map(json).transpose()?);
        errors.push(run.record.error.as_ref().map(json).transpose()?);
        waiting.push(run.record.waiting.as_ref().map(json).transpose()?);
    }
    Ok(statement
        .bind(column(runs, |run| run.record.id.id_bytes()))
        .bind(column(runs, |run| run.record.state.as_str()))
        .bind(column(runs, |run| signed(run.record.epoch)))
        .bind(column(runs, |run| run.instance.id_bytes()))
        .bind(column(runs, |run| signed(run.record.next_seq)))
        .bind(column(runs, |run| signed(run.record.reserved_seq)))
        .bind(column(runs, |run| run.next_item))
        .bind(column(runs, |run| i64::from(run.record.progress.steps)))
        .bind(column(runs, |run| signed(run.record.progress.usage.input_tokens)))
        .bind(column(runs, |run| signed(run.record.progress.usage.output_tokens)))
        .bind(column(runs, |run| {
            signed(run.record.progress.usage.cached_input_tokens)
        }))
        .bind(column(runs, |run| {
            signed(run.record.progress.usage.cache_write_input_tokens)
        }))
        .bind(column(runs, |run| signed(run.record.progress.usage.reasoning_tokens)))
        .bind(column(runs, |run| signed(run.record.progress.cost.nanos())))
        .bind(errors)
        .bind(waiting)
        .bind(column(runs, |run| run.record.started_at.map(|at| at.as_micros())))
        .bind(column(runs, |run| run.record.ended_at.map(|at| at.as_micros())))
        .bind(column(runs, |run| run.record.queue_deadline.map(|at| at.as_micros())))
        .bind(column(runs, |run| run.line))
        .bind(column(runs, |run| run.cancel_requested))
        .bind(calls)
        .bind(column(runs, |run| {
            let is_empty = run.record.calls.is_empty();
            let deadline = run.record.calls.next_deadline().filter(|_| !is_empty);
            deadline.map(|at| at.as_micros())
        }))
        .bind(column(runs, |run| run.held))
        .bind(column(runs, |run| run.hidden)))
}

fn insert_runs(runs: &[&RunPicture]) -> Result<Statement<'static>, StoreError> {
    let idempotency = |run: &RunPicture| run.new.as_ref().and_then(|new| new.idempotency.clone());
    let told = |run: &RunPicture| run.new.as_ref().and_then(|new| new.told);
    Ok(bind_state(sqlx::query(INSERT_RUNS), runs)?
        .bind(column(runs, |run| run.record.account.as_str().to_owned()))
        .bind(column(runs, |run| run.record.tier.clone()))
        .bind(column(runs, |run| run.record.created_at.as_micros()))
        .bind(column(runs, |run| idempotency(run).map(|asked| asked.key)))
        .bind(column(runs, |run| {
            idempotency(run).map(|asked| asked.request_hash.to_vec())
        }))
        .bind(column(runs, |run| run.place))
        .bind(column(runs, |run| told(run).map(|(position, _)| position)))
        .bind(column(runs, |run| told(run).map(|(_, at)| at)))
        .bind(column(runs, |run| run.record.thread.map(|thread| thread.id.id_bytes())))
        .bind(column(runs, |run| {
            run.record.thread.map(|thread| signed(thread.position))
        })))
}

fn insert_specs(runs: &[&RunPicture]) -> Result<Statement<'static>, StoreError> {
    let specs = runs
        .iter()
        .map(|run| json(&run.record.spec))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(sqlx::query(INSERT_SPECS)
        .bind(column(runs, |run| run.record.id.id_bytes()))
        .bind(specs))
}

fn insert_events(picture: &Picture) -> Statement<'static> {
    let events = &picture.events;
    sqlx::query(INSERT_EVENTS)
        .bind(events.iter().map(|(run, _)| run.id_bytes()).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|(_, batch)| signed(batch.first_seq()))
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|(_, batch)| signed(batch.last_seq()))
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|(_, batch)| batch.bytes().to_vec())
                .collect::<Vec<_>>(),
        )
}

fn insert_items(picture: &Picture) -> Statement<'static> {
    let items = &picture.items;
    sqlx::query(INSERT_ITEMS)
        .bind(items.iter().map(|(run, _, _)| run.id_bytes()).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, place, _)| *place).collect::<Vec<_>>())
        .bind(items.iter().map(|(_, _, text)| text.clone()).collect::<Vec<_>>())
}

fn insert_charges(picture: &Picture) -> Statement<'static> {
    let charges = &picture.charges;
    let values: Vec<[i64; CHARGE_VALUES]> = charges.iter().map(|(_, _, charge)| charge_values(charge)).collect();
    let mut insert = sqlx::query(INSERT_CHARGES)
        .bind(charges.iter().map(|(run, _, _)| run.id_bytes()).collect::<Vec<_>>())
        .bind(
            charges
                .iter()
                .map(|(_, account, _)| account.to_string())
                .collect::<Vec<_>>(),
        )
        .bind(
            charges
                .iter()
                .map(|(_, _, charge)| charge.id.id_bytes())
                .collect::<Vec<_>>(),
        )
        .bind(
            charges
                .iter()
                .map(|(_, _, charge)| charge.model.clone())
                .collect::<Vec<_>>(),
        )
        .bind(
            charges
                .iter()
                .map(|(_, _, charge)| charge.provider.clone())
                .collect::<Vec<_>>(),
        );
    for index in 0..CHARGE_VALUES {
        insert = insert.bind(values.iter().map(|values| values[index]).collect::<Vec<_>>());
    }
    insert
}

fn update_threads(picture: &Picture) -> Statement<'static> {
    let changed = picture.threads.iter().filter(|(_, thread)| thread.changed);
    let (ids, positions): (Vec<Vec<u8>>, Vec<i64>) = changed
        .map(|(id, thread)| (id.id_bytes(), signed(thread.next_position)))
        .unzip();
    sqlx::query(UPDATE_THREADS).bind(ids).bind(positions)
}

fn update_accounts(picture: &Picture) -> Statement<'static> {
    let changed = picture.accounts.iter().filter(|(_, counts)| counts.changed);
    let (names, counts): (Vec<&str>, Vec<AccountCounts>) =
        changed.map(|(account, counts)| (account.as_str(), *counts)).unzip();
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    sqlx::query(UPDATE_ACCOUNTS)
        .bind(names.into_iter().map(str::to_owned).collect::<Vec<_>>())
        .bind(counts.iter().map(|counts| number(counts.running)).collect::<Vec<_>>())
        .bind(counts.iter().map(|counts| counts.queued).collect::<Vec<_>>())
        .bind(
            counts
                .iter()
                .map(|counts| counts.slot_limit.map(number))
                .collect::<Vec<_>>(),
        )
        .bind(counts.iter().map(|counts| counts.next_place).collect::<Vec<_>>())
        .bind(counts.iter().map(|counts| counts.turn).collect::<Vec<_>>())
        .bind(counts.iter().map(|counts| counts.held).collect::<Vec<_>>())
}
