//! A claim costs the same however long the queue is: what the server's plans say of its statements at 100 and at 100,000 runs.

use callboard_actors::ports::Fleet;
use callboard_actors::ports::fleet::{ClaimNext, NewInstance};
use callboard_actors::time::Timestamp;
use sqlx::{Connection, PgConnection};

use super::super::fleet::claims::{ACCOUNTS_IN_TURN, FIRST_IN_LINE, LOCK_FREE_ACCOUNTS};
use super::long_queue;
use super::plan::{Plan, number};

/// Runs that are claimed.
const LIMIT: u64 = 16;

/// No node reads one of these tables from end to end, and none, a sort say, has more rows in hand than a few for each run that is
/// claimed.
fn assert_bounded(plan: &Plan, long_tables: &[&str]) {
    for node in plan.nodes() {
        let table = node["Relation Name"].as_str().unwrap_or("");
        let is_whole = node["Node Type"] == "Seq Scan" && long_tables.contains(&table);
        assert!(!is_whole, "{}", plan.text);
        let rows = number(node, "Actual Rows") + number(node, "Rows Removed by Filter");
        assert!(rows * number(node, "Actual Loops") <= 4 * LIMIT, "{}", plan.text);
    }
}

/// Pages that each statement of a claim looks at, both ways of planning, in a queue of so many accounts with so many runs each.
async fn pages_of_a_claim(accounts: i64, runs_of_each: i64) -> Vec<u64> {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    long_queue::fill(&mut connection, accounts, runs_of_each).await;
    let mut long_tables = Vec::new();
    for (table, rows) in [("runs", accounts * runs_of_each), ("accounts", accounts)] {
        if rows > 10_000 {
            long_tables.push(table);
        }
    }

    let claimed_from = accounts.min(LIMIT as i64);
    let names: Vec<String> = (0..claimed_from).map(|number| format!("'account-{number}'")).collect();
    let share = LIMIT as i64 / claimed_from;
    let first_in_line = format!(
        "ARRAY[{}], array_fill({share}::bigint, ARRAY[{claimed_from}])",
        names.join(", ")
    );
    let mut pages = Vec::new();
    for (statement, arguments) in [
        (LOCK_FREE_ACCOUNTS, LIMIT.to_string()),
        (ACCOUNTS_IN_TURN, LIMIT.to_string()),
        (FIRST_IN_LINE, first_in_line),
    ] {
        for generic in [false, true] {
            let plan = Plan::of(&mut connection, statement, &arguments, generic).await;
            if !long_tables.is_empty() {
                assert_bounded(&plan, &long_tables);
            }
            pages.push(plan.pages());
        }
    }
    connection.close().await.expect("closes");

    // What was explained is what a claim does.
    let instance = NewInstance {
        id: callboard_actors::ids::InstanceId::new(),
        name: "claims".into(),
        version: "0".into(),
        place: None,
        lease: std::time::Duration::from_secs(600),
        shares_events: true,
    };
    let claim = ClaimNext {
        instance: instance.id,
        limit: LIMIT as u32,
        reserve_seqs: 0,
        at: Timestamp::now(),
    };
    store.join(instance).await.expect("joins");
    let claimed = store.claim_next(claim).await.expect("the store answers");
    assert_eq!(claimed.len() as u64, LIMIT);
    pages
}

/// In many accounts and in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_looks_at_as_many_pages_in_a_long_queue_as_in_a_short_one() {
    for (short, long) in [((50, 2), (50_000, 2)), ((1, 100), (1, 100_000))] {
        let short_pages = pages_of_a_claim(short.0, short.1).await;
        let long_pages = pages_of_a_claim(long.0, long.1).await;
        println!("{short:?}: {short_pages:?} pages; {long:?}: {long_pages:?} pages");
        for (short, long) in short_pages.into_iter().zip(long_pages) {
            // An index of a long queue is a level or two deeper.
            assert!(long <= 2 * short + 8, "{short} pages became {long}");
        }
    }
}
