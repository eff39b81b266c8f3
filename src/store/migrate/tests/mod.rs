//! Moves between real databases. Runs that a server really made are moved in `tests/it/store_migration.rs`.

mod columns;
mod contents;
mod interrupted;
mod refusals;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::store::postgres::{PostgresOpenError, PostgresOptions, PostgresStore};
use crate::store::sqlite::SqliteStore;

/// A SQLite file, and an empty schema of the test server.
struct Site {
    migration: StoreMigration,
    _directory: TempDir,
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = SqliteOptions {
            lock_timeout: Duration::ZERO,
            ..SqliteOptions::new(directory.path().join("callboard.db"))
        };
        let store = SqliteStore::open(source.clone(), &Handle::current())
            .await
            .expect("opens");
        store.close().await;
        Self {
            migration: StoreMigration {
                source,
                target_url: fresh_url().await,
            },
            _directory: directory,
        }
    }

    /// One with the runs of [`FILL`].
    async fn filled() -> Self {
        let site = Self::new().await;
        site.write_to_source(FILL).await;
        site
    }

    async fn source(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.migration.source.path);
        options.connect().await.expect("connects")
    }

    async fn target(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.migration.target_url).expect("a URL");
        options.connect().await.expect("connects")
    }

    async fn write_to_source(&self, statements: &'static str) {
        let mut connection = self.source().await;
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .expect("written");
        connection.close().await.expect("closes");
    }

    async fn write_to_target(&self, statements: &'static str) {
        let mut connection = self.target().await;
        sqlx::raw_sql(statements)
            .execute(&mut connection)
            .await
            .expect("written");
        connection.close().await.expect("closes");
    }

    /// What a server says that is started on the target.
    async fn open_target(&self) -> Result<PostgresStore, PostgresOpenError> {
        let options = PostgresOptions::new(&self.migration.target_url);
        PostgresStore::open(options, &Handle::current()).await
    }

    async fn run(&self) -> Result<Outcome, MigrationError> {
        self.migration.run(&mut |_| {}).await
    }

    /// Runs it to its end, and gives the number of rows of each table.
    async fn run_to_success(&self) -> Vec<(&'static str, u64)> {
        let Outcome::Compared(comparisons) = self.run().await.expect("it runs") else {
            panic!("it was done before");
        };
        for comparison in &comparisons {
            assert!(comparison.is_same(), "{comparison:?}");
        }
        let rows = comparisons
            .iter()
            .map(|comparison| (comparison.table, comparison.source.rows()));
        rows.collect()
    }
}

/// The URL of an empty schema of the test server.
async fn fresh_url() -> String {
    let server = std::env::var("CALLBOARD_TEST_POSTGRES_URL")
        .expect("no Postgres to test with: run `scripts/with-services cargo test …`");
    let schema = format!("migrate_{}", uuid::Uuid::now_v7().simple());
    let options = PgConnectOptions::from_str(&server).expect("a URL");
    let mut connection = options.connect().await.expect("the test server answers");
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&mut connection)
        .await
        .expect("a schema");
    connection.close().await.expect("closes");
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options=-csearch_path%3D{schema}")
}

/// Accounts with keys and without, whose names sort differently in most languages than byte by byte; runs in every state, with and
/// without what may be NULL, with the largest numbers, with texts and bytes of all kinds.
const FILL: &str = r#"
INSERT INTO accounts VALUES ('acme', 'pro'), ('Zeta', 'free'), ('a-b', 'free'), ('ab', 'free'), ('a_b', 'plus');
INSERT INTO api_keys (id, account, secret_hash, last_four, is_admin, created_at, revoked_at) VALUES
    (x'0190000000007000800000000000aa01', 'acme', x'01', 'aaaa', 0, 1, NULL),
    (x'0190000000007000800000000000aa02', 'acme', x'02', 'bbbb', 1, 2, 3),
    (x'0190000000007000800000000000aa03', 'Zeta', x'0300ff', 'cccc', 0, -1, NULL);
INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, steps, input_tokens, output_tokens, error,
                  waiting, created_at, started_at, ended_at, queue_deadline, idempotency_key, request_hash) VALUES
    (x'01900000000070008000000000000001', 'acme', 'pro', 'completed', 1, x'0190000000007000800000000000bb01', 4, 0,
        9223372036854775807, 9223372036854775807, 7, NULL, NULL, 1, 2, 3, NULL, 'key ü "quoted"', x'00ff00'),
    (x'01900000000070008000000000000002', 'acme', 'pro', 'running', 3, x'0190000000007000800000000000bb01', 2, 99,
        1, 0, 0, NULL, NULL, 10, 11, NULL, NULL, NULL, NULL),
    (x'01900000000070008000000000000003', 'acme', 'pro', 'queued', 0, x'0190000000007000800000000000bb01', 2, 0,
        0, 0, 0, NULL, NULL, 20, NULL, NULL, 600, 'second', x''),
    (x'01900000000070008000000000000004', 'local', 'old', 'failed', 1, x'0190000000007000800000000000bb02', 2, 0,
        0, 0, 0, '{"code":"internal"}', NULL, 30, 31, 32, NULL, NULL, NULL),
    (x'01900000000070008000000000000005', 'local', 'local', 'waiting', 2, x'0190000000007000800000000000bb02', 3, 0,
        2, 5, 6, NULL, '"needs_review"', 40, 41, NULL, NULL, NULL, NULL),
    (x'01900000000070008000000000000006', 'acme', 'pro', 'queued', 1, x'0190000000007000800000000000bb01', 5, 0,
        1, 2, 3, NULL, NULL, 50, 51, NULL, NULL, NULL, NULL),
    (x'01900000000070008000000000000007', 'Zeta', 'free', 'cancelled', 0, x'0190000000007000800000000000bb02', 3, 0,
        0, 0, 0, NULL, NULL, 60, NULL, 61, NULL, NULL, NULL),
    (x'01900000000070008000000000000008', 'acme', 'pro', 'queued', 0, x'0190000000007000800000000000bb01', 2, 0,
        0, 0, 0, NULL, NULL, 70, NULL, NULL, NULL, NULL, NULL);
UPDATE runs SET calls = '{"next_index":1,"calls":[]}', calls_deadline = 77 WHERE state = 'waiting';
INSERT INTO run_specs SELECT id, '{"model":"' || hex(id) || '"}' FROM runs;
INSERT INTO items SELECT id, 0, '{"text":"' || hex(id) || '\u0000 ü 🦀"}' FROM runs;
INSERT INTO items VALUES (x'01900000000070008000000000000001', 1, ''), (x'01900000000070008000000000000001', 2, '[]');
INSERT INTO event_batches SELECT id, 0, 1, zeroblob(3), 0 FROM runs;
INSERT INTO event_batches VALUES
    (x'01900000000070008000000000000001', 2, 3, x'000102fdfeff', 1), (x'01900000000070008000000000000006', 2, 4, x'', 0);
INSERT INTO usage_entries (run_id, id, account, day, model, provider, input_tokens, output_tokens, cached_input_tokens,
                           reasoning_tokens, cost_nanos, call_micros, at, folded) VALUES
    (x'01900000000070008000000000000001', x'0190000000007000800000000000cc01', 'acme', 20000, 'fast', 'ü', 1, 2, 3, 4, 5, 6, 7, 1),
    (x'01900000000070008000000000000001', x'0190000000007000800000000000cc02', 'acme', 20001, '', '', 0, 0, 0, 0, 0, 0, -1, 0),
    (x'01900000000070008000000000000002', x'0190000000007000800000000000cc01', 'acme', 20001, 'fast', 'b', 9007199254740991,
        9007199254740991, 0, 0, 9007199254740991, 9007199254740991, 9223372036854775807, 0);
