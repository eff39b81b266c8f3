//! Nothing of a fleet goes over the network in the clear if its URLs ask for TLS, and certificates are looked at.

use std::path::Path;

use sqlx::Connection;

use crate::harness::{TestFleet, story};
use crate::rig::{Certificates, Postgres, PostgresOptions, Redis, RedisMemory};

fn trusting(database_url: &str, authority: &Path) -> String {
    let separator = if database_url.contains('?') { '&' } else { '?' };
    format!(
        "{database_url}{separator}sslmode=verify-full&sslrootcert={}",
        authority.display()
    )
}

#[tokio::test]
async fn both_services_may_be_reached_by_tls_only() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let postgres = PostgresOptions {
        tls: Some(certificates.clone()),
        ..PostgresOptions::default()
    };
    let postgres = Postgres::start(postgres).await.unwrap();
    let redis = Redis::start_with_tls(RedisMemory::Forgets, certificates.clone())
        .await
        .unwrap();
    let settings = format!("[events]\nredis_ca_file = \"{}\"\n", certificates.authority.display());
    let url = trusting(&postgres.url(), &certificates.authority);
    let fleet = TestFleet::on(&url, &redis.url(), &settings).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let followings = fleet.followed_elsewhere(4, &story(10, 20), &a, &[&b]).await;
    let mut database = fleet.database().await;
    let (encrypted, plain): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) \
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'callboard'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert!(
        encrypted > 0 && plain == 0,
        "{encrypted} connections with TLS, {plain} without"
    );
    database.close().await.unwrap();
    let ready = a.client().unwrap().get("/readyz").await.expect_status(200);
    assert_eq!(ready["status"], "ready", "Redis is reached as well");
    fleet.all_complete(followings, &[&a, &b]).await;

    // Somebody else's certificate is none.
    let elsewhere = tempfile::tempdir().unwrap();
    let strangers = Certificates::make(elsewhere.path()).unwrap();
    let mut misled = fleet.fleet.instance("misled").unwrap();
    misled.options_mut().database_url =
        trusting(&postgres.url(), &strangers.authority).replace("callboard@", "callboard:a-secret@");
    let (code, printed) = misled.start_in_vain().await.unwrap();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("cannot connect to the database"), "{printed}");
    assert!(!printed.contains("a-secret"), "{printed}");
    fleet.finish([a, b]).await;
}
