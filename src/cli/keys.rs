//! `callboard keys create|list|revoke`, on whatever store it is given.

use std::io::Write;

use callboard_actors::ids::{AccountId, KeyId};
use callboard_actors::ports::store::KeyRecord;
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::time::Timestamp;
use clap::Subcommand;
use serde_json::{Value, json};

use super::text::table;
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
        KeysCommand::Create { account, tier, json } => create(account, tier, json, config, store, output).await,
        KeysCommand::List { json } => list(json, store, output).await,
        KeysCommand::Revoke { key } => revoke(key, store, output).await,
    }
}

async fn create(
    account: AccountId,
    tier: String,
    json: bool,
    config: &Config,
    store: &dyn Store,
    output: &mut impl Write,
) -> Result<(), KeysError> {
    if !config.tiers.contains_key(&tier) {
        let known: Vec<&str> = config.tiers.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(KeysError::UnknownTier { tier, known });
    }
    let secret = ApiKeySecret::generate()?;
    let record = KeyRecord {
        id: KeyId::new(),
        account,
        tier,
        secret_hash: secret.hash(),
        last_four: secret.last_four(),
        created_at: Timestamp::now(),
        revoked_at: None,
    };
    store.create_key(record.clone()).await?;
    if json {
        let mut shown = as_json(&record);
        shown["secret"] = json!(secret.reveal());
        writeln!(output, "{shown:#}")?;
        return Ok(());
    }
    writeln!(output, "{}", secret.reveal())?;
    writeln!(output)?;
    writeln!(
        output,
        "This is the secret of {} (account {}, tier {}).",
        record.id, record.account, record.tier
    )?;
    writeln!(
        output,
        "It is shown only now. Clients send it as `Authorization: Bearer <secret>`."
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
            format!("{}\n  {} · {}", key.id, key.account, key.tier),
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

/// Without the hash: nobody needs it, and what is not shown cannot leak.
fn as_json(key: &KeyRecord) -> Value {
    json!({
        "id": key.id,
        "account": key.account,
        "tier": key.tier,
        "last_four": key.last_four,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    })
}

/// `2026-11-23 15:03`: enough to tell keys apart.
fn to_the_minute(time: Timestamp) -> String {
    let text = time.to_string().replace('T', " ");
    text.chars().take("2026-11-23 15:03".len()).collect()
}

#[cfg(test)]
mod tests {
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
            json,
        }
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
}
