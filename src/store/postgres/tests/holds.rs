//! What budgets cost: the same however much an account has used, and no more connections than there are accounts.

use callboard_actors::ids::{ModelCallId, RunId};
use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::Store;
use callboard_actors::ports::budgets::{
    Amount, BudgetLimits, BudgetPeriod, Budgets, CallEstimate, HoldOutcome, NewHold,
};
use callboard_actors::time::Timestamp;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::super::budgets::{STANDING_IN_DAYS, STANDING_SINCE_EVER};
use super::instances::starting;
use super::plan::Plan;
use crate::store::runs::WAITING_FOR_BUDGET;

fn hold(run: RunId, period: BudgetPeriod) -> NewHold {
    NewHold {
        id: ModelCallId::new(),
        run,
        epoch: 1,
        account: "acme".parse().expect("an account"),
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

/// So many days of an account that are folded, with the entries of as many runs that are not archived, as many other accounts that hold
/// and wait, and what may be there at any moment: charges to fold, holds, and runs that wait for their budget.
async fn fill(connection: &mut PgConnection, days: u32) {
    let statements = [
        "INSERT INTO usage_days SELECT 'acme', day, 'fast', 'simulated', 1, 1, 1, 0, 0, 1, 1 FROM generate_series(1, {days}) AS day",
        "INSERT INTO usage_entries SELECT int8send(number), int8send(number), 'acme', 20000, 'fast', 'simulated', 1, 1, 0, 0, 1, 1, \
                number, CASE WHEN number > {days} - 50 THEN 0 ELSE 1 END FROM generate_series(1::bigint, {days}) AS number",
        "INSERT INTO budget_top_ups SELECT int8send(number), 'acme', number, 1, 1, 1, 1 FROM generate_series(1::bigint, {days}) AS number",
        "INSERT INTO budgets (account) SELECT 'account-' || number FROM generate_series(1, {days}) AS number",
        "INSERT INTO budgets (account) VALUES ('acme') ON CONFLICT DO NOTHING",
        "INSERT INTO accounts (account, tier) SELECT 'account-' || number, 'standard' FROM generate_series(1, {days}) AS number",
        "INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, next_item, created_at, waiting) \
         SELECT int8send(number), 'account-' || number, 'standard', CASE WHEN number % 2 = 0 THEN 'running' ELSE 'waiting' END, 1, '', \
                2, 0, 0, number, CASE number % 4 WHEN 1 THEN '\"needs_review\"' WHEN 3 THEN '\"budget\"' END \
         FROM generate_series(1::bigint, {days}) AS number",
        "INSERT INTO budget_holds SELECT int8send(number), CASE WHEN number <= 40 THEN 'acme' ELSE 'account-' || number END, \
                int8send(number), 1, 1, 1, 1, 0, number, 'fast', 'simulated', 1, 1, 1, 1 FROM generate_series(1::bigint, {days}) AS number",
        "ANALYZE",
    ];
    for statement in statements {
        let statement = statement.replace("{days}", &days.to_string());
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await
            .expect("written");
    }
}

/// Pages that each statement looks at, both ways of planning.
async fn pages(days: u32) -> Vec<u64> {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    fill(&mut connection, days).await;
    let of_account = "'acme', '\\x00'";
    let mut pages = Vec::new();
    for (statement, arguments) in [
        (STANDING_IN_DAYS, format!("{of_account}, {}, {days}", days - 30)),
        (STANDING_SINCE_EVER, of_account.to_owned()),
        (WAITING_FOR_BUDGET, "'\\x00', 10".to_owned()),
    ] {
        for generic in [false, true] {
            pages.push(Plan::of(&mut connection, statement, &arguments, generic).await.pages());
        }
    }
    connection.close().await.expect("closes");
    store.close().await;
    pages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_looks_at_as_many_pages_after_much_use_as_after_little() {
    let (little, much) = (pages(4_000).await, pages(50_000).await);
    println!("4,000 days: {little:?} pages; 50,000 days: {much:?} pages");
    for (little, much) in little.into_iter().zip(much) {
        // An index is a level deeper, for each of the forty holds whose run is looked up.
        assert!(much <= little + 40 + 8, "{little} pages became {much}");
    }
}

/// Lock, look, take; and commit.
#[tokio::test]
async fn a_hold_costs_three_statements_and_a_commit() {
    let store = super::open(&super::fresh_url().await).await;
    let run = starting(1000);
    store.create_run(run.clone()).await.expect("written");
    // The first one also adds the account's row.
    for expected in [5, 3, 3] {
        let before = Store::usage(&store);
        let outcome = store.hold(hold(run.id, BudgetPeriod::Month)).await;
        assert_eq!(outcome, Ok(HoldOutcome::Held));
        let after = Store::usage(&store);
        assert_eq!(after.statements - before.statements, expected);
        assert_eq!(after.commits - before.commits, 1);
    }
}

/// Somebody has the account's row, and 50 calls want to hold: readers still get their connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_that_wait_leave_connections_to_others() {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let run = starting(1000);
    store.create_run(run.clone()).await.expect("written");
    assert_eq!(store.hold(hold(run.id, BudgetPeriod::Day)).await, Ok(HoldOutcome::Held));
    let mut other = PgConnection::connect(&url).await.expect("connects");
    let mut locking = other.begin().await.expect("begins");
    sqlx::query("SELECT account FROM budgets FOR UPDATE")
        .execute(&mut *locking)
        .await
        .expect("locks");
    let holds: Vec<_> = (0..50)
        .map(|_| {
            let (store, hold) = (store.clone(), hold(run.id, BudgetPeriod::Day));
            tokio::spawn(async move { store.hold(hold).await })
        })
        .collect();
    for _ in 0..20 {
        let found = Store::run(&store, run.id).await.expect("the store answers");
        assert!(found.is_some());
        assert!(Store::usage(&store).connections_open < 10);
        tokio::task::yield_now().await;
    }
    locking.rollback().await.expect("unlocks");
    for hold in holds {
        assert_eq!(hold.await.expect("no panic"), Ok(HoldOutcome::Held));
    }
}
