#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where")]

mod agents_conformance;
mod archive;
mod away;
mod budget_conformance;
mod conformance;
mod damaged;
mod files_conformance;
mod fleet_conformance;
mod holds;
mod instances;
mod long_queue;
mod plan;
mod queue_plan;
mod threads_conformance;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::str::FromStr;

use super::{PostgresOptions, PostgresStore};

/// The URL of an empty schema of the test server.
async fn fresh_url() -> String {
    let server = std::env::var("CALLBOARD_TEST_POSTGRES_URL")
        .expect("no Postgres to test with: run `scripts/with-services cargo test …`");
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let options = sqlx::postgres::PgConnectOptions::from_str(&server).expect("a URL");
    let mut connection = options.connect().await.expect("the test server answers");
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&mut connection)
        .await
        .expect("a schema");
    connection.close().await.expect("closes");
    let separator = if server.contains('?') { '&' } else { '?' };
    format!("{server}{separator}options=-csearch_path%3D{schema}")
}

async fn open(url: &str) -> PostgresStore {
    let mut options = PostgresOptions::new(url);
    options.lanes = 2;
    options.connections = 10;
    PostgresStore::open(options, &tokio::runtime::Handle::current())
        .await
        .expect("opens")
}
