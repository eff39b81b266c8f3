//! Random operations against a model of what the store must say: states, epochs, Slots.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::fixtures::{claim, kinds, move_commit, parked, queued, record, starting};
use crate::error::RunError;
use crate::ids::{InstanceId, RunId};
use crate::ports::store::{Claim, Creation, NewRun, ParkedOutcome, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;

const ACCOUNTS: [&str; 3] = ["acme", "beta", "gamma"];

#[derive(Debug, Clone)]
enum Step {
    Start { account: usize, limit: u32 },
    Queue { account: usize },
    Claim { run: usize, limit: u32 },
    Move { run: usize, to: RunState, epochs_late: u64 },
    Update { run: usize, to: RunState },
    Abandon { run: usize, epochs_late: u64 },
    Recover,
}

fn any_state() -> impl Strategy<Value = RunState> {
    proptest::sample::select(&RunState::ALL[..])
}

fn any_step() -> impl Strategy<Value = Step> {
    let account = 0..ACCOUNTS.len();
    let limit = 0..4_u32;
    let run = 0..40_usize;
    let late = prop_oneof![4 => Just(0_u64), 1 => 1..3_u64];
    prop_oneof![
        4 => (account.clone(), limit.clone()).prop_map(|(account, limit)| Step::Start { account, limit }),
        3 => account.prop_map(|account| Step::Queue { account }),
        6 => (run.clone(), limit).prop_map(|(run, limit)| Step::Claim { run, limit }),
        6 => (run.clone(), any_state(), late.clone())
            .prop_map(|(run, to, epochs_late)| Step::Move { run, to, epochs_late }),
        4 => (run.clone(), any_state()).prop_map(|(run, to)| Step::Update { run, to }),
        1 => (run, late).prop_map(|(run, epochs_late)| Step::Abandon { run, epochs_late }),
        1 => Just(Step::Recover),
    ]
}

#[derive(Debug)]
struct ModelRun {
    id: RunId,
    account: usize,
    state: RunState,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Model {
    runs: Vec<ModelRun>,
}

impl Model {
    fn running(&self, account: usize) -> u32 {
        let held = |run: &&ModelRun| run.account == account && run.state == RunState::Running;
        u32::try_from(self.runs.iter().filter(held).count()).expect("few runs")
    }

    /// One step on both; they must say the same.
    async fn step(&mut self, store: &Arc<dyn Store>, step: &Step) {
        match *step {
            Step::Start { account, limit } => {
                let run = starting(ACCOUNTS[account], Some(limit));
                let running = self.running(account);
                let expected = if running < limit {
                    self.add(&run, account, RunState::Running, 1);
                    Creation::Created
                } else {
                    Creation::QuotaExceeded { running }
                };
                assert_eq!(store.create_run(run).await, Ok(expected));
            }
            Step::Queue { account } => {
                let run = queued(ACCOUNTS[account]);
                self.add(&run, account, RunState::Queued, 0);
                assert_eq!(store.create_run(run).await, Ok(Creation::Created));
            }
            Step::Recover => {
                let recovered = store.recover(InstanceId::new()).await.expect("the store answers");
                let mut taken = Vec::new();
                for run in self.runs.iter_mut().filter(|run| run.state == RunState::Running) {
                    run.epoch += 1;
                    taken.push((run.id, run.epoch));
                }
                let listed: Vec<_> = recovered.running.iter().map(|run| (run.id, run.epoch)).collect();
                assert_eq!(listed, taken);
                let queued = self.runs.iter().filter(|run| run.state == RunState::Queued);
                assert!(recovered.queued.iter().map(|run| run.id).eq(queued.map(|run| run.id)));
            }
            Step::Claim { run, .. } | Step::Move { run, .. } | Step::Update { run, .. } | Step::Abandon { run, .. } => {
                if run < self.runs.len() {
                    self.step_on(store, run, step).await;
                }
            }
        }
    }

    async fn step_on(&mut self, store: &Arc<dyn Store>, index: usize, step: &Step) {
        let running = self.running(self.runs[index].account);
        let run = &mut self.runs[index];
        let stored = record(store, run.id).await;
        match *step {
            Step::Claim { limit, .. } => {
                let outcome = store
                    .claim_run(claim(run.id, Some(limit)))
                    .await
                    .expect("the store answers");
                match (run.state, running < limit) {
                    (RunState::Queued, true) => {
                        run.state = RunState::Running;
                        run.epoch += 1;
                        assert!(matches!(outcome, Claim::Claimed { .. }));
                    }
                    (RunState::Queued, false) => assert_eq!(outcome, Claim::QuotaExceeded { running }),
                    _ => assert_eq!(outcome, Claim::NotQueued),
                }
            }
            Step::Move { to, epochs_late, .. } => {
                let epoch = run.epoch.saturating_sub(epochs_late);
                let late = epoch != run.epoch || run.state != RunState::Running;
                let outcome = store.commit(move_commit(&RunRecord { epoch, ..stored }, to)).await;
                match outcome {
                    Ok(()) => {
                        assert!(!late && run.state.may_become(to));
                        run.state = to;
                    }
                    Err(StoreError::Fenced) => assert!(late),
                    Err(error) => {
                        let from = RunState::Running;
                        assert_eq!(error, StoreError::IllegalMove { from, to });
                        assert!(!from.may_become(to));
                    }
                }
            }
            Step::Update { to, .. } => {
                let outcome = store.update_parked_run(parked(run.id, to)).await;
                if !matches!(run.state, RunState::Queued | RunState::Waiting) {
                    assert_eq!(outcome, Ok(ParkedOutcome::NotParked(Box::new(stored))));
                } else if to == RunState::Running || !run.state.may_become(to) {
                    let from = run.state;
                    assert_eq!(outcome, Err(StoreError::IllegalMove { from, to }));
                } else {
                    run.state = to;
                    assert!(matches!(outcome, Ok(ParkedOutcome::Updated { .. })));
                }
            }
            Step::Abandon { epochs_late, .. } => {
                let epoch = run.epoch.saturating_sub(epochs_late);
                let outcome = store.fail_abandoned_run(run.id, epoch, RunError::internal()).await;
                let fails = run.state == RunState::Running && epoch == run.epoch;
                assert_eq!(outcome.expect("the store answers").is_some(), fails);
                if fails {
                    run.state = RunState::Failed;
                    run.epoch += 1;
                }
            }
            Step::Start { .. } | Step::Queue { .. } | Step::Recover => {}
        }
        let stored = record(store, run.id).await;
        assert_eq!((stored.state, stored.epoch), (run.state, run.epoch));
    }

    fn add(&mut self, run: &NewRun, account: usize, state: RunState, epoch: u64) {
        self.runs.push(ModelRun {
            id: run.id,
            account,
            state,
            epoch,
        });
    }
}

/// Forty runs of sixty random steps each; what failed is in the output, the same on every run.
pub async fn slots_follow_a_model_over_random_operations(store: Arc<dyn Store>) {
    let mut runner = TestRunner::deterministic();
    for round in 0..40 {
        let steps = vec(any_step(), 60).new_tree(&mut runner).expect("steps").current();
        // Each round begins without a run in `running` or in the queue.
        let left = store.recover(InstanceId::new()).await.expect("the store answers");
        for run in left.running {
            store
                .commit(move_commit(&run, RunState::Cancelled))
                .await
                .expect("ends");
        }
        for run in left.queued {
            store
                .update_parked_run(parked(run.id, RunState::Cancelled))
                .await
                .expect("ends");
        }
        let mut model = Model::default();
        for (index, step) in steps.iter().enumerate() {
            println!("round {round}, step {index}: {step:?}");
            model.step(&store, step).await;
        }
        for run in &model.runs {
            let told = kinds(&store, run.id).await;
            let endings = told
                .iter()
                .filter(|kind| matches!(kind.as_str(), "run.completed" | "run.failed" | "run.cancelled"))
                .count();
            assert_eq!(endings, usize::from(run.state.is_terminal()), "one ending");
        }
    }
}
