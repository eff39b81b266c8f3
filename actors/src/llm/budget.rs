//! The hold on an account's budget that each of its model calls takes before it is made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::call::ModelCall;
use super::estimate::most_input_tokens;
use super::line::WaitNotice;
use super::price::Price;
use super::progress::{CallFailure, CallInProgress, ModelProgress};
use super::route::Target;
use crate::event::{ModelWaitingReason, WaitingReason};
use crate::ids::ModelCallId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::budgets::{Amount, BudgetKind, BudgetLimits, Budgets, CallEstimate, HoldOutcome, NewHold};
use crate::ports::{ModelError, ModelErrorKind, StoreError};
use crate::time::Timestamp;

/// A call that may not go so far is not worth making, even if no more can be had.
const LEAST: Extent = Extent {
    output_tokens: 64,
    time: Duration::from_secs(5),
};

/// Most calls take less. (How many tokens an answer usually has is configured.)
const USUAL_TIME: Duration = Duration::from_secs(60);

/// When a call whose budget is held by other calls looks first whether they have given some back; it doubles each time, up to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// The budgets of accounts.
#[derive(Clone)]
pub struct AccountBudgets {
    /// Who counts.
    pub budgets: Arc<dyn Budgets>,
    /// By tier; a tier that is not here has no budget.
    pub by_tier: HashMap<String, AccountBudget>,
}

/// What each account of a tier may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountBudget {
    /// How much, in which period.
    pub limits: BudgetLimits,
    /// What becomes of a run that has too little left for its next call.
    pub when_exhausted: WhenExhausted,
}

/// What becomes of a run whose account's budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenExhausted {
    /// It fails with `budget_exceeded`; what it has said is kept.
    Fail,
    /// It waits, without a Permit or a Slot, until there is more.
    Wait,
}

/// A hold that is given back when it is dropped, unless its call has begun to be answered: then the run pays.
pub(super) struct BudgetHold {
    budgets: Arc<dyn Budgets>,
    io: Handle,
    id: ModelCallId,
    extent: Extent,
    wanted: Extent,
    when_exhausted: WhenExhausted,
    call: Option<Arc<CallInProgress>>,
}

/// How far a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    output_tokens: u64,
    time: Duration,
}

impl Extent {
    fn least(self, other: Self) -> Self {
        Self {
            output_tokens: self.output_tokens.min(other.output_tokens),
            time: self.time.min(other.time),
        }
    }

    const fn covers(self, other: Self) -> bool {
        self.output_tokens >= other.output_tokens && self.time.as_nanos() >= other.time.as_nanos()
    }
}

impl BudgetHold {
    /// Takes a hold for a call to any of these targets; `None` if the account has no budget. While other calls hold what this one needs, it
    /// waits, and says so.
    pub(super) async fn take(call: &ModelCall, targets: &[Arc<Target>]) -> Result<Option<Self>, CallFailure> {
        let Some(budgets) = &call.services.account_budgets else {
            return Ok(None);
        };
        let Some(budget) = budgets.by_tier.get(&call.wish.tier) else {
            return Ok(None);
        };
        let settings = &call.wish.routes[0].calls;
        let input = most_input_tokens(&call.wish.request);
        let asked_for = call.wish.request.max_output_tokens;
        let wanted = Extent {
            output_tokens: asked_for.unwrap_or(settings.max_output_tokens),
            time: settings.timeouts.call,
        };
        let usual = wanted.least(Extent {
            output_tokens: settings.expected_output_tokens,
            time: USUAL_TIME,
        });
        // An answer that is cut off ends its run: whoever can get more waits for it, and only the last one takes what there is.
        let fewest = match budget.when_exhausted {
            WhenExhausted::Fail => wanted.least(LEAST),
            WhenExhausted::Wait => usual,
        };
        let dearest = Dearest(targets);
        let give_up = Instant::now() + settings.longest_wait;
        let mut extent = wanted;
        let mut look_after = FIRST_LOOK;
        loop {
            let id = ModelCallId::new();
            let hold = NewHold {
                id,
                run: call.wish.request.run_id,
                epoch: call.wish.epoch,
                account: call.wish.account.clone(),
                limits: budget.limits,
                amount: dearest.amount(input, extent),
                estimate: dearest.estimate(call, call.likely_input_tokens.min(input), usual.least(extent)),
                at: Timestamp::now(),
            };
            let outcome = budgets.budgets.hold(hold).await.map_err(|error| not_known(&error))?;
            let HoldOutcome::Exhausted {
                kind,
                used,
                held,
                topped_up,
            } = outcome
            else {
                return Ok(Some(Self {
                    budgets: budgets.budgets.clone(),
                    io: Handle::current(),
                    id,
                    extent,
                    wanted,
                    when_exhausted: budget.when_exhausted,
                    call: None,
                }));
            };
            let affordable = dearest.affordable(input, &budget.limits, used.plus(held), topped_up);
            let without_others = dearest.affordable(input, &budget.limits, used, topped_up);
            let may_become_more = affordable != without_others && Instant::now() < give_up;
            let enough = if may_become_more { usual } else { fewest };
            if affordable.covers(enough) && !affordable.covers(extent) {
                extent = extent.least(affordable);
                continue;
            }
            if !without_others.covers(fewest) || Instant::now() >= give_up {
                return Err(exhausted(kind, budget.when_exhausted));
            }
            extent = wanted;
            tokio::time::sleep(look_after).await;
            if look_after == FIRST_LOOK {
                let notice = WaitNotice {
                    reason: ModelWaitingReason::Budget,
                    estimate: LONGEST_LOOK,
                };
                call.listener.hear(ModelProgress::Waiting(notice)).await;
            }
            look_after = LONGEST_LOOK.min(look_after * 2);
        }
    }

