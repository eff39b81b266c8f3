//! Port `Budgets`: every change goes through the one writer, so nothing happens between a look and its hold.

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, InstanceId, ModelCallId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::budgets::{
    Balance, BudgetPeriod, Budgets, Charge, HoldOutcome, NewHold, TopUp, UsageQuery, UsageRow,
};
use callboard_actors::time::Timestamp;

use super::SqliteStore;
use super::rows::{self, IdBytes};
use super::transaction::{Statement, WriteFailure, WriteTransaction};
use super::writer::Write;
use crate::store::budget_statements::{IS_HELD, RELEASE, bound_statements, charge_holds, end_holds, select_dead_holds};
use crate::store::budgets::{FOLDED_AT_ONCE, NO_HOLD, Standing, charge_values, usage_rows};

/// `sum` fails beyond 64 bits, `total` is a float.
macro_rules! capped_sum {
    ($value:literal) => {
        concat!("CAST(min(total(", $value, "), 9007199254740991) AS INTEGER)")
    };
}

macro_rules! capped {
    ($sum:literal) => {
        concat!("min(", $sum, ", 9007199254740991)")
    };
}

bound_statements!(capped_sum, capped, "");

const CHARGE_HOLDS_OF_RUN: &str = charge_holds!("runs.id = $1");
const END_HOLDS_OF_RUN: &str = end_holds!("runs.id = $1");
const CHARGE_HOLDS_OF_OTHERS: &str = charge_holds!("runs.instance <> $1");
const END_HOLDS_OF_OTHERS: &str = end_holds!("runs.instance <> $1");

/// The account is that of the run's row, whatever the commit says.
const CHARGE: &str = "\
    INSERT INTO usage_entries (run_id, account, id, model, provider, day, input_tokens, output_tokens, cached_input_tokens, \
                               cache_write_input_tokens, reasoning_tokens, cost_nanos, call_micros, at) \
    SELECT runs.id, runs.account, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM runs WHERE runs.id = ? ON CONFLICT DO NOTHING; \
    DELETE FROM budget_holds WHERE id = ?";

const FORGET_DEAD_HOLDS: &str = concat!(
    "DELETE FROM budget_holds WHERE id IN (",
    select_dead_holds!(),
    " LIMIT $1)"
);

/// What a model call used, and the end of its hold; once, however often it comes.
pub(super) async fn charge(
    transaction: &mut WriteTransaction<'_>,
    run: RunId,
    charges: &[Charge],
) -> Result<(), WriteFailure> {
    for charge in charges {
        let mut statements = sqlx::query(CHARGE)
            .bind(charge.id.id_bytes())
            .bind(&charge.model)
            .bind(&charge.provider);
        for value in charge_values(charge) {
            statements = statements.bind(value);
        }
        let statements = statements.bind(run.id_bytes()).bind(charge.id.id_bytes());
        transaction.guarded(statements).await?;
    }
    Ok(())
}

/// Before a running run's epoch is ended by another than its owner: charges by estimate what it holds.
pub(super) async fn charge_holds_of(transaction: &mut WriteTransaction<'_>, run: RunId) -> Result<(), WriteFailure> {
    for text in [CHARGE_HOLDS_OF_RUN, END_HOLDS_OF_RUN] {
        transaction.execute(sqlx::query(text).bind(run.id_bytes())).await?;
    }
    Ok(())
}

/// The same of all running runs that do not run at this instance.
pub(super) async fn charge_holds_of_others(
    transaction: &mut WriteTransaction<'_>,
    instance: InstanceId,
) -> Result<(), WriteFailure> {
    for text in [CHARGE_HOLDS_OF_OTHERS, END_HOLDS_OF_OTHERS] {
        transaction.execute(sqlx::query(text).bind(instance.id_bytes())).await?;
    }
    Ok(())
}

