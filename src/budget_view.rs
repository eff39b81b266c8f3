//! An account's budget as `GET /api/v1/budget` and `callboard budgets show` tell of it.

use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::llm::{AccountBudget, WhenExhausted};
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::{Amount, Balance, BudgetLimits, BudgetPeriod};
use callboard_actors::time::Timestamp;
use serde::Serialize;

use crate::json_durations::{whole_milliseconds, whole_milliseconds_or_null};

/// An account and its budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct BudgetView {
    object: &'static str,
    pub(crate) account: AccountId,
    pub(crate) tier: String,
    /// `None`: it may use what it likes.
    pub(crate) budget: Option<PeriodView>,
}

/// A budget in the period that goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PeriodView {
    pub(crate) period: BudgetPeriod,
    /// The first day, UTC; `None` of one that is for ever.
    from: Option<String>,
    /// When the count begins anew.
    ends_at: Option<Timestamp>,
    when_exhausted: &'static str,
    pub(crate) limits: LimitsView,
    pub(crate) used: AmountView,
    pub(crate) held: AmountView,
    pub(crate) topped_up: AmountView,
    pub(crate) left: LimitsView,
}

/// An amount of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct AmountView {
    pub(crate) cost_usd: Money,
    pub(crate) tokens: u64,
    pub(crate) calls: u64,
    #[serde(rename = "call_time_ms", serialize_with = "whole_milliseconds")]
    pub(crate) call_time: Duration,
}

/// The same; `None` is no limit of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LimitsView {
    pub(crate) cost_usd: Option<Money>,
    pub(crate) tokens: Option<u64>,
    pub(crate) calls: Option<u64>,
    #[serde(rename = "call_time_ms", serialize_with = "whole_milliseconds_or_null")]
    pub(crate) call_time: Option<Duration>,
}

impl BudgetView {
    /// Of an account whose tier has no budget.
    pub(crate) fn unlimited(account: AccountId, tier: String) -> Self {
        Self {
            object: "budget",
            account,
            tier,
            budget: None,
        }
    }

    /// Of an account in the period that `at` is in.
    pub(crate) fn of(
        account: AccountId,
        tier: String,
        budget: &AccountBudget,
        balance: &Balance,
        at: Timestamp,
    ) -> Self {
        let BudgetLimits {
            period,
            cost,
            tokens,
            calls,
            call_time,
        } = budget.limits;
        let gone = balance.used.plus(balance.held);
        let more = balance.topped_up;
        let left = |limit: Option<u64>, more: u64, gone: u64| {
            limit.map(|limit| limit.saturating_add(more).saturating_sub(gone))
        };
        let budget = PeriodView {
            period,
            from: (period != BudgetPeriod::Forever).then(|| period.first_day(at).to_string()),
            ends_at: period.end(at),
            when_exhausted: match budget.when_exhausted {
                WhenExhausted::Fail => "fail",
                WhenExhausted::Wait => "wait",
            },
            limits: LimitsView {
                cost_usd: cost,
                tokens,
                calls,
                call_time,
            },
            used: balance.used.into(),
            held: balance.held.into(),
            topped_up: more.into(),
            left: LimitsView {
                cost_usd: cost.map(|limit| limit.plus(more.cost).minus(gone.cost)),
                tokens: left(tokens, more.tokens, gone.tokens),
                calls: left(calls, more.calls, gone.calls),
                call_time: call_time.map(|limit| {
                    let limit = limit.saturating_add(more.call_time);
                    limit.saturating_sub(gone.call_time)
                }),
            },
        };
        Self {
            object: "budget",
            account,
            tier,
            budget: Some(budget),
        }
    }
}

impl From<Amount> for AmountView {
    fn from(amount: Amount) -> Self {
        Self {
            cost_usd: amount.cost,
            tokens: amount.tokens,
            calls: amount.calls,
            call_time: amount.call_time,
        }
    }
}
