//! Random operations against a model of what the budgets must say.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amounts, at, charge_of, charging, estimated, new_hold};
use crate::ids::{InstanceId, ModelCallId, RunId};
use crate::ports::StoreError;
use crate::ports::budgets::{Amount, Balance, BudgetLimits, BudgetPeriod, Charge, HoldOutcome, NewHold, TopUp};
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::{account, move_commit, record};
use crate::time::Timestamp;

const PERIODS: [BudgetPeriod; 3] = [BudgetPeriod::Day, BudgetPeriod::Month, BudgetPeriod::Forever];
const NOW: &str = "2028-02-29T12:00:00Z";
/// Today, this month, and before.
const MOMENTS: [&str; 3] = [
    "2028-02-29T00:00:00Z",
    "2028-02-01T00:00:00Z",
    "2028-01-31T23:59:59.999999Z",
];

#[derive(Debug, Clone)]
enum Step {
    Start,
    Hold {
        run: usize,
        tokens: u64,
        limit: u64,
        period: usize,
    },
    Release {
        hold: usize,
    },
    Charge {
        run: usize,
        hold: Option<usize>,
        tokens: u64,
        moment: usize,
    },
    ChargeAgain {
        charge: usize,
    },
    Move {
        run: usize,
        to: RunState,
    },
    TakeOver,
    TopUp {
        tokens: u64,
        moment: usize,
    },
    Fold {
        limit: u32,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (run, hold) = (0..6_usize, 0..20_usize);
    let tokens = 0..50_u64;
    let left = proptest::sample::select(&[RunState::Completed, RunState::Waiting, RunState::Queued][..]);
    prop_oneof![
        2 => Just(Step::Start),
        8 => (run.clone(), tokens.clone(), 0..200_u64, 0..3_usize)
            .prop_map(|(run, tokens, limit, period)| Step::Hold { run, tokens, limit, period }),
        3 => hold.clone().prop_map(|hold| Step::Release { hold }),
        6 => (run.clone(), proptest::option::of(hold.clone()), tokens.clone(), 0..3_usize)
            .prop_map(|(run, hold, tokens, moment)| Step::Charge { run, hold, tokens, moment }),
        2 => hold.prop_map(|charge| Step::ChargeAgain { charge }),
        1 => (run, left).prop_map(|(run, to)| Step::Move { run, to }),
        1 => Just(Step::TakeOver),
        1 => (tokens, 0..3_usize).prop_map(|(tokens, moment)| Step::TopUp { tokens, moment }),
        3 => (0..5_u32).prop_map(|limit| Step::Fold { limit }),
    ]
}

#[derive(Debug)]
struct Model {
    account: String,
    /// Each with its epoch, if it runs.
    runs: Vec<(RunId, Option<u64>)>,
    holds: Vec<NewHold>,
    released: Vec<ModelCallId>,
    charges: Vec<(RunId, Charge)>,
    top_ups: Vec<(u64, Timestamp)>,
}

impl Model {
    fn balance(&self, period: BudgetPeriod) -> Balance {
        let first = period.first_day(at(NOW));
        let counts = |moment: Timestamp| moment.utc_day() >= first;
        let mut balance = Balance::default();
        for (_, charge) in self.charges.iter().filter(|(_, charge)| counts(charge.at)) {
            balance.used = balance.used.plus(charge.amount());
        }
        for (tokens, _) in self.top_ups.iter().filter(|(_, moment)| counts(*moment)) {
            balance.topped_up = balance.topped_up.plus(amounts(1, *tokens));
        }
        for hold in self.counting_holds() {
            balance.held = balance.held.plus(hold.amount);
        }
        balance
    }

    fn counting_holds(&self) -> impl Iterator<Item = &NewHold> {
        self.holds.iter().filter(|hold| {
            let runs = self.runs.contains(&(hold.run, Some(hold.epoch)));
            let is_charged = self.charges.iter().any(|(_, charge)| charge.id == hold.id);
            runs && !is_charged && !self.released.contains(&hold.id)
        })
    }