impl Write for NewHold {
    type Answer = HoldOutcome;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<HoldOutcome, WriteFailure> {
        let look = standing(&self.account, self.id, self.limits.period, self.at);
        let row = transaction.row(look).await?;
        let standing = Standing::read(&row.ok_or_else(|| rows::damaged("a sum"))?)?;
        if standing.has_much_to_fold() {
            fold(transaction, &self.account, i64::MAX, FOLDED_AT_ONCE).await?;
        }
        if let Some(refusal) = standing.refusal(self) {
            return Ok(refusal);
        }
        if transaction.execute(take_hold(self)).await? > 0 {
            return Ok(HoldOutcome::Held);
        }
        let row = transaction.row(sqlx::query(IS_HELD).bind(self.id.id_bytes())).await?;
        let row = row.ok_or_else(|| rows::damaged("a count"))?;
        if rows::get::<i64>(&row, "holds")? > 0 {
            return Ok(HoldOutcome::Held);
        }
        Err(WriteFailure::Refused(StoreError::Fenced))
    }
}

#[derive(Debug)]
struct Release(ModelCallId);

impl Write for Release {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        transaction
            .execute(sqlx::query(RELEASE).bind(self.0.id_bytes()))
            .await?;
        Ok(())
    }
}

impl Write for TopUp {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        let [add, count] = add_top_up(self);
        if transaction.execute(add).await? > 0 {
            transaction.execute(count).await?;
        }
        Ok(())
    }
}

/// Folds at most `limit` charges of the account made before this, and says how many.
async fn fold(
    transaction: &mut WriteTransaction<'_>,
    account: &AccountId,
    before: i64,
    limit: u32,
) -> Result<u64, WriteFailure> {
    let count = transaction.execute(begin_folding(account, before, limit)).await?;
    if count > 0 {
        for text in FOLD {
            transaction.execute(sqlx::query(text).bind(account.as_str())).await?;
        }
    }
    Ok(count)
}

/// Folds at most `limit` charges made before this, and says how many.
#[derive(Debug)]
struct FoldSome {
    before: Timestamp,
    limit: u32,
}

impl Write for FoldSome {
    type Answer = u64;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u64, WriteFailure> {
        let find = to_fold(self.before, self.limit);
        let mut folded = 0;
        for row in transaction.rows(find).await? {
            let entries = rows::small(&row, "entries")?;
            folded += fold(transaction, &rows::account(&row)?, self.before.as_micros(), entries).await?;
        }
        Ok(folded)
    }
}

/// Forgets at most `limit` holds that do not count any more, and says how many.
#[derive(Debug)]
struct ForgetDeadHolds {
    limit: u32,
}

impl Write for ForgetDeadHolds {
    type Answer = u64;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u64, WriteFailure> {
        let forget = sqlx::query(FORGET_DEAD_HOLDS).bind(self.limit);
        Ok(transaction.execute(forget).await?)
    }
}

#[async_trait]
impl Budgets for SqliteStore {
    async fn hold(&self, hold: NewHold) -> Result<HoldOutcome, StoreError> {
        self.writer.submit(hold).await
    }

    async fn release(&self, hold: ModelCallId) -> Result<(), StoreError> {
        self.writer.submit(Release(hold)).await
    }

    async fn top_up(&self, top_up: TopUp) -> Result<(), StoreError> {
        self.writer.submit(top_up).await
    }

    async fn balance(&self, account: &AccountId, period: BudgetPeriod, at: Timestamp) -> Result<Balance, StoreError> {
        let row = self.readers.row(standing(account, NO_HOLD, period, at)).await?;
        Ok(Standing::read(&row.ok_or_else(|| rows::damaged("a sum"))?)?.balance)
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        usage_rows(&self.readers.rows(used(&query)).await?)
    }

    /// In transactions of at most 1,000 charges: after an error, some are folded. Forgets holds that do not count any more as well.
    async fn fold_charges(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer.submit(ForgetDeadHolds { limit: FOLDED_AT_ONCE }).await?;
        let mut folded = 0;
        while folded < u64::from(limit) {
            let left = u32::try_from(u64::from(limit) - folded).unwrap_or(u32::MAX);
            let limit = FOLDED_AT_ONCE.min(left);
            match self.writer.submit(FoldSome { before, limit }).await? {
                0 => break,
                count => folded += count,
            }
        }
        Ok(folded)
    }
}
