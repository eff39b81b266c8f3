//! Port `Budgets`: each change of what an account holds is a short transaction under the lock of the account's row of `budgets`. Nothing
//! else waits for that lock: commits of runs add charges and end holds without it. Whoever has it waits at most for a commit of the run that
//! takes a hold: its row is locked, last of all, so that whoever ends the run's epoch finds all of its holds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, ModelCallId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::budgets::{
    Balance, BudgetPeriod, Budgets, HoldOutcome, NewHold, TopUp, UsageQuery, UsageRow,
};
use callboard_actors::time::Timestamp;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::sync::{Mutex, MutexGuard};

use super::PostgresStore;
use super::failure::store_error;
use super::pool::within_patience;
use super::reads::Statement;
use super::rows::{self, IdBytes};
use crate::store::activity::Activity;
use crate::store::budget_statements::{IS_HELD, RELEASE, bound_statements, charge_holds, end_holds, select_dead_holds};
use crate::store::budgets::{FOLDED_AT_ONCE, NO_HOLD, Standing, usage_rows};

macro_rules! capped_sum {
    ($value:literal) => {
        concat!(
            "CAST(LEAST(COALESCE(sum(",
            $value,
            "), 0), 9007199254740991) AS BIGINT)"
        )
    };
}

macro_rules! capped {
    ($sum:literal) => {
        concat!("LEAST(", $sum, ", 9007199254740991)")
    };
}

bound_statements!(capped_sum, capped, " FOR SHARE OF runs");

const CHARGE_HOLDS: &str = charge_holds!("runs.id = ANY($1)");
const END_HOLDS: &str = end_holds!("runs.id = ANY($1)");

const LOCK: &str = "SELECT account FROM budgets WHERE account = $1 FOR UPDATE";
const ADD_BUDGET: &str = "INSERT INTO budgets (account) VALUES ($1) ON CONFLICT (account) DO NOTHING";

/// A hold that a commit ends or its call releases at this moment is passed over.
const FORGET_DEAD_HOLDS: &str = concat!(
    "DELETE FROM budget_holds WHERE id IN (",
    select_dead_holds!(),
    " LIMIT $1 FOR UPDATE OF budget_holds SKIP LOCKED)"
);

/// So many accounts' holds at once, at most.
const DESKS: usize = 32;

/// Where holds stand in line before they take a connection: those of one account would wait for each other in the database anyway, with a
/// connection each that others could use.
#[derive(Debug, Clone)]
pub(super) struct Desks(Arc<[Mutex<()>]>);

impl Desks {
    pub(super) fn new() -> Self {
        Self((0..DESKS).map(|_| Mutex::default()).collect())
    }

    async fn turn(&self, account: &AccountId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        account.hash(&mut hasher);
        let desk = usize::try_from(hasher.finish() % self.0.len() as u64).unwrap_or(0);
        self.0[desk].lock().await
    }
}

/// A connection whose statements are counted.
pub(super) struct Counted<'c> {
    connection: &'c mut PgConnection,
    activity: &'c Activity,
}

impl Counted<'_> {
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.activity.count_statements(1);
        let done = statement.execute(&mut *self.connection).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }

    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, StoreError> {
        self.activity.count_statements(1);
        statement
            .fetch_optional(&mut *self.connection)
            .await
            .map_err(store_error)
    }

    /// Locks the account's budget. What the statements after this one see is what it is until the end of the transaction.
    async fn lock(&mut self, account: &AccountId) -> Result<(), StoreError> {
        let lock = || sqlx::query(LOCK).bind(account.as_str().to_owned());
        if self.row(lock()).await?.is_none() {
            self.execute(sqlx::query(ADD_BUDGET).bind(account.as_str())).await?;
            self.row(lock()).await?;
        }
        Ok(())
    }

    async fn take(&mut self, hold: &NewHold) -> Result<HoldOutcome, StoreError> {
        self.lock(&hold.account).await?;
        let look = standing(&hold.account, hold.id, hold.limits.period, hold.at);
        let row = self.row(look).await?.ok_or_else(|| rows::damaged("a sum"))?;
        let standing = Standing::read(&row)?;
        if standing.has_much_to_fold() {
            self.fold(&hold.account, i64::MAX, FOLDED_AT_ONCE).await?;
        }
        if let Some(refusal) = standing.refusal(hold) {
            return Ok(refusal);
        }
        if self.execute(take_hold(hold)).await? > 0 {
            return Ok(HoldOutcome::Held);
        }
        let row = self.row(sqlx::query(IS_HELD).bind(hold.id.id_bytes())).await?;
        let row = row.ok_or_else(|| rows::damaged("a count"))?;
        if rows::get::<i64>(&row, "holds")? > 0 {
            return Ok(HoldOutcome::Held);
        }
        Err(StoreError::Fenced)
    }

    async fn add_top_up(&mut self, top_up: &TopUp) -> Result<(), StoreError> {
        let [add, count] = add_top_up(top_up);
        if self.execute(add).await? > 0 {
            self.execute(count).await?;
        }
        Ok(())
    }

    /// Folds at most `limit` charges of the account made before this, and says how many. Its budget is locked.
    async fn fold(&mut self, account: &AccountId, before: i64, limit: u32) -> Result<u64, StoreError> {
        let count = self.execute(begin_folding(account, before, limit)).await?;
        if count > 0 {
            for text in FOLD {
                self.execute(sqlx::query(text).bind(account.as_str())).await?;
            }
        }
        Ok(count)
    }
}

