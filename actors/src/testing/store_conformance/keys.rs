//! API keys.

use std::sync::Arc;

use super::fixtures::account;
use crate::ids::KeyId;
use crate::ports::Store;
use crate::ports::store::KeyRecord;
use crate::time::Timestamp;

fn key(account_name: &str, tier: &str, secret: u8) -> KeyRecord {
    KeyRecord {
        id: KeyId::new(),
        account: account(account_name),
        tier: tier.into(),
        secret_hash: [secret; 32],
        last_four: "wxyz".into(),
        is_admin: secret == 3,
        created_at: Timestamp::from_micros(i64::from(secret)),
        revoked_at: None,
    }
}

/// A revoked key is still found, and says so; the first time of revoking counts.
pub async fn keys_are_found_listed_and_revoked(store: Arc<dyn Store>) {
    let keys = [key("acme", "pro", 1), key("beta", "free", 2), key("acme", "pro", 3)];
    for key in &keys {
        store.create_key(key.clone()).await.expect("written");
    }
    assert_eq!(store.list_keys().await, Ok(keys.to_vec()));
    assert_eq!(store.find_key([3; 32]).await, Ok(Some(keys[2].clone())));
    assert_eq!(store.find_key([4; 32]).await, Ok(None));
    assert!(
        store
            .create_key(KeyRecord {
                tier: "plus".into(),
                ..key("acme", "plus", 1)
            })
            .await
            .is_err()
    );
    assert_eq!(
        store.list_keys().await,
        Ok(keys.to_vec()),
        "a secret is used once; the refused one changed no tier"
    );
    for key in &keys {
        for seconds in [10, 20] {
            assert_eq!(
                store.revoke_key(key.id, Timestamp::from_micros(seconds)).await,
                Ok(true)
            );
        }
    }
    let revoked_at = Some(Timestamp::from_micros(10));
    let found = store.find_key([2; 32]).await;
    assert_eq!(
        found,
        Ok(Some(KeyRecord {
            revoked_at,
            ..keys[1].clone()
        }))
    );
    assert_eq!(store.has_keys().await, Ok(true), "revoked keys count");
    assert_eq!(store.revoke_key(KeyId::new(), Timestamp::now()).await, Ok(false));
}

/// A tier belongs to the account.
pub async fn the_last_tier_counts_for_all_keys_of_an_account(store: Arc<dyn Store>) {
    let (first, second) = (key("acme", "free", 1), key("acme", "ultra", 2));
    store.create_key(first.clone()).await.expect("written");
    store.create_key(key("beta", "plus", 3)).await.expect("written");
    store.create_key(second).await.expect("written");
    let tier = |key: Option<KeyRecord>| key.expect("the key is there").tier;
    assert_eq!(tier(store.find_key([1; 32]).await.expect("the store answers")), "ultra");
    assert_eq!(tier(store.find_key([3; 32]).await.expect("the store answers")), "plus");
}

/// And counts what it does.
pub async fn a_store_that_answers_can_be_pinged(store: Arc<dyn Store>) {
    let before = store.usage();
    store.ping().await.expect("a write can be made");
    let after = store.usage();
    assert!(after.commits > before.commits && after.statements > before.statements);
    assert!(after.connections_open >= 1 && after.connections_open <= after.connections_limit);
    assert_eq!(after.writes_waiting, 0);
}