    /// One step on both; they must say the same.
    async fn step(&mut self, fresh: &FreshBudgets, step: &Step) {
        match *step {
            Step::Start => {
                let run = fresh.running(&self.account).await;
                self.runs.push((run.id, Some(1)));
            }
            Step::Hold {
                run,
                tokens,
                limit,
                period,
            } if run < self.runs.len() => {
                self.hold(fresh, self.runs[run], tokens, limit, PERIODS[period]).await;
            }
            Step::Release { hold } if hold < self.holds.len() => {
                let id = self.holds[hold].id;
                fresh.budgets.release(id).await.expect("the store answers");
                self.released.push(id);
            }
            Step::Charge {
                run,
                hold,
                tokens,
                moment,
            } if run < self.runs.len() => {
                // Only its own run charges a hold.
                let of_run = |index: usize| self.holds.get(index).filter(|hold| hold.run == self.runs[run].0);
                let id = hold.and_then(of_run).map_or_else(ModelCallId::new, |hold| hold.id);
                let charge = Charge {
                    at: at(MOMENTS[moment]),
                    call_time: Duration::from_micros(tokens),
                    ..charge_of(id, tokens)
                };
                self.charge(fresh, self.runs[run], charge).await;
            }
            Step::ChargeAgain { charge } if charge < self.charges.len() => {
                let (run, charge) = self.charges[charge].clone();
                let run = self.runs.iter().find(|(id, _)| *id == run);
                self.charge(fresh, *run.expect("its run"), charge).await;
            }
            Step::Move { run, to } if run < self.runs.len() => {
                if let (id, Some(_)) = self.runs[run] {
                    let now = record(&fresh.store, id).await;
                    fresh.store.commit(move_commit(&now, to)).await.expect("moves");
                    self.runs[run].1 = None;
                }
            }
            Step::TakeOver => {
                fresh.store.recover(InstanceId::new()).await.expect("the store answers");
                let lost: Vec<_> = self.counting_holds().map(|hold| (hold.run, estimated(hold))).collect();
                self.charges.extend(lost);
                for epoch in self.runs.iter_mut().filter_map(|(_, epoch)| epoch.as_mut()) {
                    *epoch += 1;
                }
            }
            Step::TopUp { tokens, moment } => {
                let top_up = TopUp {
                    id: ModelCallId::new(),
                    account: account(&self.account),
                    amount: amounts(1, tokens),
                    at: at(MOMENTS[moment]),
                };
                fresh.budgets.top_up(top_up).await.expect("the store answers");
                self.top_ups.push((tokens, at(MOMENTS[moment])));
            }
            Step::Fold { limit } => {
                let folded = fresh
                    .budgets
                    .fold_charges(Timestamp::from_micros(i64::MAX), limit)
                    .await;
                assert!(folded.expect("the store answers") <= u64::from(limit));
            }
            _ => {}
        }
    }

    async fn hold(
        &mut self,
        fresh: &FreshBudgets,
        (run, epoch): (RunId, Option<u64>),
        tokens: u64,
        limit: u64,
        period: BudgetPeriod,
    ) {
        let limits = BudgetLimits {
            period,
            tokens: Some(limit),
            ..UNLIMITED
        };
        let mut hold = new_hold(&record(&fresh.store, run).await, limits, tokens);
        hold.at = at(NOW);
        let Balance { used, held, topped_up } = self.balance(period);
        let exceeded = limits.exceeded_by(used.plus(held), hold.amount, topped_up);
        let outcome = fresh.hold(&hold).await;
        match (exceeded, epoch) {
            (Some(kind), _) => {
                let exhausted = HoldOutcome::Exhausted {
                    kind,
                    used,
                    held,
                    topped_up,
                };
                assert_eq!(outcome, Ok(exhausted));
            }
            (None, None) => assert_eq!(outcome, Err(StoreError::Fenced)),
            (None, Some(_)) => {
                assert_eq!(outcome, Ok(HoldOutcome::Held));
                self.holds.push(hold);
            }
        }
    }

    async fn charge(&mut self, fresh: &FreshBudgets, (run, epoch): (RunId, Option<u64>), charge: Charge) {
        let now = record(&fresh.store, run).await;
        let committed = fresh.store.commit(charging(&now, vec![charge.clone()])).await;
        if epoch.is_none() {
            assert_eq!(committed, Err(StoreError::Fenced));
            return;
        }
        committed.expect("written");
        if self.charges.iter().all(|(_, known)| known.id != charge.id) {
            self.charges.push((run, charge));
        }
    }

    async fn compare(&self, fresh: &FreshBudgets) {
        for period in PERIODS {
            let said = fresh.balance_at(&self.account, period, at(NOW)).await;
            assert_eq!(said, self.balance(period), "{period:?}");
        }
    }

    /// By day.
    fn usage(&self) -> BTreeMap<jiff::civil::Date, Amount> {
        let mut days = BTreeMap::new();
        for (_, charge) in &self.charges {
            let day: &mut Amount = days.entry(charge.at.utc_day()).or_default();
            *day = day.plus(charge.amount());
        }
        days
    }
}

/// Thirty accounts with sixty random steps each; what failed is in the output, the same on every run.
pub async fn balances_follow_a_model_over_random_operations(fresh: &FreshBudgets) {
    let mut runner = TestRunner::deterministic();
    for round in 0..30 {
        let steps = vec(any_step(), 60).new_tree(&mut runner).expect("steps").current();
        let mut model = Model {
            account: format!("account-{round}"),
            runs: Vec::new(),
            holds: Vec::new(),
            released: Vec::new(),
            charges: Vec::new(),
            top_ups: Vec::new(),
        };
        for (index, step) in steps.iter().enumerate() {
            println!("round {round}, step {index}: {step:?}");
            model.step(fresh, step).await;
            model.compare(fresh).await;
        }
        let told = fresh.usage(Some(&model.account)).await;
        let told = told.iter().map(|row| {
            let amount = Amount {
                cost: row.cost,
                tokens: row.usage.total(),
                calls: row.calls,
                call_time: row.call_time,
            };
            (row.day, amount)
        });
        assert!(told.eq(model.usage()), "what was used");
    }
}
