//! Holds and charges to test with, and what is asked of them again and again.

use std::time::Duration;

use super::FreshBudgets;
use crate::ids::ModelCallId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::StoreError;
use crate::ports::budgets::{
    Amount, Balance, BudgetLimits, BudgetPeriod, CallEstimate, Charge, HoldOutcome, NewHold, UsageQuery, UsageRow,
};
use crate::ports::store::{RunCommit, RunRecord};
use crate::testing::store_conformance::fixtures::{account, delta_commit, record, running};
use crate::time::Timestamp;

/// No limit, each month anew.
pub(in crate::testing) const UNLIMITED: BudgetLimits = BudgetLimits {
    period: BudgetPeriod::Month,
    cost: None,
    tokens: None,
    calls: None,
    call_time: None,
};

pub(super) fn tokens_limit(tokens: u64) -> BudgetLimits {
    BudgetLimits {
        tokens: Some(tokens),
        ..UNLIMITED
    }
}

/// One call of so many tokens, each of which costs a millionth of a dollar.
pub(super) fn amount(tokens: u64) -> Amount {
    Amount {
        cost: Money::from_nanos(tokens.saturating_mul(1000)),
        tokens,
        calls: 1,
        call_time: Duration::ZERO,
    }
}

/// The sum of so many such calls.
pub(super) fn amounts(calls: u64, tokens: u64) -> Amount {
    Amount {
        calls,
        ..amount(tokens)
    }
}

/// A hold of the run for a call of so many tokens.
pub(in crate::testing) fn new_hold(run: &RunRecord, limits: BudgetLimits, tokens: u64) -> NewHold {
    NewHold {
        id: ModelCallId::new(),
        run: run.id,
        epoch: run.epoch,
        account: run.account.clone(),
        limits,
        amount: amount(tokens),
        estimate: estimate(tokens / 2),
        at: Timestamp::now(),
    }
}

fn estimate(tokens: u64) -> CallEstimate {
    let Charge {
        model,
        provider,
        usage,
        cost,
        ..
    } = charge_of(ModelCallId::new(), tokens);
    CallEstimate {
        model,
        provider,
        usage,
        cost,
        call_time: Duration::from_micros(tokens),
    }
}

/// What the hold is charged for if nobody can tell what its call used.
pub(in crate::testing) fn estimated(hold: &NewHold) -> Charge {
    let estimate = hold.estimate.clone();
    Charge {
        id: hold.id,
        model: estimate.model,
        provider: estimate.provider,
        usage: estimate.usage,
        cost: estimate.cost,
        call_time: estimate.call_time,
        at: hold.at,
    }
}

/// What a call used that held as much: so many tokens.
pub(super) fn charge_of(id: ModelCallId, tokens: u64) -> Charge {
    Charge {
        id,
        model: "fast".into(),
        provider: "simulated".into(),
        usage: Usage::of(tokens / 2, tokens - tokens / 2),
        cost: amount(tokens).cost,
        call_time: Duration::ZERO,
        at: Timestamp::now(),
    }
}

/// A step with these charges.
pub(super) fn charging(run: &RunRecord, charges: Vec<Charge>) -> RunCommit {
    RunCommit {
        charges,
        ..delta_commit(run, 1)
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().expect("a point in time");
    Timestamp::from_micros(time.as_microsecond())
}

impl FreshBudgets {
    /// A run that runs under epoch 1.
    pub(super) async fn running(&self, account_name: &str) -> RunRecord {
        running(&self.store, account_name).await
    }

    pub(super) async fn hold(&self, hold: &NewHold) -> Result<HoldOutcome, StoreError> {
        self.budgets.hold(hold.clone()).await
    }

    /// Takes a hold that there is room for.
    pub(super) async fn held(&self, hold: &NewHold) {
        assert_eq!(self.hold(hold).await, Ok(HoldOutcome::Held));
    }

    /// Writes a step of the run, as it is now, with these charges.
    pub(super) async fn charge(&self, run: &RunRecord, charges: Vec<Charge>) -> RunCommit {
        let now = record(&self.store, run.id).await;
        let step = charging(&now, charges);
        self.store.commit(step.clone()).await.expect("written");
        step
    }

    /// How the account stands this month.
    pub(super) async fn balance(&self, account_name: &str) -> Balance {
        self.balance_at(account_name, BudgetPeriod::Month, Timestamp::now())
            .await
    }

    pub(super) async fn balance_at(&self, account_name: &str, period: BudgetPeriod, at: Timestamp) -> Balance {
        let balance = self.budgets.balance(&account(account_name), period, at).await;
        balance.expect("the store answers")
    }

    /// All that was ever used, by everyone or by this account.
    pub(super) async fn usage(&self, account_name: Option<&str>) -> Vec<UsageRow> {
        let query = UsageQuery {
            account: account_name.map(account),
            from: jiff::civil::date(1970, 1, 1),
            to: jiff::civil::date(9999, 12, 31),
        };
        self.budgets.usage(query).await.expect("the store answers")
    }

    /// Folds all there is, and says how many charges.
    pub(super) async fn fold_all(&self) -> u64 {
        let folded = self
            .budgets
            .fold_charges(Timestamp::from_micros(i64::MAX), u32::MAX)
            .await;
        folded.expect("the store answers")
    }
}
