//! Reading runs: the same for SQLite and PostgreSQL.

use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{OverduePlace, OverdueRun, RunQuery, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use uuid::Uuid;

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, IdBytes, run_columns};

/// `$1` the run.
const RUN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = $1"
);

/// One text for each state, because a partial index serves only a query that names its state. `$1` the account, `$2` below, `$3` how many.
macro_rules! list_runs {
    ($filter:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.account = $1 AND runs.id < $2",
            $filter,
            " ORDER BY runs.id DESC LIMIT $3"
        )
    };
}

/// In the order of the thread, which is that of its index. `$1` the account, `$2` the thread, `$3` below this run of it (above all there are
/// if it is none), `$4` the state, `$5` how many.
const LIST_RUNS_OF_THREAD: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = $1 AND runs.thread_id = $2 AND runs.state = COALESCE($4, runs.state) \
       AND runs.thread_position < COALESCE((SELECT thread_position FROM runs WHERE id = $3), 9223372036854775807) \
     ORDER BY runs.thread_position DESC LIMIT $5"
);

/// The condition of its index, word for word. `$1` above, `$2` how many.
pub(super) const WAITING_FOR_BUDGET: &str = "SELECT id, account FROM runs WHERE state = 'waiting' AND waiting = '\"budget\"' \
                                  AND id > $1 ORDER BY id LIMIT $2";

/// The condition of its index, word for word. `$1` now, `$2` and `$3` behind this place, `$4` how many.
const WITH_CALLS_DUE: &str = "SELECT id, calls, calls_deadline FROM runs \
     WHERE state = 'waiting' AND calls_deadline IS NOT NULL AND calls_deadline <= $1 AND (calls_deadline, id) > ($2, $3) \
     ORDER BY calls_deadline, id LIMIT $4";

/// As [`Store::run`](callboard_actors::ports::Store::run).
pub(super) async fn run(readers: &impl ReadRows, run: RunId) -> Result<Option<RunRecord>, StoreError> {
    let row = readers.read_row(RUN, vec![Value::Bytes(run.id_bytes())]).await?;
    row.as_ref().map(rows::shown_run_record).transpose()
}

/// As [`Store::list_runs`](callboard_actors::ports::Store::list_runs).
pub(super) async fn list(readers: &impl ReadRows, query: &RunQuery) -> Result<Vec<RunRecord>, StoreError> {
    // Above every id there can be.
    let before = query.before.unwrap_or(RunId::from_uuid(Uuid::max()));
    let mut values = vec![Value::Text(query.account.as_str())];
    let text = match (query.thread, query.state) {
        (Some(thread), _) => {
            values.push(Value::Bytes(thread.id_bytes()));
            LIST_RUNS_OF_THREAD
        }
        (None, None) => list_runs!(""),
        (None, Some(RunState::Queued)) => list_runs!(" AND runs.state = 'queued'"),
        (None, Some(RunState::Running)) => list_runs!(" AND runs.state = 'running'"),
        (None, Some(RunState::Waiting)) => list_runs!(" AND runs.state = 'waiting'"),
        (None, Some(RunState::Completed)) => list_runs!(" AND runs.state = 'completed'"),
        (None, Some(RunState::Failed)) => list_runs!(" AND runs.state = 'failed'"),
        (None, Some(RunState::Cancelled)) => list_runs!(" AND runs.state = 'cancelled'"),
    };
    values.push(Value::Bytes(before.id_bytes()));
    if query.thread.is_some() {
        values.push(Value::TextOrNull(query.state.map(RunState::as_str)));
    }
    values.push(Value::Number(query.limit.into()));
    let found = readers.read_rows(text, values).await?;
    found.iter().map(rows::shown_run_record).collect()
}

/// As [`Store::runs_waiting_for_budget`](callboard_actors::ports::Store::runs_waiting_for_budget).
pub(super) async fn waiting_for_budget(
    readers: &impl ReadRows,
    after: Option<RunId>,
    limit: u32,
) -> Result<Vec<(RunId, AccountId)>, StoreError> {
    // Below every id there is.
    let after = after.unwrap_or(RunId::from_uuid(Uuid::nil()));
    let values = vec![Value::Bytes(after.id_bytes()), Value::Number(limit.into())];
    let found = readers.read_rows(WAITING_FOR_BUDGET, values).await?;
    let runs = found.iter().map(|row| Ok((rows::run_id(row)?, rows::account(row)?)));
    runs.collect()
}

/// As [`Store::runs_with_overdue_calls`](callboard_actors::ports::Store::runs_with_overdue_calls).
pub(super) async fn with_overdue_calls(
    readers: &impl ReadRows,
    now: Timestamp,
    after: Option<OverduePlace>,
    limit: u32,
) -> Result<Vec<OverdueRun>, StoreError> {
    // Before every place there is.
    let first = (i64::MIN, RunId::from_uuid(Uuid::nil()));
    let (deadline, run) = after.map_or(first, |after| (after.deadline.as_micros(), after.run));
    let values = vec![
        Value::Number(now.as_micros()),
        Value::Number(deadline),
        Value::Bytes(run.id_bytes()),
        Value::Number(limit.into()),
    ];
    let found = readers.read_rows(WITH_CALLS_DUE, values).await?;
    found.iter().map(rows::overdue_run).collect()
}
