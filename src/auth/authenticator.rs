//! `Authorization: Bearer ck_…` → account and tier.
//!
//! Answers are kept for a second: a revoked key stops working, and the first key of a server counts, within that time. A store that does
//! not answer lets nobody in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::store::KeyRecord;
use callboard_actors::ports::{Store, StoreError};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The longest credential that is looked at, bytes.
const MAX_CREDENTIAL_BYTES: usize = 256;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose runs they see.
    pub account: AccountId,
    /// What they may do, a name of `config.toml`.
    pub tier: String,
    /// Whether a key proved it; `false` only on a server without keys.
    pub has_key: bool,
    /// Whether they may see the whole installation: with an operator's key, and on a server without keys.
    pub is_admin: bool,
}

/// Why nobody is let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// This server has keys and the request none.
    #[error("no API key")]
    Missing,
    /// Not a key of this server.
    #[error("unknown API key")]
    Invalid,
    /// It was one.
    #[error("revoked API key")]
    Revoked,
    /// The store did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks keys against the store. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    store: Arc<dyn Store>,
    io: tokio::runtime::Handle,
    keys: Cache<[u8; 32], Option<Arc<KeyRecord>>>,
    keyless: Cache<(), bool>,
    keys_seen: Arc<AtomicBool>,
    local_tier: Arc<str>,
}

impl Authenticator {
    /// How long an answer of the store counts.
    pub const CACHE_TIME: Duration = Duration::from_secs(1);
    /// How many keys, wrong ones included, are remembered.
    const CACHE_ENTRIES: u64 = 10_000;

    /// An authenticator that asks `store` on the runtime `io`. Callers of a server without keys get `local_tier`.
    pub fn new(store: Arc<dyn Store>, io: tokio::runtime::Handle, local_tier: &str) -> Self {
        let keys = Cache::builder()
            .max_capacity(Self::CACHE_ENTRIES)
            .time_to_live(Self::CACHE_TIME)
            .build();
        let keyless = Cache::builder().max_capacity(1).time_to_live(Self::CACHE_TIME).build();
        Self {
            store,
            io,
            keys,
            keyless,
            keys_seen: Arc::default(),
            local_tier: local_tier.into(),
        }
    }

    /// Something about keys or tiers was changed: asks the store again.
    pub fn forget_answers(&self) {
        self.keys.invalidate_all();
        self.keyless.invalidate_all();
    }

    /// Who sends this `Authorization` header.
    pub async fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Caller, AuthError> {
        let Some(header) = authorization else {
            return self.without_key().await;
        };
        let secret = bearer_secret(header).ok_or(AuthError::Invalid)?;
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let record = self.find_key(hash).await?.ok_or(AuthError::Invalid)?;
        // The store looked the hash up; comparing again costs nothing and does not trust its collation.
        if !bool::from(record.secret_hash.ct_eq(&hash)) {
            return Err(AuthError::Invalid);
        }
        if record.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        Ok(Caller {
            account: record.account.clone(),
            tier: record.tier.clone(),
            has_key: true,
            is_admin: record.is_admin,
        })
    }

    /// Whether this server has no keys and serves one local account.
    pub async fn is_keyless(&self) -> Result<bool, AuthError> {
        if self.keys_seen.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let asking = async {
            let store = self.store.clone();
            let asked = self.io.spawn(async move { store.has_keys().await }).await;
            asked.map_err(|error| StoreError::Unavailable(error.to_string()))?
        };
        let keyless = self
            .keyless
            .try_get_with((), async { asking.await.map(|has_keys| !has_keys) });
        let keyless = keyless.await.map_err(|error: Arc<StoreError>| (*error).clone())?;
        if !keyless {
            // Keys are never deleted, only revoked: once there were any, there always are.
            self.keys_seen.store(true, Ordering::Relaxed);
        }
        Ok(keyless)
    }

    async fn without_key(&self) -> Result<Caller, AuthError> {
        if !self.is_keyless().await? {
            return Err(AuthError::Missing);
        }
        Ok(Caller {
            account: AccountId::local(),
            tier: self.local_tier.to_string(),
            has_key: false,
            is_admin: true,
        })
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let asking = async {
            let store = self.store.clone();
            let asked = self.io.spawn(async move { store.find_key(hash).await }).await;
            let found = asked.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            found.map(|record| record.map(Arc::new))
        };
        let found = self.keys.try_get_with(hash, asking).await;
        found.map_err(|error: Arc<StoreError>| (*error).clone())
    }
}

fn bearer_secret(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    let secret = rest.trim_ascii();
    let fits = scheme.eq_ignore_ascii_case(b"Bearer ")
        && !secret.is_empty()
        && secret.len() <= MAX_CREDENTIAL_BYTES
        && secret.iter().all(u8::is_ascii_graphic);
    fits.then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use callboard_actors::testing::memory_store::MemoryStore;

    #[tokio::test]
    async fn a_store_that_does_not_answer_lets_nobody_in() {
        // This store knows events only: it refuses every question about keys.
        let store = Arc::new(MemoryStore::new());
        let authenticator = Authenticator::new(store, tokio::runtime::Handle::current(), "local");
        for authorization in [None, Some(&b"Bearer ck_abc"[..])] {
            let answer = authenticator.authenticate(authorization).await;
            assert!(matches!(answer, Err(AuthError::Store(_))), "{answer:?}");
        }
        assert!(authenticator.is_keyless().await.is_err());
    }

    #[test]
    fn only_bearer_credentials_are_secrets() {
        assert_eq!(bearer_secret(b"Bearer ck_abc"), Some(&b"ck_abc"[..]));
        assert_eq!(bearer_secret(b"bearer  ck_abc "), Some(&b"ck_abc"[..]));
        for wrong in [
            &b"Basic abc"[..],
            b"Bearer",
            b"Bearer ",
            b"ck_abc",
            b"",
            b"Bearer a b",
            &[b'x'; 400],
        ] {
            assert_eq!(bearer_secret(wrong), None);
        }
    }
}
