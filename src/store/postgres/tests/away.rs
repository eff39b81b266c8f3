//! What is said of a server that is not there.

use std::net::{Ipv4Addr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::store::activity::Activity;
use crate::store::postgres::open::{Connector, PostgresOpenError, check_url};
use crate::store::postgres::pool::Pool;
use crate::telemetry::testing::LogCapture;

/// A pool for a port that nobody listens at.
fn pool_for_nobody(activity: &Arc<Activity>) -> Pool {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let options = PgConnectOptions::from_str(&format!("postgres://nobody@127.0.0.1:{port}/none")).expect("a URL");
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options.clone());
    Pool::new(pool, Connector::for_tests(options, activity.clone()), activity.clone())
}

#[tokio::test]
async fn whoever_asks_a_server_that_is_away_hears_so_and_not_of_connections_in_use() {
    let log = LogCapture::start("info,sqlx=info");
    let activity = Arc::new(Activity::default());
    let pool = pool_for_nobody(&activity);
    let answers = futures::future::join_all((0..20).map(|_| pool.lend())).await;
    for answer in answers {
        let Err(StoreError::Unavailable(reason)) = answer else {
            panic!("nobody is there");
        };
        assert!(reason.contains("refused"), "{reason}");
    }
    let text = log.text();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("the store")).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert!(told[0].contains("is away") && told[0].contains("refused"), "{text}");
}

#[test]
fn a_url_is_of_postgresql_and_asks_for_what_there_is() {
    for right in [
        "postgres://me:secret@host:5432/base?sslmode=verify-full",
        "postgresql:///base?host=/run/postgresql",
    ] {
        check_url(right).expect(right);
    }
    for wrong in [
        "http://foo",
        "foo",
        "",
        "postgres://me:secret@host:port/base",
        "mysql://host/base",
    ] {
        assert!(matches!(check_url(wrong), Err(PostgresOpenError::Url)), "{wrong}");
    }
    let wrong = check_url("postgres://me:secret@host/base?sslmode=bogus");
    assert!(matches!(wrong, Err(PostgresOpenError::SslMode)), "{wrong:?}");
}
