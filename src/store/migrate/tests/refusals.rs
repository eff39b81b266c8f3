//! What is refused, with the sentence that says why, and that a refusal changes nothing.

use callboard_actors::ids::{InstanceId, KeyId};
use callboard_actors::ports::fleet::NewInstance;
use callboard_actors::ports::store::KeyRecord;
use callboard_actors::ports::{Fleet, Store};

use super::*;

async fn refusal(site: &Site) -> String {
    let error = site.run().await.expect_err("it is refused");
    error.to_string()
}

#[tokio::test]
async fn a_source_that_is_being_served_is_refused() {
    let site = Site::filled().await;
    let server = SqliteStore::open(site.migration.source.clone(), &Handle::current())
        .await
        .expect("opens");
    let refused = refusal(&site).await;
    assert!(
        refused.starts_with("a server is using ") && refused.contains("stop it first"),
        "{refused}"
    );
    server.close().await;
    site.run_to_success().await;
}

#[tokio::test]
async fn a_file_that_is_missing_does_not_come_to_be() {
    let mut site = Site::new().await;
    let path = site.migration.source.path.with_file_name("nothing.db");
    site.migration.source.path = path.clone();
    assert_eq!(refusal(&site).await, format!("there is no file {}", path.display()));
    assert!(!path.exists() && !path.with_extension("db.lock").exists());
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused() {
    let site = Site::new().await;
    for content in [
        "no database at all, but long enough to be read as the head of one; ".repeat(20),
        String::new(),
    ] {
        std::fs::write(&site.migration.source.path, content).expect("written");
        let refused = refusal(&site).await;
        assert!(refused.ends_with("is not a database of Callboard"), "{refused}");
    }
}

#[tokio::test]
async fn schemas_of_other_versions_are_refused() {
    let site = Site::filled().await;
    site.write_to_source(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, '', TRUE, x'', 0)",
    )
    .await;
    let refused = refusal(&site).await;
    assert!(
        refused.contains("has version 9999 of the schema, which this version"),
        "{refused}"
    );
    site.write_to_source("DELETE FROM _sqlx_migrations WHERE version >= (SELECT max(version) FROM _sqlx_migrations WHERE version < 9999)")
        .await;
    let refused = refusal(&site).await;
    assert!(
        refused.contains("start a server of this version of Callboard on it"),
        "{refused}"
    );

    let site = Site::filled().await;
    site.open_target().await.expect("makes the tables").close().await;
    site.write_to_target(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, '', TRUE, '', 0)",
    )
    .await;
    let refused = refusal(&site).await;
    assert!(
        refused.starts_with("the target has version 9999 of the schema"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_target_with_anything_of_its_own_is_refused_and_left_alone() {
    let site = Site::filled().await;
    let store = site.open_target().await.expect("opens");
    let key = KeyRecord {
        id: KeyId::new(),
        account: "acme".parse().expect("a name"),
        tier: "pro".into(),
        secret_hash: [1; 32],
        last_four: "wxyz".into(),
        is_admin: false,
        created_at: Timestamp::from_micros(1),
        revoked_at: None,
    };
    store.create_key(key).await.expect("written");
    let refused = refusal(&site).await;
    assert!(refused.starts_with("the target has keys already: "), "{refused}");
    assert_eq!(store.list_keys().await.expect("read").len(), 1);
    store.close().await;
    site.open_target()
        .await
        .expect("a server may still start")
        .close()
        .await;
}

#[tokio::test]
async fn a_target_that_is_being_served_is_refused() {
    let site = Site::filled().await;
    let store = site.open_target().await.expect("opens");
    let instance = InstanceId::new();
    let joining = store.join(NewInstance {
        id: instance,
        name: "blue".to_owned(),
        place: None,
        version: String::new(),
        lease: Duration::from_secs(600),
        shares_events: true,
    });
    joining.await.expect("joins");
    assert_eq!(
        refusal(&site).await,
        "the instance \"blue\" is serving the target: stop it first"
    );
    store.leave(instance).await.expect("leaves");
    store.close().await;
    site.run_to_success().await;
}

#[tokio::test]
async fn what_was_moved_is_not_moved_again() {
    let mut site = Site::filled().await;
    site.run_to_success().await;
    let outcome = site.run().await.expect("nothing is left to do");
    assert!(matches!(outcome, Outcome::DoneBefore(_)), "{outcome:?}");

    // Somebody went on with the file.
    site.write_to_source("UPDATE runs SET next_seq = next_seq + 1 WHERE state = 'running'")
        .await;
    let refused = refusal(&site).await;
    assert!(refused.contains("and has been written to since"), "{refused}");

    // Another installation.
    let other = Site::filled().await;
    site.migration.source = other.migration.source.clone();
    let refused = refusal(&site).await;
    assert!(
        refused.starts_with("the target has what another file had already"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_half_done_migration_of_another_file_is_left_alone() {
    let site = Site::filled().await;
    site.open_target().await.expect("makes the tables").close().await;
    site.write_to_target(
        "INSERT INTO store_migration (id, source, source_state, state) VALUES (1, '\\x01', '\\x02', 'copying')",
    )
    .await;
    let refused = refusal(&site).await;
    assert!(
        refused.starts_with("the target holds a half-done migration of another file"),
        "{refused}"
    );
}

#[tokio::test]
async fn nobody_sees_the_url() {
    let mut site = Site::new().await;
    for url in [
        "postgres://callboard:hunter2@127.0.0.1:1/none",
        "postgres:hunter2",
        "hunter2",
    ] {
        site.migration.target_url = url.to_owned();
        let error = site.run().await.expect_err("nobody answers there");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