/// Before the epochs of these running runs, which are locked, are ended by another than their owners: charges by estimate what they hold.
pub(super) async fn charge_holds_of(connection: &mut PgConnection, runs: &[Vec<u8>]) -> Result<(), StoreError> {
    for text in [CHARGE_HOLDS, END_HOLDS] {
        let statement = sqlx::query(text).bind(runs);
        statement.execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

impl PostgresStore {
    /// Does it in a transaction of its own. If it is refused, nothing is kept.
    pub(super) async fn in_transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut Counted<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let done = within_patience(async {
            let mut transaction = lent.begin().await.map_err(store_error)?;
            let mut counted = Counted {
                connection: &mut transaction,
                activity: &self.activity,
            };
            let answer = match work(&mut counted).await {
                // Said by us, not by the database.
                Err(StoreError::Fenced) => {
                    transaction.rollback().await.map_err(store_error)?;
                    return Ok(Err(StoreError::Fenced));
                }
                answer => answer?,
            };
            transaction.commit().await.map_err(store_error)?;
            self.activity.count_commit();
            Ok(Ok(answer))
        })
        .await;
        lent.give_back(done)?
    }
}

#[async_trait]
impl Budgets for PostgresStore {
    async fn hold(&self, hold: NewHold) -> Result<HoldOutcome, StoreError> {
        let _turn = self.desks.turn(&hold.account).await;
        self.in_transaction(async |transaction| transaction.take(&hold).await)
            .await
    }

    async fn release(&self, hold: ModelCallId) -> Result<(), StoreError> {
        self.activity.count_statements(1);
        let release = sqlx::query(RELEASE).bind(hold.id_bytes());
        self.readers.pool().execute(release).await?;
        Ok(())
    }

    async fn top_up(&self, top_up: TopUp) -> Result<(), StoreError> {
        self.in_transaction(async |transaction| transaction.add_top_up(&top_up).await)
            .await
    }

    async fn balance(&self, account: &AccountId, period: BudgetPeriod, at: Timestamp) -> Result<Balance, StoreError> {
        let row = self.readers.row(standing(account, NO_HOLD, period, at)).await?;
        Ok(Standing::read(&row.ok_or_else(|| rows::damaged("a sum"))?)?.balance)
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        usage_rows(&self.readers.rows(used(&query)).await?)
    }

    /// In transactions of one account each: after an error, some are folded. Forgets holds that do not count any more as well.
    async fn fold_charges(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.activity.count_statements(1);
        let forget = sqlx::query(FORGET_DEAD_HOLDS).bind(i64::from(FOLDED_AT_ONCE));
        self.readers.pool().execute(forget).await?;
        let mut folded = 0;
        while folded < u64::from(limit) {
            let left = u32::try_from(u64::from(limit) - folded).unwrap_or(u32::MAX);
            let find = to_fold(before, FOLDED_AT_ONCE.min(left));
            let mut count = 0;
            for row in self.readers.rows(find).await? {
                let (account, entries) = (rows::account(&row)?, rows::small(&row, "entries")?);
                let _turn = self.desks.turn(&account).await;
                count += self
                    .in_transaction(async |transaction| {
                        transaction.lock(&account).await?;
                        transaction.fold(&account, before.as_micros(), entries).await
                    })
                    .await?;
            }
            if count == 0 {
                break;
            }
            folded += count;
        }
        Ok(folded)
    }
}
