//! What the regions and the database have when all is over.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::Context;
use callboard_actors::ids::RunId;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Row};
use uuid::Uuid;

use super::site::Site;

/// A call, as the journal of its region has it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The last four characters of its key.
    pub(super) key: String,
    pub(super) run: String,
    /// Microseconds since 1970.
    pub(super) received_us: i64,
    /// Likewise.
    pub(super) ended_us: i64,
    /// Read and written.
    pub(super) tokens: u64,
    pub(super) fate: Fate,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It took room under the limits of its key, whether its whole answer was heard or not.
    LetIn,
    /// 429.
    RateLimited,
    /// 401.
    KeyRefused,
    /// Its region was down.
    Outage,
}

/// A run as the database has it.
#[derive(Debug, Clone)]
pub(super) struct StoredRun {
    pub(super) state: String,
    pub(super) epoch: i64,
    /// Microseconds since 1970.
    pub(super) created_us: i64,
    pub(super) error: Option<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// By when they were received.
    pub(super) calls: Vec<Call>,
    /// By id.
    pub(super) runs: BTreeMap<String, StoredRun>,
}

pub(super) async fn gather(site: &Site) -> anyhow::Result<Evidence> {
    let mut evidence = Evidence::default();
    for region in &site.regions {
        // Those of an instance that was killed have ended, too.
        region.upstream.until_open(0).await?;
        for call in region.upstream.calls().await? {
            evidence
                .calls
                .push(read_call(&call).with_context(|| format!("the call {call}"))?);
        }
    }
    evidence.calls.sort_by_key(|call| call.received_us);
    let mut database = PgConnectOptions::from_str(&site.database_url)?.connect().await?;
    let rows = "SELECT id, state, epoch, created_at, error FROM runs";
    for row in sqlx::query(rows).fetch_all(&mut database).await? {
        let id: Vec<u8> = row.try_get("id")?;
        let run = StoredRun {
            state: row.try_get("state")?,
            epoch: row.try_get("epoch")?,
            created_us: row.try_get("created_at")?,
            error: row.try_get("error")?,
        };
        evidence
            .runs
            .insert(RunId::from_uuid(Uuid::from_slice(&id)?).to_string(), run);
    }
    Ok(evidence)
}

fn read_call(call: &Value) -> anyhow::Result<Call> {
    let text = |name: &str| call[name].as_str().context("no text").map(str::to_owned);
    let tokens = |name: &str| call[name].as_u64().context("no number");
    let moment = |name: &str| call[name].as_i64().context("no time");
    let fate = match text("outcome")?.as_str() {
        "answered" | "broke_off" | "hung_up" => Fate::LetIn,
        "rate_limited" => Fate::RateLimited,
        "key_refused" => Fate::KeyRefused,
        "outage" => Fate::Outage,
        other => anyhow::bail!("{other} was not to happen"),
    };
    Ok(Call {
        key: text("key")?,
        run: text("run")?,
        received_us: moment("received_at_us")?,
        ended_us: moment("ended_at_us")?,
        tokens: tokens("input_tokens")? + tokens("output_tokens")?,
        fate,
    })
}
