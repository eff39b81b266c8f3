//! Runs that wait because their account's budget is used up: they go on when there is more, after a top-up or in the next period.
//!
//! In a fleet every instance looks after all of them. The store sees to it that each goes back into the queue once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::llm::{AccountBudget, AccountBudgets, WhenExhausted};
use callboard_actors::ports::budgets::{Amount, Balance};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::time::Timestamp;
use jiff::civil::Date;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often the accounts of waiting runs are looked at: how late a top-up may count.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs that are looked at together.
const RUNS_AT_ONCE: u32 = 500;

/// The least that a model call takes.
const LEAST_CALL: Amount = Amount {
    cost: callboard_actors::money::Money::ZERO,
    tokens: 1,
    calls: 1,
    call_time: Duration::from_secs(1),
};

/// Gives a waiting run its place in the queue: a seam for tests.
#[async_trait]
pub(crate) trait Resume: Send + Sync + 'static {
    /// `false`: it does not wait (any more).
    async fn resume(&self, run: RunId) -> Result<bool, StoreError>;
}

#[async_trait]
impl Resume for SupervisorHandle {
    async fn resume(&self, run: RunId) -> Result<bool, StoreError> {
        Self::resume(self, run).await
    }
}

/// Goes on until it is dropped.
pub(crate) struct BudgetWatch {
    _task: JoinSet<()>,
}

impl BudgetWatch {
    /// Begins on the runtime to which the store's connections belong; `None` if no run ever waits for a budget.
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        budgets: Option<&AccountBudgets>,
        supervisor: &SupervisorHandle,
        io: &Handle,
    ) -> Option<Self> {
        let waits = |budget: &AccountBudget| budget.when_exhausted == WhenExhausted::Wait;
        let budgets = budgets.filter(|budgets| budgets.by_tier.values().any(waits))?;
        let mut watcher = Watcher {
            store: store.clone(),
            budgets: budgets.clone(),
            resume: Arc::new(supervisor.clone()),
            known: HashMap::new(),
        };
        let mut task = JoinSet::new();
        task.spawn_on(
            async move {
                let mut ticks = tokio::time::interval(INTERVAL);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    if let Err(error) = watcher.look(Timestamp::now()).await {
                        tracing::warn!(%error, "runs that wait for a budget could not be looked at; trying again");
                    }
                }
            },
            io,
        );
        Some(Self { _task: task })
    }
}

struct Watcher {
    store: Arc<dyn Store>,
    budgets: AccountBudgets,
    resume: Arc<dyn Resume>,
    /// What each account with waiting runs had when they were last let go on.
    known: HashMap<AccountId, Standing>,
}

/// How an account stands, as far as it can make a run go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    period: Date,
    used_and_held: Amount,
    topped_up: Amount,
}

impl Standing {
    fn of(balance: &Balance, budget: &AccountBudget, at: Timestamp) -> Self {
        Self {
            period: budget.limits.period.first_day(at),
            used_and_held: balance.used.plus(balance.held),
            topped_up: balance.topped_up,
        }
    }

    /// Whether a run that found too little then may find enough now.
    fn is_better_than(&self, before: &Self) -> bool {
        let more = |now: Amount, then: Amount| {
            now.cost > then.cost || now.tokens > then.tokens || now.calls > then.calls || now.call_time > then.call_time
        };
        self.period != before.period
            || more(self.topped_up, before.topped_up)
            || more(before.used_and_held, self.used_and_held)
    }
}

impl Watcher {
    /// Looks at all waiting runs once, those that have waited longest first.
    async fn look(&mut self, at: Timestamp) -> Result<(), StoreError> {
        let mut waiting: HashMap<AccountId, Vec<RunId>> = HashMap::new();
        let mut after = None;
        loop {
            let runs = self.store.runs_waiting_for_budget(after, RUNS_AT_ONCE).await?;
            after = runs.last().map(|(run, _)| *run);
            let is_last = runs.len() < RUNS_AT_ONCE as usize;
            for (run, account) in runs {
                waiting.entry(account).or_default().push(run);
            }
            if is_last {
                break;
            }
        }
        self.known.retain(|account, _| waiting.contains_key(account));
        for (account, runs) in waiting {
            self.look_at(&account, &runs, at).await?;
        }
        Ok(())
    }

    /// An account's runs go on together: what is enough for one call of each is found out by trying.
    async fn look_at(&mut self, account: &AccountId, runs: &[RunId], at: Timestamp) -> Result<(), StoreError> {
        let Some(first) = self.store.run(runs[0]).await? else {
            return Ok(());
        };
        // An account whose tier has no budget any more has nothing to wait for.
        if let Some(budget) = self.budgets.by_tier.get(&first.tier) {
            let balance = self.budgets.budgets.balance(account, budget.limits.period, at).await?;
            let standing = Standing::of(&balance, budget, at);
            let is_news = self
                .known
                .get(account)
                .is_none_or(|before| standing.is_better_than(before));
            let is_enough = budget
                .limits
                .exceeded_by(standing.used_and_held, LEAST_CALL, standing.topped_up)
                .is_none();
            if !is_news || !is_enough {
                return Ok(());
            }
            self.known.insert(account.clone(), standing);
        }
        for run in runs {
            self.resume.resume(*run).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
