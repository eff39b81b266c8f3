//! Steps of running runs: the path that every streamed token takes, so each kind of commit is one text and one trip to the database.

use callboard_actors::call_ledger::CallLedger;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{RunCommit, StateChange};
use callboard_actors::run_state::RunState;

use super::budgets::charge;
use super::rows::{IdBytes, json, signed};
use super::transaction::{Statement, WriteFailure, WriteTransaction};
use super::writer::Write;

/// The guard of every commit. Events begin at `next_seq`, or above all that was reserved: after a crash, seqs that may have been seen
/// but were not written are left out.
macro_rules! guard {
    () => {
        " WHERE id = ? AND state = 'running' AND epoch = ? \
          AND COALESCE(?, next_seq) IN (next_seq, max(next_seq, reserved_seq))"
    };
}

macro_rules! seqs {
    () => {
        "UPDATE runs SET next_seq = COALESCE(?, next_seq), reserved_seq = COALESCE(?, reserved_seq)"
    };
}

macro_rules! progress {
    () => {
        ", steps = COALESCE(?, steps), input_tokens = COALESCE(?, input_tokens), \
          output_tokens = COALESCE(?, output_tokens), cached_input_tokens = COALESCE(?, cached_input_tokens), \
          cache_write_input_tokens = COALESCE(?, cache_write_input_tokens), \
          reasoning_tokens = COALESCE(?, reasoning_tokens), cost_nanos = COALESCE(?, cost_nanos)"
    };
}

macro_rules! change {
    () => {
        ", state = ?, error = ?, waiting = ?, ended_at = ?"
    };
}

macro_rules! calls {
    () => {
        ", calls = ?, calls_deadline = ?"
    };
}

macro_rules! events {
    () => {
        "; INSERT INTO event_batches (run_id, first_seq, last_seq, frames) SELECT ?, ?, ?, ? WHERE changes() > 0"
    };
}

macro_rules! items {
    () => {
        "; INSERT INTO items (run_id, position, content) \
           SELECT ?, base.position + each.key, each.value FROM json_each(?) AS each, \
                  (SELECT COALESCE(max(position) + 1, 0) AS position FROM items WHERE run_id = ?) AS base \
           WHERE changes() > 0"
    };
}

/// One text for each set of parts a commit can have: none touches an index or a column that it need not.
fn text(commit: &RunCommit) -> &'static str {
    macro_rules! with_parts {
        ($($update:tt)*) => {
            match (commit.events.is_some(), !commit.items.is_empty()) {
                (false, false) => concat!($($update)*),
                (true, false) => concat!($($update)*, events!()),
                (false, true) => concat!($($update)*, items!()),
                (true, true) => concat!($($update)*, events!(), items!()),
            }
        };
    }
    match (
        commit.change.is_some(),
        commit.progress.is_some(),
        commit.calls.is_some(),
    ) {
        (true, _, true) => with_parts!(seqs!(), progress!(), change!(), calls!(), guard!()),
        (true, _, false) => with_parts!(seqs!(), progress!(), change!(), guard!()),
        (false, true, true) => with_parts!(seqs!(), progress!(), calls!(), guard!()),
        (false, true, false) => with_parts!(seqs!(), progress!(), guard!()),
        (false, false, true) => with_parts!(seqs!(), calls!(), guard!()),
        (false, false, false) => with_parts!(seqs!(), guard!()),
    }
}

impl Write for RunCommit {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        self.check().map_err(WriteFailure::Refused)?;
        let statements = bind_all(self)?;
        if !transaction.guarded(statements).await? {
            return Err(WriteFailure::Refused(StoreError::Fenced));
        }
        if !self.charges.is_empty() {
            charge(transaction, self.run, &self.charges).await?;
        }
        Ok(())
    }
}

/// In the order of the texts above.
fn bind_all(commit: &RunCommit) -> Result<Statement<'_>, WriteFailure> {
    let run = commit.run.id_bytes();
    let events = commit.events.as_ref();
    // Without events, what was reserved before stays reserved.
    let reserved_seq = (events.is_some() || commit.reserved_seq > 0).then(|| signed(commit.reserved_seq));
    let mut statements = sqlx::query(text(commit))
        .bind(events.map(|events| signed(events.last_seq() + 1)))
        .bind(reserved_seq);
    if commit.change.is_some() || commit.progress.is_some() {
        let usage = commit.progress.map(|progress| progress.usage);
        statements = statements
            .bind(commit.progress.map(|progress| progress.steps))
            .bind(usage.map(|usage| signed(usage.input_tokens)))
            .bind(usage.map(|usage| signed(usage.output_tokens)))
            .bind(usage.map(|usage| signed(usage.cached_input_tokens)))
            .bind(usage.map(|usage| signed(usage.cache_write_input_tokens)))
            .bind(usage.map(|usage| signed(usage.reasoning_tokens)))
            .bind(commit.progress.map(|progress| signed(progress.cost.nanos())));
    }
    if let Some(change) = &commit.change {
        statements = bind_change(statements, change)?;
    }
    if let Some(calls) = &commit.calls {
        statements = bind_calls(statements, calls)?;
    }
    statements = statements
        .bind(run.clone())
        .bind(signed(commit.epoch))
        .bind(events.map(|events| signed(events.first_seq())));
    if let Some(events) = events {
        statements = statements
            .bind(run.clone())
            .bind(signed(events.first_seq()))
            .bind(signed(events.last_seq()))
            .bind(&events.bytes()[..]);
    }
    if !commit.items.is_empty() {
        statements = statements.bind(run.clone()).bind(json(&commit.items)?).bind(run);
    }
    Ok(statements)
}

/// `calls`, `calls_deadline`.
pub(super) fn bind_calls<'q>(statements: Statement<'q>, calls: &CallLedger) -> Result<Statement<'q>, WriteFailure> {
    let written = (!calls.is_empty()).then_some(calls);
    Ok(statements
        .bind(written.map(json).transpose()?)
        .bind(written.and_then(CallLedger::next_deadline).map(|at| at.as_micros())))
}

/// `state`, `error`, `waiting`, `ended_at`.
fn bind_change<'q>(statements: Statement<'q>, change: &StateChange) -> Result<Statement<'q>, WriteFailure> {
    let waiting = change.waiting.filter(|_| change.to == RunState::Waiting);
    Ok(statements
        .bind(change.to.as_str())
        .bind(change.error.as_ref().map(json).transpose()?)
        .bind(waiting.as_ref().map(json).transpose()?)
        .bind(change.to.is_terminal().then(|| change.at.as_micros())))
}
