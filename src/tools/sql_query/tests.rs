//! Statements on real databases, and all the ways to make them write or last.

use std::sync::Arc;
use std::time::Instant;

use callboard_actors::ids::{AccountId, ItemId, RunId};
use serde_json::Value;
use tokio::runtime::Handle;

use super::*;
use crate::blocking::BlockingPool;
use crate::outbound::testing::outbound_to;
use crate::secrets::Secrets;

fn reach() -> ToolReach {
    ToolReach {
        outbound: outbound_to(&[]),
        secrets: Arc::new(Secrets::default()),
        blocking_pool: BlockingPool::new(Handle::current(), 4),
    }
}

fn tool(place: DatabasePlace, timeout: Duration) -> SqlQuery {
    let options = DatabaseOptions {
        place,
        max_rows: 3,
        timeout,
        max_concurrent: 2,
    };
    SqlQuery::new([("shop".to_owned(), options)].into(), 10_000, reach()).expect("a tool")
}

async fn asked(tool: &SqlQuery, queries: &[&str]) -> Result<Value, String> {
    let call = ToolCall {
        account: AccountId::local(),
        run_id: RunId::new(),
        item_id: ItemId::new(),
        arguments: json!({"queries": queries}),
    };
    let answer = tool.call(call).await.map_err(|error| error.message)?;
    Ok(serde_json::from_str(&answer).expect("JSON"))
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

struct Shop {
    directory: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = rusqlite::Connection::open(directory.path().join("shop.db")).expect("a file");
        let tables = "CREATE TABLE goods (id INTEGER, name TEXT, price REAL, picture BLOB);
             INSERT INTO goods VALUES (1, 'pen', 1.5, x'00'), (2, 'ink', 2, NULL), (3, 'pad', 3, NULL), (4, 'box', 9007199254740993, NULL);";
        connection.execute_batch(tables).expect("tables");
        let other = rusqlite::Connection::open(directory.path().join("other.db")).expect("a file");
        other.execute_batch("CREATE TABLE secrets (s TEXT)").expect("a table");
        Self { directory }
    }

    fn tool(&self, timeout: Duration) -> SqlQuery {
        tool(DatabasePlace::Sqlite(self.directory.path().join("shop.db")), timeout)
    }
}

#[tokio::test]
async fn sqlite_is_read_in_bounds() {
    let shop = Shop::new();
    let tool = shop.tool(LONG);
    let queries = [
        "SELECT id, name, price, picture, id FROM goods WHERE id < 3",
        "SELECT id FROM goods;",
        "SELECT nowhere FROM goods",
    ];
    let answer = asked(&tool, &queries).await.expect("an answer");
    assert_eq!(
        answer[0],
        json!({"columns": ["id", "name", "price", "picture", "id"], "rows": [[1, "pen", 1.5, "[1 bytes]", 1], [2, "ink", 2.0, null, 2]]})
    );
    assert_eq!(
        answer[1],
        json!({"columns": ["id"], "rows": [[1], [2], [3]], "truncated": true})
    );
    assert_eq!(answer[2]["error"], "no such column: nowhere");
    let table = asked(&tool, &["PRAGMA table_info(goods)"]).await.expect("an answer");
    assert_eq!(table[0]["rows"].as_array().map(Vec::len), Some(3));
    let wide = asked(&tool, &["SELECT printf('%.*c', 20000, 'x')"])
        .await
        .expect("an answer");
    assert_eq!(
        wide[0],
        json!({"columns": ["printf('%.*c', 20000, 'x')"], "rows": [], "truncated": true})
    );
}

