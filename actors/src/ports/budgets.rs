//! Port `Budgets`: what accounts have used and what they may still use. Kept by the store, in the transactions that write the runs.
//!
//! Contract (the conformance suite tries to break each line):
//! - A hold is atomic: it is taken whole, or not at all. However many are asked for at once, what an account has used in a period, plus
//!   what its holds hold, never exceeds its limits and top-ups.
//! - A hold counts as long as its run is `running` under the epoch that took it, and until it is charged or released. What becomes of a
//!   run, no hold outlives it. Who asks for a run that is not `running` under this epoch is answered `Fenced`. The same hold
//!   twice is one.
//! - Where an epoch is ended by another than its owner (recovery, take-over, a run whose actor is gone), nobody knows what became of
//!   its calls: in the same transaction each of its holds becomes a charge of its [`CallEstimate`], in the period in which it was taken,
//!   whether its call was under way or still waiting in line. An owner that ends its epoch itself has charged what was used: what is
//!   still held then ends without a charge.
//! - A [`Charge`] travels in the commit of its run's step ([`crate::ports::store::RunCommit::charges`]): both are durable, or neither. It
//!   ends the hold with its id. The same charge twice is one.
//! - A charge counts in the period of its time, and is in what [`Budgets::usage`] says, for ever.
//! - What is counted stops at 2^53 - 1, whatever the unit (of time: microseconds): no sum fails, and none falls.

use std::time::Duration;

use async_trait::async_trait;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, ModelCallId, RunId};
use crate::item::Usage;
use crate::money::Money;
use crate::ports::StoreError;
use crate::time::Timestamp;

/// What accounts have used and what they may still use.
#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// Takes a hold for one model call.
    async fn hold(&self, hold: NewHold) -> Result<HoldOutcome, StoreError>;

    /// Gives a hold back without a charge; without effect if there is none.
    async fn release(&self, hold: ModelCallId) -> Result<(), StoreError>;

    /// Adds to what the account may use in the period that `at` is in. The same id twice is one.
    async fn top_up(&self, top_up: TopUp) -> Result<(), StoreError>;

    /// What the account has used in the period that `at` is in, and what it has been given beside its limits.
    async fn balance(&self, account: &AccountId, period: BudgetPeriod, at: Timestamp) -> Result<Balance, StoreError>;

    /// What was used, by day, account, model and provider, in this order.
    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// Sums charges made before this up into days: at most `limit` of them. Changes nothing that the other methods say. Says how many.
    async fn fold_charges(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Something that is counted: what a call may use, what an account has used, what it may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// US dollars.
    pub cost: Money,
    /// Tokens, read and written.
    pub tokens: u64,
    /// Model calls.
    pub calls: u64,
    /// How long calls took, one after the other.
    pub call_time: Duration,
}

impl Amount {
    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cost: self.cost.plus(other.cost),
            tokens: self.tokens.saturating_add(other.tokens),
            calls: self.calls.saturating_add(other.calls),
            call_time: self.call_time.saturating_add(other.call_time),
        }
    }
}

/// What an account may use in a period; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// After which the count begins anew.
    pub period: BudgetPeriod,
    /// US dollars.
    pub cost: Option<Money>,
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// Model calls.
    pub calls: Option<u64>,
    /// How long calls take, one after the other.
    pub call_time: Option<Duration>,
}

impl BudgetLimits {
    /// The first limit that `used` and `wanted` together would exceed, if `topped_up` counts on top of each.
    pub fn exceeded_by(&self, used: Amount, wanted: Amount, topped_up: Amount) -> Option<BudgetKind> {
        let sum = used.plus(wanted);
        let over = |is: u64, limit: Option<u64>, more: u64| limit.is_some_and(|limit| is > limit.saturating_add(more));
        if over(sum.calls, self.calls, topped_up.calls) {
            return Some(BudgetKind::Calls);
        }
        if over(sum.tokens, self.tokens, topped_up.tokens) {
            return Some(BudgetKind::Tokens);
        }
        if self.cost.is_some_and(|limit| sum.cost > limit.plus(topped_up.cost)) {
            return Some(BudgetKind::Cost);
        }
        let time_limit = self.call_time.map(|limit| limit.saturating_add(topped_up.call_time));
        time_limit
            .is_some_and(|limit| sum.call_time > limit)
            .then_some(BudgetKind::CallTime)
    }
}

