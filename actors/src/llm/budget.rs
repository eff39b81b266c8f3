//! The hold on an account's budget that each of its model calls takes before it is made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::call::ModelCall;
use super::estimate::most_input_tokens;
use super::price::Price;
use super::progress::{CallFailure, CallInProgress};
use super::route::Target;
use crate::event::WaitingReason;
use crate::ids::ModelCallId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::budgets::{Amount, BudgetKind, BudgetLimits, Budgets, CallEstimate, HoldOutcome, NewHold};
use crate::ports::{ModelError, ModelErrorKind, StoreError};
use crate::time::Timestamp;

/// An answer that may not have so many tokens is not worth asking for, even if no more can be had.
const FEWEST_OUTPUT_TOKENS: u64 = 64;

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

/// A hold that is given back when it is dropped, unless its call was shown to the run: then the run pays.
pub(super) struct BudgetHold {
    budgets: Arc<dyn Budgets>,
    io: Handle,
    id: ModelCallId,
    output_tokens: u64,
    is_cap: bool,
    call: Option<Arc<CallInProgress>>,
}

impl BudgetHold {
    /// Takes a hold for a call to any of these targets; `None` if the account has no budget.
    pub(super) async fn take(call: &ModelCall, targets: &[Arc<Target>]) -> Result<Option<Self>, CallFailure> {
        let Some(budgets) = &call.services.account_budgets else {
            return Ok(None);
        };
        let Some(budget) = budgets.by_tier.get(&call.wish.tier) else {
            return Ok(None);
        };
        let input = most_input_tokens(&call.wish.request);
        let wanted_output = call
            .wish
            .request
            .max_output_tokens
            .unwrap_or(call.wish.routes[0].calls.max_output_tokens);
        let usual_output = wanted_output.min(call.expected_output_tokens());
        let dearest = Dearest(targets);
        let give_up = Instant::now() + call.wish.routes[0].calls.longest_wait;
        let mut output = wanted_output;
        let mut look_after = FIRST_LOOK;
        loop {
            let id = ModelCallId::new();
            let hold = NewHold {
                id,
                run: call.wish.request.run_id,
                epoch: call.wish.epoch,
                account: call.wish.account.clone(),
                limits: budget.limits,
                amount: dearest.amount(input, output),
                estimate: dearest.estimate(call, call.likely_input_tokens.min(input), output.min(usual_output)),
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
                    output_tokens: output,
                    is_cap: output < wanted_output,
                    call: None,
                }));
            };
            let affordable = dearest.affordable(input, &budget.limits, used.plus(held), topped_up);
            let without_others = dearest.affordable(input, &budget.limits, used, topped_up);
            // An answer that is cut off ends its run: whoever can get more waits for it, and only the last one takes what there is.
            let fewest = match budget.when_exhausted {
                WhenExhausted::Fail => FEWEST_OUTPUT_TOKENS.min(wanted_output),
                WhenExhausted::Wait => usual_output,
            };
            let may_become_more = affordable < without_others && Instant::now() < give_up;
            let enough = if may_become_more { usual_output } else { fewest };
            if affordable >= enough && affordable < output {
                output = affordable;
                continue;
            }
            if kind == BudgetKind::CallTime || without_others < fewest || Instant::now() >= give_up {
                let wait = match budget.when_exhausted {
                    WhenExhausted::Fail => None,
                    WhenExhausted::Wait => Some(WaitingReason::Budget),
                };
                return Err(CallFailure::Budget { kind, wait });
            }
            // Other calls of the account hold it, and will use less than they hold.
            output = wanted_output;
            tokio::time::sleep(look_after).await;
            look_after = LONGEST_LOOK.min(look_after * 2);
        }
    }

    pub(super) const fn id(&self) -> ModelCallId {
        self.id
    }

    /// How long the answer may be.
    pub(super) const fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// Whether that is less than was asked for.
    pub(super) const fn is_cap(&self) -> bool {
        self.is_cap
    }

    pub(super) fn is_for(&mut self, call: &Arc<CallInProgress>) {
        self.call = Some(call.clone());
    }
}

impl Drop for BudgetHold {
    fn drop(&mut self) {
        if self.call.as_ref().is_some_and(|call| call.is_shown()) {
            return;
        }
        let (budgets, id) = (self.budgets.clone(), self.id);
        self.io.spawn(async move {
            if let Err(error) = budgets.release(id).await {
                tracing::warn!(%error, "a hold on a budget could not be given back; it ends with its run");
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

    fn amount(&self, input: u64, output: u64) -> Amount {
        let usage = Usage::of(input, output);
        Amount {
            cost: self.prices().map(|price| price.of(&usage)).max().unwrap_or_default(),
            tokens: usage.total(),
            calls: 1,
            call_time: Duration::ZERO,
        }
    }

    /// What a call is likely to use.
    fn estimate(&self, call: &ModelCall, input: u64, output: u64) -> CallEstimate {
        let Amount { cost, call_time, .. } = self.amount(input, output);
        let first = self.0.first();
        CallEstimate {
            model: call.wish.routes[0].name.to_string(),
            provider: first.map(|target| target.provider.name.to_string()).unwrap_or_default(),
            usage: Usage::of(input, output),
            cost,
            call_time,
        }
    }

    /// How many output tokens there is enough left for, after this much input.
    fn affordable(&self, input: u64, limits: &BudgetLimits, used: Amount, topped_up: Amount) -> u64 {
        if limits
            .calls
            .is_some_and(|limit| used.calls >= limit.saturating_add(topped_up.calls))
        {
            return 0;
        }
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
        by_tokens.min(by_cost)
    }
}

fn output_for(price: Price, input: u64, left: Money) -> u64 {
    let input_cost = price.of(&Usage::of(input, 0));
    if input_cost > left {
        return 0;
    }
    price.output_tokens_for(left.minus(input_cost)).unwrap_or(u64::MAX)
}

fn not_known(error: &StoreError) -> CallFailure {
    tracing::warn!(%error, "the store did not say what the account may still use");
    // Nothing is spent that might not be there; the call is made again after a while.
    CallFailure::Model(ModelError::new(
        ModelErrorKind::Connection,
        "the account's budget cannot be looked at at the moment",
    ))
}
