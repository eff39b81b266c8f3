//! Attempts that are cut off, copies that are damaged, and a source that goes on living in between.

use tokio::sync::Notify;

use super::*;

/// More than one batch of two tables, all of one run.
const MANY_ROWS: &str = "
INSERT INTO items SELECT x'01900000000070008000000000000008', value, 'x'
FROM (WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 5100)
      SELECT value FROM numbers);
INSERT INTO event_batches SELECT x'01900000000070008000000000000008', 1 + value, 1 + value, zeroblob(10), 0
FROM (WITH RECURSIVE numbers (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 5100)
      SELECT value FROM numbers);";

/// Drops the migration when it tells for the `at`th time how far it is with copying and comparing: nothing that it has not handed to the database by then is
/// handed over. False if it ended before.
async fn cut_off(site: &Site, at: usize) -> bool {
    let cut = Notify::new();
    let mut told = 0;
    let mut count = |progress: Progress| {
        told += usize::from(progress.phase != Phase::Reading);
        if told == at {
            cut.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = cut.notified() => true,
        outcome = site.migration.run(&mut count) => {
            outcome.expect("it runs");
            false
        }
    }
}

async fn assert_half_migrated(site: &Site) {
    let refused = site.open_target().await.expect_err("no server may start");
    assert!(matches!(refused, PostgresOpenError::HalfMigrated), "{refused}");
}

#[tokio::test]
async fn cut_off_anywhere_it_ends_the_same_when_it_is_run_again() {
    let site = Site::filled().await;
    site.write_to_source(MANY_ROWS).await;
    let whole = site.run_to_success().await;
    let mut cuts = 0;
    let mut at = 1;
    loop {
        let again = Site {
            migration: StoreMigration {
                source: site.migration.source.clone(),
                target_url: fresh_url().await,
            },
            _directory: tempfile::tempdir().expect("a directory"),
        };
        if !cut_off(&again, at).await {
            break;
        }
        cuts += 1;
        assert_half_migrated(&again).await;
        let plan = again.migration.plan().await.expect("a plan");
        assert_eq!(plan.beginning, Beginning::Continued);
        assert_eq!(again.run_to_success().await, whole);
        // Steps of two keep the test short; the last ones are the comparison's.
        at += 2;
    }
    assert!(cuts > 10, "it was cut off only {cuts} times");
}

#[tokio::test]
async fn an_attempt_goes_on_behind_what_is_copied() {
    let site = Site::filled().await;
    site.write_to_source(MANY_ROWS).await;
    // The fifth batch is the first of the items, and has 5,000 rows.
    assert!(cut_off(&site, 5).await);
    let mut copied = Vec::new();
    let mut note = |progress: Progress| {
        if progress.phase == Phase::Copying {
            copied.push((progress.table, progress.of));
        }
    };
    site.migration.run(&mut note).await.expect("it runs");
    // The second batch was on its way, and may have arrived.
    let items = copied.iter().find(|(table, _)| *table == "items");
    assert!(items.is_none_or(|(_, rows)| *rows == 110), "{copied:?}");
    assert!(copied.contains(&("event_batches", 5_110)), "{copied:?}");
    let done = ["accounts", "api_keys", "runs", "run_specs"];
    assert!(copied.iter().all(|(table, _)| !done.contains(table)), "{copied:?}");
}

#[tokio::test]
async fn a_source_that_lived_on_is_copied_anew() {
    let site = Site::filled().await;
    site.write_to_source(MANY_ROWS).await;
    assert!(cut_off(&site, 8).await);
    // A server was started on it again, and a run has ended.
    site.write_to_source("UPDATE runs SET state = 'completed', ended_at = 99, next_seq = 7 WHERE epoch = 3")
        .await;
    let plan = site.migration.plan().await.expect("a plan");
    assert_eq!(plan.beginning, Beginning::Anew);
    site.run_to_success().await;
}

#[tokio::test]
async fn a_row_that_the_target_changes_is_found_and_no_server_starts_on_it() {
    let site = Site::filled().await;
    site.open_target().await.expect("makes the tables").close().await;
    site.write_to_target(
        "CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN NEW.content = NEW.content || ' '; RETURN NEW; END $$; \
         CREATE TRIGGER damage BEFORE INSERT ON items FOR EACH ROW WHEN (NEW.position = 1) EXECUTE FUNCTION damage()",
    )
    .await;
    let Outcome::Compared(comparisons) = site.run().await.expect("it runs") else {
        panic!("it was done before");
    };
    for comparison in &comparisons {
        assert_eq!(comparison.is_same(), comparison.table != "items", "{comparison:?}");
    }
    let items = comparisons.iter().find(|comparison| comparison.table == "items");
    let items = items.expect("items are compared");
    assert_eq!(items.source.rows(), items.target.rows());
    assert_eq!(
        items.first_difference,
        Some(Difference {
            key: "run_01900000000070008000000000000001, position 1".to_owned(),
            kind: DifferenceKind::Columns(vec!["content"]),
        })
    );
    assert_half_migrated(&site).await;

    site.write_to_target("DROP TRIGGER damage ON items").await;
    let plan = site.migration.plan().await.expect("a plan");
    assert_eq!(plan.beginning, Beginning::Anew);
    site.run_to_success().await;
    site.open_target().await.expect("a server may start").close().await;
}

#[tokio::test]
async fn rows_that_are_missing_and_rows_too_many_are_found() {
    let site = Site::filled().await;
    let changes = [
        (
            "DELETE FROM api_keys WHERE last_four = 'bbbb'",
            "api_keys",
            "key_0190000000007000800000000000aa02 is missing in the target",
        ),
        (
            "INSERT INTO accounts (account, tier) VALUES ('ZZ', 'x')",
            "accounts",
            "ZZ is in the target only",
        ),
        (
            "DELETE FROM event_batches WHERE last_seq = 4",
            "event_batches",
            "run_01900000000070008000000000000006, last_seq 4 is missing in the target",
        ),
        (
            "UPDATE runs SET place = 7, epoch = 8 WHERE state = 'waiting'",
            "runs",
            "run_01900000000070008000000000000005 differs in epoch",
        ),
    ];
    for (change, table, found) in changes {
        let site = Site {
            migration: StoreMigration {
                source: site.migration.source.clone(),
                target_url: fresh_url().await,
            },
            _directory: tempfile::tempdir().expect("a directory"),
        };
        // When the last table has been copied; the places in line are set after that.
        assert!(cut_off(&site, COPIED.len()).await);
        site.write_to_target(change).await;
        // What is behind the last key is copied again, so that what is missing there would not be.
        site.write_to_target("UPDATE store_migration SET started_at = started_at")
            .await;
        let compared = compare_all(&site).await;
        let different: Vec<&Comparison> = compared.iter().filter(|comparison| !comparison.is_same()).collect();
        assert_eq!(different.len(), 1, "{different:?}");
        assert_eq!(different[0].table, table);
        let difference = different[0].first_difference.as_ref().expect("a difference");
        assert_eq!(difference.to_string(), found);
    }
}

/// Compares both sides as they are.
async fn compare_all(site: &Site) -> Vec<Comparison> {
    let mut source = Source::open(&site.migration.source).await.expect("opens");
    let target = Target::connect(&site.migration.target_url).await.expect("connects");
    target.derive().await.expect("derives");
    let mut compared = Vec::new();
    for table in COPIED.iter().chain([&PLACES]) {
        let comparison = verify::compare_table(table, &mut source, &target, &mut |_| {}).await;
        compared.push(comparison.expect("both are read"));
    }
    compared
}

#[tokio::test]
async fn a_key_that_is_made_in_the_meantime_is_noticed() {
    let site = Site::filled().await;
    let mut source = site.source().await;
    let (begun, made) = (Notify::new(), Notify::new());
    let mut first = true;
    let mut tell = |progress: Progress| {
        if progress.phase == Phase::Copying && std::mem::take(&mut first) {
            begun.notify_one();
        }
    };
    // The target is held up until the key is there.
    site.open_target().await.expect("makes the tables").close().await;
    let mut target = site.target().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE event_batches IN SHARE MODE")
        .execute(&mut target)
        .await
        .expect("locked");
    let making = async {
        begun.notified().await;
        sqlx::raw_sql("INSERT INTO accounts VALUES ('late', 'free')")
            .execute(&mut source)
            .await
            .expect("written");
        sqlx::raw_sql("ROLLBACK").execute(&mut target).await.expect("unlocked");
        made.notify_one();
    };
    let (outcome, ()) = tokio::join!(site.migration.run(&mut tell), making);
    let error = outcome.expect_err("it is noticed");
    assert!(matches!(error, MigrationError::SourceChanged { .. }), "{error}");
    assert_half_migrated(&site).await;
    assert_eq!(site.run_to_success().await[0], ("accounts", 7));
}
