//! What budgets cost, in statements: the same however much an account has used.

use std::path::Path;

use callboard_actors::ids::ModelCallId;
use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::Store;
use callboard_actors::ports::budgets::{
    Amount, BudgetLimits, BudgetPeriod, Budgets, CallEstimate, Charge, HoldOutcome, NewHold,
};
use callboard_actors::ports::store::{NewRun, RunCommit};
use callboard_actors::time::Timestamp;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use super::budget::{delta, ending, new_run};
use super::{open, options};
use crate::store::budgets::MOST_TO_SUM_UP;
use crate::store::runs::WAITING_FOR_BUDGET;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::budgets::{STANDING_IN_DAYS, STANDING_SINCE_EVER};
use crate::store::sqlite::open::writer_options;

fn hold(run: &NewRun, period: BudgetPeriod) -> NewHold {
    NewHold {
        id: ModelCallId::new(),
        run: run.id,
        epoch: 1,
        account: run.account.clone(),
        limits: BudgetLimits {
            period,
            cost: None,
            tokens: Some(1 << 50),
            calls: None,
            call_time: None,
        },
        amount: Amount {
            calls: 1,
            tokens: 10,
            ..Amount::default()
        },
        estimate: CallEstimate {
            model: "fast".into(),
            provider: "simulated".into(),
            usage: Usage::of(1, 2),
            cost: Money::from_nanos(3),
            call_time: std::time::Duration::from_millis(4),
        },
        at: Timestamp::now(),
    }
}

fn charge(id: ModelCallId) -> Charge {
    Charge {
        id,
        model: "fast".into(),
        provider: "simulated".into(),
        usage: Usage::of(1, 2),
        cost: Money::from_nanos(3),
        call_time: std::time::Duration::from_millis(4),
        at: Timestamp::now(),
    }
}

fn statements(store: &SqliteStore) -> u64 {
    Store::usage(store).statements
}

/// Two for the hold, two for the charge: in their step's trip to the database and one more.
#[tokio::test]
async fn a_call_with_a_budget_costs_four_statements_more_and_one_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let run = new_run();
    store.create_run(run.clone()).await.expect("written");
    let before = Store::usage(&store);
    let hold = hold(&run, BudgetPeriod::Month);
    assert_eq!(store.hold(hold.clone()).await, Ok(HoldOutcome::Held));
    assert_eq!(statements(&store) - before.statements, 2);
    let ending = RunCommit {
        charges: vec![charge(hold.id)],
        ..ending(&run, 2)
    };
    store.commit(ending).await.expect("written");
    let after = Store::usage(&store);
    assert_eq!(after.statements - before.statements, 2 + 3 + 2);
    assert_eq!(after.commits - before.commits, 2);
}

/// Folding is what costs: five statements, every so often.
#[tokio::test]
async fn a_hold_sums_up_few_charges_however_many_there_were() {
    const CALLS: u64 = 1000;
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let run = new_run();
    store.create_run(run.clone()).await.expect("written");
    let (mut holding, mut most_to_sum_up) = (0, 0);
    for call in 0..CALLS {
        let hold = hold(&run, BudgetPeriod::Forever);
        let before = statements(&store);
        assert_eq!(store.hold(hold.clone()).await, Ok(HoldOutcome::Held));
        holding += statements(&store) - before;
        let step = RunCommit {
            charges: vec![charge(hold.id)],
            ..delta(&run, 2 + call)
        };
        store.commit(step).await.expect("written");
        most_to_sum_up = most_to_sum_up.max(to_sum_up(directory.path()).await);
    }
    assert_eq!(most_to_sum_up, MOST_TO_SUM_UP);
    assert_eq!(holding, 2 * CALLS + 5 * (CALLS / MOST_TO_SUM_UP));
    let balance = store
        .balance(&run.account, BudgetPeriod::Forever, Timestamp::now())
        .await
        .expect("the store answers");
    assert_eq!((balance.used.calls, balance.used.tokens), (CALLS, 3 * CALLS));
}

async fn connect(directory: &Path) -> SqliteConnection {
    writer_options(&options(directory)).connect().await.expect("connects")
}

async fn to_sum_up(directory: &Path) -> u64 {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_entries WHERE folded <> 1")
        .fetch_one(&mut connect(directory).await)
        .await
        .expect("counts");
    count.unsigned_abs()
}

/// No table is read from end to end.
#[tokio::test]
async fn how_an_account_stands_is_found_by_seeks() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let mut connection = connect(directory.path()).await;
    for query in [STANDING_IN_DAYS, STANDING_SINCE_EVER, WAITING_FOR_BUDGET] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
            .fetch_all(&mut connection)
            .await
            .expect("explains");
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        for table in [
            "usage_days",
            "usage_entries",
            "budgets",
            "budget_top_ups",
            "budget_holds",
            "runs",
        ] {
            let scan = format!("SCAN {table}");
            assert!(plan.iter().all(|step| !step.starts_with(&scan)), "{plan:#?}");
        }
        assert!(plan.iter().any(|step| step.starts_with("SEARCH")), "{plan:#?}");
    }
    store.close().await;
}

/// Holds and charges are written with whatever else is to be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_of_many_runs_share_commits() {
    const RUNS: u64 = 200;
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let runs = (0..RUNS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let run = new_run();
            store.create_run(run.clone()).await.expect("written");
            let hold = hold(&run, BudgetPeriod::Month);
            assert_eq!(store.hold(hold.clone()).await, Ok(HoldOutcome::Held));
            let step = RunCommit {
                charges: vec![charge(hold.id)],
                ..delta(&run, 2)
            };
            store.commit(step).await.expect("written");
        })
    });
    for run in futures::future::join_all(runs).await {
        run.expect("no panic");
    }
    let commits = Store::usage(&store).commits;
    assert!(commits < RUNS, "{commits} commits");
    let account = new_run().account;
    let balance = store.balance(&account, BudgetPeriod::Month, Timestamp::now()).await;
    let balance = balance.expect("the store answers");
    assert_eq!((balance.used.calls, balance.held.calls), (RUNS, 0));
}
