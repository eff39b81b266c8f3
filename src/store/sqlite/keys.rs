//! API keys, idempotency keys, and the trial write of `ping`.

use callboard_actors::ids::KeyId;
use callboard_actors::ports::store::KeyRecord;
use callboard_actors::time::Timestamp;

use super::rows::IdBytes;
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

const SET_TIER: &str = "INSERT INTO accounts (account, tier) VALUES (?, ?) \
                        ON CONFLICT (account) DO UPDATE SET tier = excluded.tier";

const CREATE_KEY: &str = "INSERT INTO api_keys (id, account, secret_hash, last_four, is_admin, created_at, revoked_at) \
                          VALUES (?, ?, ?, ?, ?, ?, ?)";

const REVOKE_KEY: &str = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?";

const FORGET: &str = "UPDATE runs SET idempotency_key = NULL, request_hash = NULL WHERE id IN \
                      (SELECT id FROM runs WHERE idempotency_key IS NOT NULL AND created_at < ? LIMIT ?)";

const PING: &str = "UPDATE pings SET count = count + 1 WHERE id = 1";

impl Write for KeyRecord {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        let set_tier = sqlx::query(SET_TIER).bind(self.account.as_str()).bind(&self.tier);
        transaction.execute(set_tier).await?;
        let create = sqlx::query(CREATE_KEY)
            .bind(self.id.id_bytes())
            .bind(self.account.as_str())
            .bind(&self.secret_hash[..])
            .bind(&self.last_four)
            .bind(i64::from(self.is_admin))
            .bind(self.created_at.as_micros())
            .bind(self.revoked_at.map(Timestamp::as_micros));
        transaction.execute(create).await?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct RevokeKey {
    pub(super) key: KeyId,
    pub(super) at: Timestamp,
}

impl Write for RevokeKey {
    type Answer = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteFailure> {
        let revoke = sqlx::query(REVOKE_KEY)
            .bind(self.at.as_micros())
            .bind(self.key.id_bytes());
        Ok(transaction.execute(revoke).await? > 0)
    }
}

/// Forgets at most `limit` idempotency keys and says how many.
#[derive(Debug)]
pub(super) struct ForgetIdempotencyKeys {
    pub(super) created_before: Timestamp,
    pub(super) limit: u32,
}

impl Write for ForgetIdempotencyKeys {
    type Answer = u64;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u64, WriteFailure> {
        let forget = sqlx::query(FORGET)
            .bind(self.created_before.as_micros())
            .bind(self.limit);
        Ok(transaction.execute(forget).await?)
    }
}

#[derive(Debug)]
pub(super) struct Ping;

impl Write for Ping {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        transaction.execute(sqlx::query(PING)).await?;
        Ok(())
    }
}