#[tokio::test]
async fn sqlite_writes_nothing_and_sees_no_other_file() {
    let shop = Shop::new();
    let tool = shop.tool(LONG);
    let other = shop.directory.path().join("other.db");
    let attach = format!("ATTACH '{}' AS o", other.display());
    let vacuum = format!("VACUUM INTO '{}'", shop.directory.path().join("copy.db").display());
    for query in [
        "INSERT INTO goods VALUES (5, 'x', 1, NULL)",
        "UPDATE goods SET id = 0",
        "DELETE FROM goods",
        "DROP TABLE goods",
        "CREATE TEMP TABLE t AS SELECT 1",
        "PRAGMA query_only = off",
        "PRAGMA writable_schema = on",
        "SELECT 1; DELETE FROM goods",
        "WITH x AS (SELECT 1) DELETE FROM goods",
        "SELECT load_extension('x')",
        "BEGIN",
        attach.as_str(),
        vacuum.as_str(),
    ] {
        let error = asked(&tool, &[query]).await.expect_err(query);
        let is_refused = error.starts_with("only statements that read")
            || error.starts_with("there must be one statement")
            || error.contains("not authorized");
        assert!(is_refused, "{query}: {error}");
    }
    assert!(!shop.directory.path().join("copy.db").exists());
    let left = asked(&tool, &["SELECT count(*) FROM goods"]).await.expect("an answer");
    assert_eq!(left[0]["rows"], json!([[4]]));
}

#[tokio::test]
async fn sqlite_does_not_think_for_ever_and_makes_no_huge_values() {
    let shop = Shop::new();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let began = Instant::now();
    let error = asked(&shop.tool(SHORT), &[endless]).await.expect_err("too long");
    assert_eq!(error, "the statement took longer than 300ms");
    assert!(began.elapsed() < LONG);
    for large in [
        "SELECT length(randomblob(2000000))",
        "SELECT length(printf('%.*c', 100000000, 'x'))",
    ] {
        let error = asked(&shop.tool(LONG), &[large]).await;
        assert!(
            error.as_ref().is_err_and(|error| error.contains("too big"))
                || error == Ok(json!([{"columns": [large.trim_start_matches("SELECT ")], "rows": [[null]]}])),
            "{error:?}"
        );
    }
    let missing = tool(DatabasePlace::Sqlite(shop.directory.path().join("missing.db")), LONG);
    assert_eq!(
        asked(&missing, &["SELECT 1"]).await,
        Err("the database cannot be opened".to_owned())
    );
    assert!(!shop.directory.path().join("missing.db").exists());
}

#[tokio::test]
async fn databases_are_named_where_there_are_several() {
    let shop = Shop::new();
    let options = |file: &str| DatabaseOptions {
        place: DatabasePlace::Sqlite(shop.directory.path().join(file)),
        max_rows: 10,
        timeout: LONG,
        max_concurrent: 1,
    };
    let databases = [
        ("other".to_owned(), options("other.db")),
        ("shop".to_owned(), options("shop.db")),
    ];
    let tool = SqlQuery::new(databases.into(), 10_000, reach()).expect("a tool");
    assert_eq!(tool.definition().parameters["required"], json!(["queries", "database"]));
    let error = asked(&tool, &["SELECT 1"]).await.expect_err("which?");
    assert_eq!(error, "`database` is needed: one of other, shop");
}

fn postgres(timeout: Duration) -> SqlQuery {
    let url = std::env::var("CALLBOARD_TEST_POSTGRES_URL")
        .expect("no Postgres to test with: run `scripts/with-services cargo test …`");
    tool(DatabasePlace::Postgres(url.into()), timeout)
}