/// When a budget begins anew. Days and months are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// At midnight.
    Day,
    /// At midnight before the first.
    Month,
    /// Never: what is used is used.
    Forever,
}

impl BudgetPeriod {
    /// The first day of the period that `at` is in.
    pub fn first_day(self, at: Timestamp) -> Date {
        let day = at.utc_day();
        match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
            Self::Forever => Date::constant(1970, 1, 1),
        }
    }

    /// When the period that `at` is in ends.
    pub fn end(self, at: Timestamp) -> Option<Timestamp> {
        let first_day = self.first_day(at);
        let next = match self {
            Self::Day => first_day.tomorrow().ok()?,
            Self::Month => first_day.last_of_month().tomorrow().ok()?,
            Self::Forever => return None,
        };
        let midnight = next.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp::from_micros(midnight.timestamp().as_microsecond()))
    }
}

/// Which limit of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetKind {
    /// US dollars.
    Cost,
    /// Tokens.
    Tokens,
    /// Model calls.
    Calls,
    /// How long calls take.
    CallTime,
}

/// A hold to be taken.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// The call it is for; its charge has the same.
    pub id: ModelCallId,
    /// Whose call.
    pub run: RunId,
    /// The run's epoch.
    pub epoch: u64,
    /// Who pays.
    pub account: AccountId,
    /// The account's limits.
    pub limits: BudgetLimits,
    /// What the call may use at most.
    pub amount: Amount,
    /// What the call is charged for if its owner is lost before it can tell.
    pub estimate: CallEstimate,
    /// Now.
    pub at: Timestamp,
}

/// What a call is likely to use; not more than its hold holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEstimate {
    /// The name that the run asked for.
    pub model: String,
    /// The provider that is asked first.
    pub provider: String,
    /// Tokens: input and output, nothing more is kept.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
    /// How long the call takes.
    pub call_time: Duration,
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// It is taken.
    Held,
    /// There is not enough left.
    Exhausted {
        /// Of what.
        kind: BudgetKind,
        /// What the account has used in this period.
        used: Amount,
        /// What other holds hold: it may come back.
        held: Amount,
        /// What it was given beside its limits.
        topped_up: Amount,
    },
}

/// What one model call used.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// The call; of its hold, if it has one.
    pub id: ModelCallId,
    /// The name that the run asked for.
    pub model: String,
    /// The provider that answered.
    pub provider: String,
    /// Tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
    /// How long the call took.
    pub call_time: Duration,
    /// When it ended.
    pub at: Timestamp,
}

impl Charge {
    /// What it counts for.
    pub fn amount(&self) -> Amount {
        Amount {
            cost: self.cost,
            tokens: self.usage.total(),
            calls: 1,
            call_time: self.call_time,
        }
    }
}

/// More for an account, in one period.
#[derive(Debug, Clone)]
pub struct TopUp {
    /// Tells top-ups apart.
    pub id: ModelCallId,
    /// Whose.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
    /// When; the period is the one that this is in.
    pub at: Timestamp,
}

/// How an account stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Used in this period.
    pub used: Amount,
    /// Held by calls under way.
    pub held: Amount,
    /// Given beside the limits, in this period.
    pub topped_up: Amount,
}

/// What usage to tell of.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// Whose; `None` is everyone's.
    pub account: Option<AccountId>,
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
}

/// What was used on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// UTC.
    pub day: Date,
    /// By whom.
    pub account: AccountId,
    /// The name that was asked for.
    pub model: String,
    /// Who answered.
    pub provider: String,
    /// Calls.
    pub calls: u64,
    /// Tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
    /// How long the calls took, one after the other.
    pub call_time: Duration,
}
