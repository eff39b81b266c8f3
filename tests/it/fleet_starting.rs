//! How a fleet comes to be: together, and only if its instances can hear each other.

use crate::harness::{TestFleet, story};

#[tokio::test]
async fn three_instances_that_start_at_once_on_a_fresh_database_migrate_it_once() {
    let fleet = TestFleet::new("").await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres"))
        .unwrap()
        .count();
    let done: (i64, bool) = sqlx::query_as("SELECT count(*), bool_and(success) FROM _sqlx_migrations")
        .fetch_one(&mut fleet.database().await)
        .await
        .unwrap();
    assert_eq!(done, (i64::try_from(migrations).unwrap(), true));
    let followings = fleet.followed_elsewhere(3, &story(5, 0), &a, &[&b, &c]).await;
    fleet.all_complete(followings, &[&a, &b, &c]).await;
    fleet.finish([a, b, c]).await;
}

#[tokio::test]
async fn instances_that_cannot_hear_each_other_are_refused_and_told_why() {
    let without_redis = "[events]\nredis_url_env = \"\"\n";
    for (first_settings, second_settings) in [(without_redis, without_redis), ("", without_redis), (without_redis, "")]
    {
        let fleet = TestFleet::new("").await;
        let mut first = fleet.fleet.instance("first").unwrap();
        first.options_mut().set(first_settings).unwrap();
        first.start().await.unwrap();
        let mut second = fleet.fleet.instance("second").unwrap();
        second.options_mut().set(second_settings).unwrap();
        let (code, printed) = second.start_in_vain().await.unwrap();
        assert_eq!(code, Some(1), "{printed}");
        assert!(printed.contains("another instance serves this database"), "{printed}");
        assert!(printed.contains("events.redis_url_env"), "{printed}");
        fleet.finish([first]).await;
        // As soon as it is alone it may serve.
        second.start().await.unwrap();
        fleet.finish([second]).await;
    }
}
