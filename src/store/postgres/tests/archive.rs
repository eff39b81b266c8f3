//! Instances that archive and forget at once, what it costs to look for what is due, and rows that do not read back.

use std::str::FromStr;
use std::time::Duration;

use callboard_actors::ids::RunId;
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::time::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::super::PostgresStore;
use super::super::archive::{ENDED, TO_FORGET};
use super::super::rows::IdBytes;
use super::instances::{ending, starting};

async fn connect(url: &str) -> PgConnection {
    let options = PgConnectOptions::from_str(url).expect("a URL");
    options.connect().await.expect("connects")
}

fn after_all() -> Timestamp {
    Timestamp::now().after(Duration::from_secs(1))
}

async fn ended_run(store: &PostgresStore) -> RunId {
    let run = starting(1000);
    store.create_run(run.clone()).await.expect("written");
    store.commit(ending(run.id)).await.expect("written");
    run.id
}

/// Three instances, more runs than one transaction takes, nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_share_the_archive() {
    const RUNS: u64 = 300;
    let url = super::fresh_url().await;
    let stores = futures::future::join_all((0..3).map(|_| super::open(&url))).await;
    futures::future::join_all((0..RUNS).map(|_| ended_run(&stores[0]))).await;
    let count = |forget: bool| {
        let all = stores.iter().map(move |store| async move {
            if forget {
                store.forget_events(after_all(), 1000).await
            } else {
                store.archive_ended(after_all(), 1000).await
            }
        });
        async {
            futures::future::join_all(all)
                .await
                .into_iter()
                .map(|count| count.expect("answers"))
                .sum()
        }
    };
    assert_eq!((count(false).await, count(false).await), (RUNS, 0));
    let mut connection = connect(&url).await;
    let rows = "SELECT count(*), count(DISTINCT run_id), sum(encoding) FROM event_batches";
    let rows: (i64, i64, i64) = sqlx::query_as(rows).fetch_one(&mut connection).await.expect("counts");
    assert_eq!(rows, (300, 300, 300));
    assert_eq!((count(true).await, count(true).await), (RUNS, 0));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM event_batches")
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    assert_eq!(rows, 0);
}

/// Also where nearly all of the table is forgotten, and what is not lies at its end.
#[tokio::test]
async fn what_is_due_is_found_by_its_index() {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    ended_run(&store).await;
    let mut connection = connect(&url).await;
    let fill = "INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, next_item, created_at, ended_at, history) \
                SELECT int8send(number), 'acme', 'standard', 'completed', 1, '', 2, 0, 0, number, number, \
                       CASE WHEN number <= 20000 THEN 2 ELSE 1 END FROM generate_series(1::bigint, 22000) AS number";
    for statement in [fill, "ANALYZE runs"] {
        sqlx::query(statement).execute(&mut connection).await.expect("written");
    }
    for query in [ENDED, TO_FORGET] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN {query}")))
            .bind(Timestamp::now().as_micros())
            .bind(64_i64)
            .fetch_all(&mut connection)
            .await
            .expect("explains");
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let by_index = plan.iter().any(|line| line.contains("Index Scan using runs_history"));
        let sorts = plan.iter().any(|line| line.contains("Sort"));
        assert!(by_index && !sorts, "{plan:#?}");
    }
}

/// The run with the damage stays as it is; the others do not wait for it.
#[tokio::test]
async fn what_does_not_read_back_is_left_alone() {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let (damaged, whole) = (ended_run(&store).await, ended_run(&store).await);
    let mut connection = connect(&url).await;
    sqlx::query("UPDATE event_batches SET frames = '\\x00' WHERE run_id = $1 AND last_seq = 1")
        .bind(damaged.id_bytes())
        .execute(&mut connection)
        .await
        .expect("damaged");
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(2));
    assert_eq!(store.events(whole, None, usize::MAX).await.expect("read").len(), 1);
    let read = store.events(damaged, None, usize::MAX).await;
    assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM event_batches WHERE run_id = $1 AND encoding = 0")
        .bind(damaged.id_bytes())
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    assert_eq!(rows, 2);
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(0));
}
