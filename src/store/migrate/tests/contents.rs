//! What the target has after a move.

use super::*;

#[tokio::test]
async fn everything_is_there_and_what_only_the_target_has_is_derived() {
    let site = Site::filled().await;
    let rows = site.run_to_success().await;
    assert_eq!(
        rows,
        [
            ("accounts", 6),
            ("api_keys", 3),
            ("threads", 2),
            ("thread_items", 1),
            ("runs", 8),
            ("run_specs", 8),
            ("items", 10),
            ("event_batches", 10),
            ("usage_entries", 3),
            ("usage_days", 3),
            ("budgets", 2),
            ("budget_top_ups", 2),
            ("budget_holds", 1),
            ("agents", 2),
            ("agent_versions", 3),
            ("file_objects", 3),
            ("files", 2),
            ("file_usage", 2),
            ("places in line", 5),
        ]
    );
    let mut target = site.target().await;
    let accounts: Vec<(String, String, i32, i64, i64, i64)> = sqlx::query_as(
        "SELECT account, tier, running, queued, held, next_place FROM accounts WHERE next_place > 0 ORDER BY account",
    )
    .fetch_all(&mut target)
    .await
    .expect("accounts");
    let expected = [("acme", "pro", 1, 2, 1, 4), ("local", "local", 0, 0, 0, 1)];
    let expected = expected.map(|(account, tier, running, queued, held, place)| {
        (account.to_owned(), tier.to_owned(), running, queued, held, place)
    });
    assert_eq!(accounts, expected);

    // The one that was handed over comes before those that never started; these are in their order. One waits for its thread.
    let line: Vec<(i32, i16, i64, bool)> = sqlx::query_as(
        "SELECT get_byte(id, 15), line, place, held FROM runs WHERE account = 'acme' AND state = 'queued' ORDER BY line, place",
    )
    .fetch_all(&mut target)
    .await
    .expect("the line");
    assert_eq!(line, [(6, 0, 2, false), (3, 1, 1, false), (8, 1, 3, true)]);
    let threads: Vec<(i32, i64, bool, bool)> = sqlx::query_as(
        "SELECT get_byte(id, 15), thread_position, hidden, cancel_requested FROM runs WHERE thread_id IS NOT NULL ORDER BY id",
    )
    .fetch_all(&mut target)
    .await
    .expect("runs of the thread");
    assert_eq!(
        threads,
        [(1, 1, true, false), (2, 2, false, true), (8, 3, false, false)]
    );

    let running: Vec<(Vec<u8>, i64, i64, i64)> =
        sqlx::query_as("SELECT instance, epoch, reserved_seq, next_item FROM runs WHERE state = 'running'")
            .fetch_all(&mut target)
            .await
            .expect("runs");
    assert_eq!(running, [(vec![0; 16], 3, 99, 1)]);
    let (next_item, content): (i64, String) = sqlx::query_as(
        "SELECT runs.next_item, items.content FROM runs JOIN items ON items.run_id = runs.id \
         WHERE runs.idempotency_key = 'key ü \"quoted\"' AND items.position = 0",
    )
    .fetch_one(&mut target)
    .await
    .expect("a run and its input");
    assert_eq!(next_item, 3);
    assert_eq!(content, r#"{"text":"01900000000070008000000000000001\u0000 ü 🦀"}"#);
    let cost: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT cached_input_tokens, cache_write_input_tokens, reasoning_tokens, cost_nanos FROM runs WHERE state = 'completed'",
    )
    .fetch_one(&mut target)
    .await
    .expect("what a run cost");
    assert_eq!(cost, (4, 6, 5, 9_007_199_254_740_991));
    target.close().await.expect("closes");
    let store = site.open_target().await.expect("a server may start");
    store.close().await;
}

#[tokio::test]
async fn nothing_is_moved_as_nothing() {
    let site = Site::new().await;
    let rows = site.run_to_success().await;
    assert!(rows.iter().all(|(_, rows)| *rows == 0), "{rows:?}");
}

#[tokio::test]
async fn the_source_stays_as_it_is() {
    let site = Site::filled().await;
    let file = || std::fs::read(&site.migration.source.path).expect("the file");
    // What is in the write-ahead log goes into the file first.
    site.write_to_source("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let before = file();
    site.run_to_success().await;
    assert!(before == file(), "the file was changed");
    let store = SqliteStore::open(site.migration.source.clone(), &Handle::current())
        .await
        .expect("a server may start on it again");
    store.close().await;
}

#[tokio::test]
async fn a_plan_says_what_there_is_and_changes_nothing() {
    let site = Site::filled().await;
    let plan = site.migration.plan().await.expect("a plan");
    assert_eq!(plan.beginning, Beginning::Afresh);
    assert_eq!(plan.rows[4], ("runs", 8));
    assert!(plan.bytes > 10_000 && !plan.source_is_served, "{plan:?}");
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()")
            .fetch_one(&mut site.target().await)
            .await
            .expect("the schema");
    assert_eq!(tables, 0);

    let store = SqliteStore::open(site.migration.source.clone(), &Handle::current())
        .await
        .expect("opens");
    let plan = site.migration.plan().await.expect("a plan beside a server");
    assert!(plan.source_is_served);
    store.close().await;
    site.run_to_success().await;
    let plan = site.migration.plan().await.expect("a plan");
    assert!(matches!(plan.beginning, Beginning::Done(_)), "{plan:?}");
}