INSERT INTO usage_days (account, day, model, provider, calls, input_tokens, output_tokens, cached_input_tokens,
                        reasoning_tokens, cost_nanos, call_micros, cache_write_input_tokens) VALUES
    ('acme', 20000, 'fast', 'ü', 1, 1, 2, 3, 4, 5, 6, 7), ('acme', -1, 'Fast', 'b', 1, 1, 2, 3, 4, 5, 6, 0),
    ('Zeta', 20000, 'fast', 'b', 9007199254740991, 0, 0, 0, 0, 9007199254740991, 0, 9007199254740991);
UPDATE usage_entries SET cache_write_input_tokens = 8 WHERE folded = 1;
INSERT INTO budgets VALUES ('acme', 1, 2, 3, 4, 5, 6, 7, 8), ('never-had-a-run', 0, 0, 0, 0, 9007199254740991, 0, 0, 0);
INSERT INTO agents VALUES
    (x'0a000000000000000000000000000001', 'acme', 'helper', 2, 100),
    (x'0a000000000000000000000000000002', 'other', 'helper', 1, 101);
INSERT INTO agent_versions VALUES
    (x'0a000000000000000000000000000001', 1, 'assistant', '{}', 100),
    (x'0a000000000000000000000000000001', 2, 'helper', '{"description":"helps"}', 110),
    (x'0a000000000000000000000000000002', 1, 'helper', '{}', 101);
INSERT INTO file_objects VALUES
    (x'0f000000000000000000000000000001', 'acme', 'kept', x'00ff', 9223372036854775807, 2, 100),
    (x'0f000000000000000000000000000002', 'acme', 'garbage', NULL, 0, 0, -1),
    (x'0f000000000000000000000000000003', 'other', 'writing', NULL, 0, 0, 102);
INSERT INTO files VALUES
    (x'0f0000000000000000000000000000f1', 'acme', x'0f000000000000000000000000000001', 'ü "a".pdf', 'application/pdf', NULL, 9223372036854775807, x'00ff', 100),
    (x'0f0000000000000000000000000000f2', 'acme', x'0f000000000000000000000000000001', 'b', 'text/plain', 'x', 9223372036854775807, x'00ff', 101);
INSERT INTO file_usage VALUES ('acme', 2, 9223372036854775807), ('other', 0, 0);
INSERT INTO budget_top_ups VALUES
    (x'0190000000007000800000000000dd01', 'acme', 20000, 5, 6, 7, 8),
    (x'0190000000007000800000000000dd02', 'never-had-a-run', -1, 9007199254740991, 0, 0, 0);
INSERT INTO budget_holds VALUES
    (x'0190000000007000800000000000cc03', 'acme', x'01900000000070008000000000000002', 3, 1, 2, 1, 0, 9, 'fast', 'ü', 1, 2, 3, 4);
UPDATE runs SET cached_input_tokens = 4, cache_write_input_tokens = 6, reasoning_tokens = 5, cost_nanos = 9007199254740991 WHERE state = 'completed';
UPDATE runs SET history = 1 WHERE state = 'completed';
UPDATE runs SET history = 2 WHERE state = 'cancelled';
INSERT INTO threads VALUES
    (x'0190000000007000800000000000ee01', 'acme', '{"topic":"ü"}', 5, 4, NULL),
    (x'0190000000007000800000000000ee02', 'local', '{}', 6, 1, 7);
INSERT INTO thread_items VALUES (x'0190000000007000800000000000ee01', 0, '{"text":"hello"}');
UPDATE runs SET thread_id = x'0190000000007000800000000000ee01', hidden = 1, thread_position = 1 WHERE id = x'01900000000070008000000000000001';
UPDATE runs SET thread_id = x'0190000000007000800000000000ee01', cancel_requested = 1, thread_position = 2 WHERE state = 'running';
UPDATE runs SET thread_id = x'0190000000007000800000000000ee01', thread_position = 3 WHERE id = x'01900000000070008000000000000008';
"#;
