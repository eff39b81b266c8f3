//! `callboard migrate-store`, measured: a SQLite file is made, with as many runs as the first argument says, and moved to the PostgreSQL
//! that `CALLBOARD_TEST_POSTGRES_URL` names. Prints how fast rows of each table were copied and compared.

use std::str::FromStr;
use std::time::{Duration, Instant};

use callboard::store::migrate::{Outcome, Phase, Progress, StoreMigration};
use callboard::store::sqlite::{SqliteOptions, SqliteStore};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::runtime::Handle;

const RUNS: u64 = 50_000;

/// Runs as agents leave them behind: an input, two calls of a tool with their results, an answer that was streamed; one in a hundred is still
/// in line. About 15 KB each.
const FILL: &str = "
INSERT INTO accounts SELECT 'account-' || value, 'pro'
FROM (WITH RECURSIVE numbers (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value < 999) SELECT value FROM numbers);
INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, steps, input_tokens, output_tokens,
                  created_at, started_at, ended_at)
SELECT unhex(printf('%012x70008000%012x', 1700000000000 + value, value)), 'account-' || (value % 1000), 'pro',
       CASE WHEN value % 100 = 0 THEN 'queued' ELSE 'completed' END, 1, zeroblob(16), 120, 0, 3, 4000, 900,
       1700000000000000 + value, 1700000000000001 + value, CASE WHEN value % 100 = 0 THEN NULL ELSE 1700000000900000 + value END
FROM (WITH RECURSIVE numbers (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value + 1 < :runs) SELECT value FROM numbers);
INSERT INTO run_specs SELECT id, '{\"model\":\"' || hex(randomblob(150)) || '\"}' FROM runs;
INSERT INTO items SELECT id, value, '{\"text\":\"' || hex(randomblob(350)) || '\"}'
FROM runs, (WITH RECURSIVE numbers (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value < 5) SELECT value FROM numbers);
INSERT INTO event_batches SELECT id, value * 10, value * 10 + 9, CAST(hex(randomblob(400)) AS BLOB), 0
FROM runs, (WITH RECURSIVE numbers (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM numbers WHERE value < 11) SELECT value FROM numbers)";

/// How long one table took.
struct Part {
    phase: Phase,
    table: &'static str,
    rows: u64,
    time: Duration,
}

#[tokio::main]
async fn main() {
    let Ok(server) = std::env::var("CALLBOARD_TEST_POSTGRES_URL") else {
        println!("CALLBOARD_TEST_POSTGRES_URL is not set: run scripts/with-services cargo bench --bench migrate_store");
        return;
    };
    let runs = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(RUNS);
    let directory = tempfile::tempdir().expect("a directory");
    let source = SqliteOptions::new(directory.path().join("callboard.db"));
    make_source(&source, runs).await;
    let bytes = std::fs::metadata(&source.path).expect("the file").len();
    let target_url = fresh_schema(&server).await;

    let migration = StoreMigration { source, target_url };
    let mut parts: Vec<Part> = Vec::new();
    let started = Instant::now();
    let mut last = started;
    let mut note = |progress: Progress| {
        let (phase, table, now) = (progress.phase, progress.table, Instant::now());
        match parts
            .last_mut()
            .filter(|part| (part.phase, part.table) == (phase, table))
        {
            Some(part) => {
                part.rows = progress.done;
                part.time += now - last;
            }
            None => parts.push(Part {
                phase,
                table,
                rows: progress.done,
                time: now - last,
            }),
        }
        last = now;
    };
    let Outcome::Compared(comparisons) = migration.run(&mut note).await.expect("it runs") else {
        panic!("the target was not empty");
    };
    let seconds = started.elapsed().as_secs_f64();
    assert!(comparisons.iter().all(|comparison| comparison.is_same()));
    for part in &parts {
        let a_second = part.rows as f64 / part.time.as_secs_f64();
        println!(
            "{:?} {}: {} rows, {a_second:.0} a second",
            part.phase, part.table, part.rows
        );
    }
    for phase in [Phase::Copying, Phase::Comparing] {
        let of_phase = || parts.iter().filter(|part| part.phase == phase);
        let rows: u64 = of_phase().map(|part| part.rows).sum();
        let time: Duration = of_phase().map(|part| part.time).sum();
        let a_second = rows as f64 / time.as_secs_f64();
        let megabytes = bytes as f64 / 1e6 / time.as_secs_f64();
        println!(
            "{phase:?} all: {rows} rows in {:.1} s, {a_second:.0} rows and {megabytes:.1} MB of the file a second",
            time.as_secs_f64()
        );
    }
    println!(
        "{runs} runs, a file of {:.0} MB: moved in {seconds:.1} s",
        bytes as f64 / 1e6
    );
}

async fn make_source(source: &SqliteOptions, runs: u64) {
    let store = SqliteStore::open(source.clone(), &Handle::current())
        .await
        .expect("it opens");
    store.close().await;
    let options = SqliteConnectOptions::new().filename(&source.path);
    let mut connection = options.connect().await.expect("it connects");
    let fill = AssertSqlSafe(FILL.replace(":runs", &runs.to_string()));
    sqlx::raw_sql(fill)
        .execute(&mut connection)
        .await
        .expect("it is filled");
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await
        .expect("it is in the file");
    connection.close().await.expect("it closes");
}

async fn fresh_schema(server: &str) -> String {
    let options = PgConnectOptions::from_str(server).expect("a URL");
    let mut connection = options.connect().await.expect("the server answers");
    let schema = format!("bench_{}", uuid::Uuid::now_v7().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&mut connection)
        .await
        .expect("a schema");
    connection.close().await.expect("it closes");
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options=-csearch_path%3D{schema}")
}