#[tokio::test]
async fn postgres_is_read_in_bounds() {
    let tool = postgres(LONG);
    let queries = [
        "SELECT 1 AS a, 'x' AS b, NULL AS a, 12345678901234567890.5::numeric AS n, '{\"k\": [1]}'::jsonb AS j, now()::date = current_date AS d -- end",
        "SELECT * FROM generate_series(1, 1000000);",
        "SELECT nothing",
        "VALUES (1), (2)",
    ];
    let answer = asked(&tool, &queries).await.expect("an answer");
    assert_eq!(answer[0]["columns"], json!(["a", "b", "a", "n", "j", "d"]));
    assert_eq!(answer[0]["rows"][0][0], json!(1));
    assert_eq!(answer[0]["rows"][0][2], Value::Null);
    assert_eq!(answer[0]["rows"][0][4], json!({"k": [1]}));
    assert_eq!(answer[1]["rows"], json!([[1], [2], [3]]));
    assert_eq!(answer[1]["truncated"], json!(true));
    assert_eq!(answer[2]["error"], "column \"nothing\" does not exist");
    assert_eq!(answer[3]["rows"], json!([[1], [2]]));
    let large = asked(&tool, &["SELECT repeat('x', 2000000)"])
        .await
        .expect_err("too large");
    assert_eq!(large, "a row has more than 1000000 bytes");
}

#[tokio::test]
async fn postgres_writes_nothing() {
    let url = std::env::var("CALLBOARD_TEST_POSTGRES_URL").expect("no Postgres to test with");
    let table = format!("sql_query_{}", uuid::Uuid::now_v7().simple());
    let mut owner = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
        .await
        .expect("it answers");
    let run = async |owner: &mut sqlx::PgConnection, text: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(owner)
            .await
            .expect("it is done");
    };
    let function = format!(
        "CREATE TABLE {table} (a int); CREATE FUNCTION {table}_f() RETURNS int LANGUAGE plpgsql AS \
         $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO {table} VALUES (1); RETURN 1; END $$"
    );
    run(&mut owner, function).await;
    let tool = postgres(LONG);
    for query in [
        format!("INSERT INTO {table} VALUES (1)"),
        format!("WITH x AS (INSERT INTO {table} VALUES (1) RETURNING a) SELECT * FROM x"),
        format!("SELECT 1; INSERT INTO {table} VALUES (1)"),
        format!("SELECT 1) AS q; INSERT INTO {table} VALUES (1); SELECT (1"),
        "SELECT 1) AS q(c0) UNION ALL SELECT repeat('x', 10) FROM (SELECT 1".to_owned(),
        format!("SELECT {table}_f()"),
        format!("SELECT set_config('transaction_read_only', 'off', true), {table}_f()"),
        format!("SELECT * INTO {table}_copy FROM {table}"),
        format!("SELECT a FROM {table} FOR UPDATE"),
        "SET TRANSACTION READ WRITE".to_owned(),
        "DO $$ BEGIN NULL; END $$".to_owned(),
        format!("COPY {table} TO '/tmp/x'"),
        "COMMIT".to_owned(),
        "EXPLAIN ANALYZE SELECT 1".to_owned(),
        "/* x */ SELECT 1".to_owned(),
    ] {
        let answer = asked(&tool, &[&query]).await;
        assert!(answer.is_err(), "{query}: {answer:?}");
    }
    let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
    let count = count.fetch_one(&mut owner).await.expect("a number");
    assert_eq!(count, 0);
    run(&mut owner, format!("DROP FUNCTION {table}_f; DROP TABLE {table}")).await;
}

#[tokio::test]
async fn postgres_does_not_think_for_ever_and_tells_nothing_of_where_it_is() {
    let error = asked(&postgres(SHORT), &["SELECT pg_sleep(60)"])
        .await
        .expect_err("too long");
    assert_eq!(error, "the statement took longer than 300ms");
    let error = asked(
        &postgres(SHORT),
        &["SELECT count(*) FROM generate_series(1, 100000000000)"],
    )
    .await;
    assert_eq!(error, Err("the statement took longer than 300ms".to_owned()));
    let nowhere = tool(
        DatabasePlace::Postgres("postgres://me:hidden@127.0.0.1:1/x".into()),
        LONG,
    );
    assert_eq!(
        asked(&nowhere, &["SELECT 1"]).await,
        Err("the database does not answer".to_owned())
    );
}
