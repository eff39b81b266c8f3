//! A database with a long queue, for tests and benches of what a claim costs. Written directly, because admitting so many takes minutes.

use sqlx::PgConnection;

const ACCOUNTS: &str = "
INSERT INTO accounts (account, tier, queued, next_place, turn)
SELECT 'account-' || number, 'pro', $1, $1, number FROM generate_series(0, $2 - 1) AS number";

/// One place of every line after the other, as if the accounts had come in turn.
const RUNS: &str = "
INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, next_item, created_at, line, place)
SELECT decode(lpad(to_hex(number), 32, '0'), 'hex'), 'account-' || number % $2, 'pro', 'queued', 0,
       decode(repeat('00', 16), 'hex'), 2, 0, 0, number, 1, number / $2
FROM generate_series(0, $1 * $2 - 1) AS number";

const SPECS: &str = r#"
INSERT INTO run_specs (run_id, spec)
SELECT id, '{"model":"fast","limits":{"max_steps":1,"deadline_seconds":60}}' FROM runs"#;

/// Fills an empty, migrated database: so many accounts, named `account-0` and on, each with so many runs in the queue and no limit.
pub(super) async fn fill(connection: &mut PgConnection, accounts: i64, runs_of_each: i64) {
    for statement in [ACCOUNTS, RUNS] {
        let insert = sqlx::query(statement).bind(runs_of_each).bind(accounts);
        insert.execute(&mut *connection).await.expect("inserts");
    }
    for statement in [SPECS, "ANALYZE accounts, runs, run_specs"] {
        sqlx::query(statement).execute(&mut *connection).await.expect("runs");
    }
}
