//! `callboard keys create|list|revoke`, on whatever store it is given.

use std::io::Write;

use callboard_actors::ids::{AccountId, KeyId};
use callboard_actors::ports::store::KeyRecord;
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::time::Timestamp;
use clap::Subcommand;
use serde_json::{Value, json};

use super::text::{table, to_the_minute};
use crate::app::shown_store;
use crate::auth::{ApiKeySecret, NoRandomNumbers};
use crate::config::Config;

/// What to do with the keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make a key for an account, which comes to be if it is new, and show its secret once
    Create {
        /// Whose key: 1 to 64 letters, digits, '-', '_' or '.'
        #[arg(long)]
        account: AccountId,
        /// The account's tier, one of [tiers]; it counts for all keys of the account
        #[arg(long)]
        tier: String,
        /// A key of the operator: it may also see the whole installation (GET /api/v1/cluster, /api/v1/models/keys)
        #[arg(long)]
        admin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all keys, oldest first, without their secrets
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key useless for good; a running server notices within a second
    Revoke {
        /// The key's id, as `callboard keys list` shows it
        #[arg(value_name = "KEY_ID")]
        key: KeyId,
    },
}

/// Why a command on keys was not done. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// No such tier.
    #[error("there is no tier {tier:?}; there are {known}")]
    UnknownTier {
        /// What was asked for.
        tier: String,
        /// What there is.
        known: String,
    },
    /// No such key.
    #[error("there is no key {0}; `callboard keys list` shows all of them")]
    UnknownKey(KeyId),
    /// No secret could be made.
    #[error(transparent)]
    Secret(#[from] NoRandomNumbers),
    /// The store did not do it.
    #[error("the store did not do it")]
    Store(#[from] StoreError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

/// Does it, and prints to `output`.
///
/// # Errors
/// See [`KeysError`]. After an error of the output a key may have been made that nobody has seen the secret of: revoke it.
pub async fn run(
    command: KeysCommand,
    config: &Config,
    store: &dyn Store,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    match command {
        KeysCommand::Create {
            account,
            tier,
            admin,
            json,
        } => {
            let wanted = WantedKey { account, tier, admin };
            create(wanted, json, config, store, output).await
        }
        KeysCommand::List { json } => list(json, store, output).await,
        KeysCommand::Revoke { key } => revoke(key, store, output).await,
    }
}

/// The key that is to be made.
struct WantedKey {
    account: AccountId,
    tier: String,
    admin: bool,
}

async fn create(
    wanted: WantedKey,
    json: bool,
    config: &Config,
    store: &dyn Store,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    if !config.tiers.contains_key(&wanted.tier) {
        let known: Vec<&str> = config.tiers.keys().map(String::as_str).collect();
        let (tier, known) = (wanted.tier, known.join(", "));
        return Err(KeysError::UnknownTier { tier, known });
    }
    let secret = ApiKeySecret::generate()?;
    let record = KeyRecord {
        id: KeyId::new(),
        account: wanted.account,
        tier: wanted.tier,
        secret_hash: secret.hash(),
        last_four: secret.last_four(),
        is_admin: wanted.admin,
        created_at: Timestamp::now(),
        revoked_at: None,
    };
    store.create_key(record.clone()).await?;
    if json {
        let mut shown = as_json(&record);
        shown["secret"] = json!(secret.reveal());
        shown["store"] = json!(shown_store(config));
        writeln!(output, "{shown:#}")?;
        return Ok(());
    }
    writeln!(output, "{}", secret.reveal())?;
    writeln!(output)?;
    writeln!(
        output,
        "This is the secret of {} (account {}, tier {}{}).",
        record.id,
        record.account,
        record.tier,
        admin_mark(&record)
    )?;
    writeln!(output, "The key is in the store {}.", shown_store(config))?;
    writeln!(
        output,
        "The secret is shown only now. Clients send it as `Authorization: Bearer <secret>`."
    )?;
    Ok(())
}

async fn list(json: bool, store: &dyn Store, output: &mut impl Write) -> Result<(), KeysError> {
    let keys = store.list_keys().await?;
    if json {
        let keys: Vec<Value> = keys.iter().map(as_json).collect();
        writeln!(output, "{:#}", json!({ "data": keys }))?;
        return Ok(());
    }
    if keys.is_empty() {
        writeln!(
            output,
            "There are no keys: the server serves one local account, on a loopback address only."
        )?;
        return Ok(());
    }
    // Two lines a key: an id and two points in time do not fit into 80 columns side by side.
    let row = |key: &KeyRecord| {
        let state = key
            .revoked_at
            .map_or("active".to_owned(), |at| format!("revoked {}", to_the_minute(at)));
        [
            format!("{}\n  {} · {}{}", key.id, key.account, key.tier, admin_mark(key)),
            format!("ck_…{}", key.last_four),
            format!("created {}\n{state}", to_the_minute(key.created_at)),
        ]
    };
    writeln!(
        output,
        "{}",
        table(
            ["key, account · tier", "secret", "state (UTC)"],
            keys.iter().map(row).collect(),
            &[]
        )
    )?;
    Ok(())
}

async fn revoke(key: KeyId, store: &dyn Store, output: &mut impl Write) -> Result<(), KeysError> {
    if !store.revoke_key(key, Timestamp::now()).await? {
        return Err(KeysError::UnknownKey(key));
    }
    writeln!(output, "{key} is revoked.")?;
    Ok(())
}

/// What a list of a key's rights ends with.
const fn admin_mark(key: &KeyRecord) -> &'static str {
    if key.is_admin { ", admin" } else { "" }
}

/// Without the hash: nobody needs it, and what is not shown cannot leak.
fn as_json(key: &KeyRecord) -> Value {
    json!({
        "id": key.id,
        "account": key.account,
        "tier": key.tier,
        "last_four": key.last_four,
        "admin": key.is_admin,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    })
}

#[cfg(test)]
mod tests;
