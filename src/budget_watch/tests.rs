use std::sync::Arc;
use std::sync::Mutex;

use callboard_actors::encoding::encode;
use callboard_actors::event::{EventBody, WaitingReason};
use callboard_actors::ids::{InstanceId, ModelCallId};
use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::Budgets;
use callboard_actors::ports::budgets::{BudgetLimits, BudgetPeriod, CallEstimate, Charge, HoldOutcome, NewHold, TopUp};
use callboard_actors::ports::store::{Admission, NewRun, RunCommit, StateChange};
use callboard_actors::run_state::RunState;
use callboard_actors::spec::{RunLimits, RunSpec};
use tempfile::TempDir;

use super::*;
use crate::store::sqlite::{SqliteOptions, SqliteStore, Synchronous};

/// The last moment of a day and a month, and the first of the next ones.
const LAST: &str = "2028-02-29T23:59:59.999999Z";
const FIRST: &str = "2028-03-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().expect("a point in time");
    Timestamp::from_micros(time.as_microsecond())
}

/// Notes which runs are let go on.
#[derive(Default)]
struct Noted(Mutex<Vec<RunId>>);

#[async_trait]
impl Resume for Noted {
    async fn resume(&self, run: RunId) -> Result<bool, StoreError> {
        self.0.lock().expect("no panic").push(run);
        Ok(true)
    }
}

/// An account with 100 tokens in each period.
struct Site {
    store: SqliteStore,
    limits: BudgetLimits,
    watcher: Watcher,
    noted: Arc<Noted>,
    _directory: TempDir,
}

impl Site {
    async fn new(period: BudgetPeriod) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = SqliteOptions {
            synchronous: Synchronous::Normal,
            ..SqliteOptions::new(directory.path().join("callboard.sqlite"))
        };
        let store = SqliteStore::open(options, &Handle::current()).await.expect("opens");
        let limits = BudgetLimits {
            period,
            cost: None,
            tokens: Some(100),
            calls: None,
            call_time: None,
        };
        let budget = AccountBudget {
            limits,
            when_exhausted: WhenExhausted::Wait,
        };
        let noted = Arc::new(Noted::default());
        let watcher = Watcher {
            store: Arc::new(store.clone()),
            budgets: AccountBudgets {
                budgets: Arc::new(store.clone()),
                by_tier: HashMap::from([("pro".to_owned(), budget)]),
            },
            resume: noted.clone(),
            known: HashMap::new(),
        };
        Self {
            store,
            limits,
            watcher,
            noted,
            _directory: directory,
        }
    }

    async fn running(&self) -> NewRun {
        let spec = Arc::new(RunSpec {
            agent: None,
            model: "simulated".into(),
            fallback_models: Vec::new(),
            instructions: None,
            tools: Vec::new(),
            model_options: serde_json::Map::new(),
            metadata: std::collections::BTreeMap::new(),
            history: callboard_actors::spec::HistorySettings::default(),
            limits: RunLimits {
                max_steps: 8,
                max_output_tokens: None,
                max_total_tokens: None,
                max_cost_usd: None,
                deadline_seconds: 600,
            },
        });
        let id = RunId::new();
        let created = EventBody::RunCreated { spec: spec.clone() };
        let run = NewRun {
            id,
            account: "acme".parse().expect("a name"),
            tier: "pro".into(),
            instance: InstanceId::new(),
            idempotency: None,
            spec,
            input: Vec::new(),
            thread: None,
            admission: Admission::Start { slot_limit: None },
            events: encode(id, 0, [created, EventBody::RunStarted { epoch: 1 }]).expect("two events"),
            reserved_seq: 0,
            created_at: Timestamp::now(),
        };
        self.store.create_run(run.clone()).await.expect("written");
        run
    }

    /// A run that has used all there is, in the period that this is in, and waits for more.
    async fn exhausted(&self, at: Timestamp) -> RunId {
        let run = self.running().await;
        let charge = Charge {
            id: ModelCallId::new(),
            model: "simulated".into(),
            provider: "simulated".into(),
            usage: Usage::of(50, 50),
            cost: Money::ZERO,
            call_time: Duration::ZERO,
            at,
        };
        let reason = WaitingReason::Budget;
        let step = RunCommit {
            calls: None,
            run: run.id,
            account: run.account.clone(),
            epoch: 1,
            events: encode(
                run.id,
                2,
                [EventBody::RunWaiting {
                    reason,
                    calls: Vec::new(),
                }],
            ),
            reserved_seq: 0,
            items: Vec::new(),
            progress: None,
            charges: vec![charge],
            change: Some(StateChange {
                to: RunState::Waiting,
                error: None,
                waiting: Some(reason),
                at,
            }),
        };
        self.store.commit(step).await.expect("waits");
        run.id
    }

    /// Which runs are let go on by a look at this moment.
    async fn look(&mut self, moment: &str) -> Vec<RunId> {
        self.watcher.look(at(moment)).await.expect("the store answers");
        std::mem::take(&mut self.noted.0.lock().expect("no panic"))
    }

    /// Whether another run's call gets all of a period.
    async fn is_held(&self, moment: &str) -> bool {
        let run = self.running().await;
        let hold = NewHold {
            id: ModelCallId::new(),
            run: run.id,
            epoch: 1,
            account: run.account,
            limits: self.limits,
            amount: Amount {
                tokens: 100,
                calls: 1,
                ..Amount::default()
            },
            estimate: CallEstimate {
                model: "simulated".into(),
                provider: "simulated".into(),
                usage: Usage::of(1, 1),
                cost: Money::ZERO,
                call_time: Duration::ZERO,
            },
            at: at(moment),
        };
        let outcome = self.store.hold(hold.clone()).await.expect("the store answers");
        self.store.release(hold.id).await.expect("the store answers");
        outcome == HoldOutcome::Held
    }
}

#[tokio::test]
async fn waiting_runs_go_on_at_the_first_moment_of_the_next_period() {
    for period in [BudgetPeriod::Day, BudgetPeriod::Month] {
        let mut site = Site::new(period).await;
        let waiting = site.exhausted(at(LAST)).await;
        for _ in 0..2 {
            assert_eq!(site.look(LAST).await, []);
            assert!(!site.is_held(LAST).await);
        }
        assert_eq!(site.look(FIRST).await, [waiting], "{period:?}");
        assert!(site.is_held(FIRST).await);
        // Who found too little in it, with nothing used, does not find more by asking again.
        assert_eq!(site.look(FIRST).await, []);
    }
}

#[tokio::test]
async fn a_budget_for_ever_has_no_next_period() {
    let mut site = Site::new(BudgetPeriod::Forever).await;
    site.exhausted(at(LAST)).await;
    assert_eq!(site.look(FIRST).await, []);
    assert_eq!(site.look("9999-01-01T00:00:00Z").await, []);
    assert!(!site.is_held(FIRST).await);
}

#[tokio::test]
async fn what_is_topped_up_counts_in_the_period_of_its_time_only() {
    let mut site = Site::new(BudgetPeriod::Month).await;
    let waiting = site.exhausted(at(FIRST)).await;
    let more = |moment| TopUp {
        id: ModelCallId::new(),
        account: "acme".parse().expect("a name"),
        amount: Amount {
            tokens: 100,
            ..Amount::default()
        },
        at: at(moment),
    };
    site.store.top_up(more(LAST)).await.expect("the store answers");
    assert_eq!(site.look(FIRST).await, []);
    site.store.top_up(more(FIRST)).await.expect("the store answers");
    assert_eq!(site.look(FIRST).await, [waiting]);
    assert!(site.is_held(FIRST).await);
}
