//! What goes in and out of a model call: the wish, what is heard meanwhile, how it may fail, and the bill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::budget::BudgetHold;
use super::line::WaitNotice;
use super::price::Price;
use super::route::{ModelRoute, Target};
use crate::event::WaitingReason;
use crate::ids::{AccountId, ModelCallId};
use crate::item::Usage;
use crate::money::Money;
use crate::ports::budgets::{BudgetKind, Charge};
use crate::ports::{ModelDelta, ModelError, ModelRequest};
use crate::time::Timestamp;

/// One answer that is wanted.
#[derive(Clone)]
pub struct CallWish {
    /// What was asked for, and what is taken instead, in order; at least one. Calls are made as the first says.
    pub routes: Vec<Arc<ModelRoute>>,
    /// What to ask. Tries are counted in it.
    pub request: ModelRequest,
    /// Who pays.
    pub account: AccountId,
    /// The account's tier.
    pub tier: String,
    /// The run's epoch.
    pub epoch: u64,
}

/// Whoever wants to know how a call is getting on.
#[async_trait]
pub trait CallListener: Send + Sync + 'static {
    /// Hears what happens, in order. The call goes on when this returns.
    async fn hear(&self, progress: ModelProgress);
}

/// What happens to a call.
#[derive(Debug)]
pub enum ModelProgress {
    /// There is no room at the moment.
    Waiting(WaitNotice),
    /// Pieces of the answer that came together, in order.
    Deltas {
        /// Whose answer.
        call: Arc<CallInProgress>,
        /// The pieces.
        pieces: Vec<ModelDelta>,
    },
    /// The try broke off; what it had said so far is void. Another provider is asked next.
    Rerouted {
        /// Which.
        provider: Arc<str>,
        /// Why.
        error: ModelError,
    },
    /// The try broke off; what it had said so far is void.
    Retrying {
        /// The number of the next try.
        attempt: u32,
        /// Why.
        error: ModelError,
        /// How long until then.
        delay: Duration,
    },
    /// There is no answer and will be none.
    Failed(CallFailure),
    /// The adapter panicked.
    Panicked,
}

/// Why a run gets no answer.
#[derive(Debug, Clone)]
pub enum CallFailure {
    /// A provider said so, or none could be reached.
    Model(ModelError),
    /// The limits of the keys leave no room; a sentence says more.
    Capacity(&'static str),
    /// The storage of files does not answer, and the request has pictures there.
    Files,
    /// The account's budget is used up: of this.
    Budget {
        /// Of what.
        kind: BudgetKind,
        /// What the run is to do about it, if not to fail.
        wait: Option<WaitingReason>,
    },
}

/// A try whose answer has begun: what the run needs to know of it to tell of it and to pay for it.
#[derive(Debug)]
pub struct CallInProgress {
    id: ModelCallId,
    model: Arc<str>,
    /// Who answers, as `config.toml` names it.
    pub provider: Arc<str>,
    price: Price,
    likely_input_tokens: u64,
    began: Instant,
    /// Whether that is no real model.
    pub is_simulated: bool,
    /// Nobody was asked: the answer was there.
    pub is_cached: bool,
    /// The answer may be no longer because the budget buys no more.
    pub is_capped_by_budget: bool,
    is_shown: AtomicBool,
}

impl CallInProgress {
    /// An answer that is there already.
    pub(super) fn cached(model: &Arc<str>, provider: &Arc<str>, is_simulated: bool) -> Self {
        Self {
            id: ModelCallId::new(),
            model: model.clone(),
            provider: provider.clone(),
            price: Price::default(),
            likely_input_tokens: 0,
            began: Instant::now(),
            is_simulated,
            is_cached: true,
            is_capped_by_budget: false,
            is_shown: AtomicBool::new(false),
        }
    }

    pub(super) fn begin(
        model: &Arc<str>,
        target: &Target,
        likely_input_tokens: u64,
        hold: Option<&BudgetHold>,
    ) -> Self {
        Self {
            id: hold.map_or_else(ModelCallId::new, BudgetHold::id),
            model: model.clone(),
            provider: target.provider.name.clone(),
            price: target.price,
            likely_input_tokens,
            began: Instant::now(),
            is_simulated: target.is_simulated(),
            is_cached: false,
            is_capped_by_budget: hold.is_some_and(BudgetHold::is_cap),
            is_shown: AtomicBool::new(false),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// From here on it has to be paid for.
    pub(super) fn show(&self) {
        self.is_shown.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_shown(&self) -> bool {
        self.is_shown.load(Ordering::Relaxed)
    }

    /// What this use costs.
    pub fn cost(&self, usage: &Usage) -> Money {
        self.price.of(usage)
    }

    /// The bill of a whole answer; of one that does not say what it used, an estimate. `None` if nobody was asked.
    pub fn charge(&self, usage: &Usage, answer_bytes: usize) -> Option<Charge> {
        if *usage == Usage::default() {
            return self.charge_broken(answer_bytes);
        }
        self.bill(*usage)
    }

    /// The bill of an answer that broke off after so many bytes: providers charge for what they have read and written.
    pub fn charge_broken(&self, answer_bytes: usize) -> Option<Charge> {
        self.bill(Usage::of(self.likely_input_tokens, (answer_bytes as u64).div_ceil(4)))
    }

    fn bill(&self, usage: Usage) -> Option<Charge> {
        (!self.is_cached).then(|| Charge {
            id: self.id,
            model: self.model.to_string(),
            provider: self.provider.to_string(),
            usage,
            cost: self.price.of(&usage),
            call_time: self.began.elapsed(),
            at: Timestamp::now(),
        })
    }
}
