//! Several instances on one database.

use sqlx::{ConnectOptions, Connection};
use std::str::FromStr;

/// One of them migrates, the others find it done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_open_an_empty_database_at_once_migrate_it_once() {
    let url = super::fresh_url().await;
    let stores = futures::future::join_all((0..4).map(|_| super::open(&url))).await;
    assert_eq!(stores.len(), 4);
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).expect("a URL");
    let mut connection = options.connect().await.expect("connects");
    let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    assert_eq!(migrations, 1);
    connection.close().await.expect("closes");
}

/// Never more than the server grants, never less than one of each.
#[test]
fn connections_are_clamped_to_what_the_server_grants() {
    use super::super::open::share;
    assert_eq!(share(97, 4, 8), (4, 8));
    assert_eq!(share(10, 4, 8), (2, 5));
    assert_eq!(share(1, 4, 8), (1, 1));
}