    pub(super) const fn id(&self) -> ModelCallId {
        self.id
    }

    /// How long the answer may be.
    pub(super) const fn output_tokens(&self) -> u64 {
        self.extent.output_tokens
    }

    /// How long the call may take.
    pub(super) const fn time(&self) -> Duration {
        self.extent.time
    }

    /// Whether the answer may be less long than was asked for.
    pub(super) const fn is_cap(&self) -> bool {
        self.extent.output_tokens < self.wanted.output_tokens
    }

    /// What a call ends with that has taken so long, if it may take no longer because the budget buys no more.
    pub(super) fn out_of_time(&self, taken: Duration) -> Option<CallFailure> {
        let is_over = self.extent.time < self.wanted.time && taken >= self.extent.time;
        is_over.then(|| exhausted(BudgetKind::CallTime, self.when_exhausted))
    }

    pub(super) fn is_for(&mut self, call: &Arc<CallInProgress>) {
        self.call = Some(call.clone());
    }
}

fn exhausted(kind: BudgetKind, when_exhausted: WhenExhausted) -> CallFailure {
    let wait = match when_exhausted {
        WhenExhausted::Fail => None,
        WhenExhausted::Wait => Some(WaitingReason::Budget),
    };
    CallFailure::Budget { kind, wait }
}

impl Drop for BudgetHold {
    fn drop(&mut self) {
        if self.call.as_ref().is_some_and(|call| call.is_shown()) {
            return;
        }
        let (budgets, id) = (self.budgets.clone(), self.id);
        self.io.spawn(async move {
            if let Err(error) = budgets.release(id).await {
                tracing::debug!(%error, "a hold on a budget could not be given back; it ends with its run");
            }
        });
    }
}

/// The targets a call may go to: it may be the dearest that answers.
struct Dearest<'a>(&'a [Arc<Target>]);

impl Dearest<'_> {
    fn prices(&self) -> impl Iterator<Item = Price> {
        self.0.iter().map(|target| target.price)
    }

    fn amount(&self, input: u64, extent: Extent) -> Amount {
        let cost = self
            .prices()
            .map(|price| price.at_most(input, extent.output_tokens))
            .max();
        Amount {
            cost: cost.unwrap_or_default(),
            tokens: input.saturating_add(extent.output_tokens),
            calls: 1,
            call_time: extent.time,
        }
    }

    /// What a call is likely to use: no more than it holds.
    fn estimate(&self, call: &ModelCall, input: u64, extent: Extent) -> CallEstimate {
        let usage = Usage::of(input, extent.output_tokens);
        let first = self.0.first();
        CallEstimate {
            model: call.wish.routes[0].name.to_string(),
            provider: first.map(|target| target.provider.name.to_string()).unwrap_or_default(),
            cost: self.prices().map(|price| price.of(&usage)).max().unwrap_or_default(),
            usage,
            call_time: extent.time,
        }
    }

    /// How far a call may go after this much input with what is left.
    fn affordable(&self, input: u64, limits: &BudgetLimits, used: Amount, topped_up: Amount) -> Extent {
        let has_call = limits
            .calls
            .is_none_or(|limit| used.calls < limit.saturating_add(topped_up.calls));
        let by_tokens = limits.tokens.map_or(u64::MAX, |limit| {
            let left = limit.saturating_add(topped_up.tokens).saturating_sub(used.tokens);
            left.saturating_sub(input)
        });
        let by_cost = limits.cost.map_or(u64::MAX, |limit| {
            let left = limit.plus(topped_up.cost).minus(used.cost);
            self.prices()
                .map(|price| output_for(price, input, left))
                .min()
                .unwrap_or(u64::MAX)
        });
        let time = limits.call_time.map_or(Duration::MAX, |limit| {
            let limit = limit.saturating_add(topped_up.call_time);
            limit.saturating_sub(used.call_time)
        });
        Extent {
            output_tokens: if has_call { by_tokens.min(by_cost) } else { 0 },
            time,
        }
    }
}

fn output_for(price: Price, input: u64, left: Money) -> u64 {
    let input_cost = price.at_most(input, 0);
    if input_cost > left {
        return 0;
    }
    price.output_tokens_for(left.minus(input_cost)).unwrap_or(u64::MAX)
}

fn not_known(error: &StoreError) -> CallFailure {
    match error {
        // The store tells of that itself, once for all calls.
        StoreError::Unavailable(_) => tracing::debug!(%error, "the store did not say what the account may still use"),
        _ => tracing::error!(%error, "the store did not say what the account may still use"),
    }
    // Nothing is spent that might not be there; the call is made again after a while.
    CallFailure::Model(ModelError::new(
        ModelErrorKind::Connection,
        "the account's budget cannot be looked at at the moment",
    ))
}
