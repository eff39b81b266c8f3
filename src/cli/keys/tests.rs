//! Keys in a real store.

use super::*;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use sha2::{Digest, Sha256};

/// A store in a directory that is gone with it.
async fn new_store() -> (SqliteStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SqliteOptions::new(directory.path().join("callboard.db"));
    let runtime = tokio::runtime::Handle::current();
    let store = SqliteStore::open_shared(options, &runtime).await.expect("a store");
    (store, directory)
}

async fn output_of(command: KeysCommand, store: &dyn Store) -> Result<String, KeysError> {
    let mut output = Vec::new();
    run(command, &Config::default(), store, &mut output).await?;
    Ok(String::from_utf8(output).expect("UTF-8"))
}

fn create(tier: &str, json: bool) -> KeysCommand {
    KeysCommand::Create {
        account: "acme".parse().expect("a name"),
        tier: tier.to_owned(),
        admin: false,
        json,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_operators_key_is_marked_as_one() {
    let (store, _directory) = new_store().await;
    let wanted = |admin, json| KeysCommand::Create {
        account: "acme".parse().expect("a name"),
        tier: "pro".to_owned(),
        admin,
        json,
    };
    output_of(wanted(false, true), &store).await.expect("created");
    let said = output_of(wanted(true, false), &store).await.expect("created");
    assert!(said.contains("(account acme, tier pro, admin)"), "{said}");
    let listed = output_of(KeysCommand::List { json: true }, &store)
        .await
        .expect("listed");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let admins: Vec<&Value> = (0..2).map(|place| &listed["data"][place]["admin"]).collect();
    assert_eq!(admins, [&json!(false), &json!(true)]);
    let listed = output_of(KeysCommand::List { json: false }, &store)
        .await
        .expect("listed");
    assert_eq!(listed.matches("acme · pro, admin").count(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_key_is_shown_once_found_by_its_hash_and_revoked() {
    let (store, _directory) = new_store().await;
    let created = output_of(create("pro", true), &store).await.expect("created");
    let created: Value = serde_json::from_str(&created).expect("JSON");
    let secret = created["secret"].as_str().expect("text");
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let record = store.find_key(hash).await.expect("a store").expect("a key");
    assert_eq!((record.account.as_str(), record.tier.as_str()), ("acme", "pro"));

    for json in [false, true] {
        let listed = output_of(KeysCommand::List { json }, &store).await.expect("listed");
        assert!(!listed.contains(&secret[3..40]) && listed.contains(&record.last_four));
        assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    }
    output_of(KeysCommand::Revoke { key: record.id }, &store)
        .await
        .expect("revoked");
    let listed = output_of(KeysCommand::List { json: false }, &store)
        .await
        .expect("listed");
    assert!(listed.contains("revoked 20"), "{listed}");
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_tier_is_refused_with_those_there_are_and_changes_nothing() {
    let (store, _directory) = new_store().await;
    let error = output_of(create("gold", false), &store)
        .await
        .expect_err("no such tier");
    assert_eq!(
        error.to_string(),
        "there is no tier \"gold\"; there are free, local, plus, pro, ultra"
    );
    assert_eq!(crate::cli::exit_code(&error.into()), 2);
    assert!(!store.has_keys().await.expect("a store"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_unknown_key_cannot_be_revoked() {
    let (store, _directory) = new_store().await;
    let command = KeysCommand::Revoke { key: KeyId::new() };
    let error = output_of(command, &store).await.expect_err("no such key");
    assert!(matches!(error, KeysError::UnknownKey(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn people_see_the_secret_on_a_line_of_its_own() {
    let (store, _directory) = new_store().await;
    let text = output_of(create("free", false), &store).await.expect("created");
    let secret = text.lines().next().expect("a line");
    assert!(secret.starts_with("ck_") && secret.len() == 67, "{secret}");
}
