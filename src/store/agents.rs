//! What is the same of agents for SQLite and PostgreSQL: statements, with numbered placeholders, and reading.

use callboard_actors::ids::{AccountId, AgentId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::agents::{AgentQuery, AgentRecord, AgentUpdate, AgentVersionQuery, AgentWrite};
use callboard_actors::time::Timestamp;
use uuid::Uuid;

use super::reading::{ReadRows, Value};
use super::rows::{self, Columns, IdBytes};

macro_rules! select_agents {
    ($condition:literal) => {
        concat!(
            "SELECT agents.id, agents.account, agents.created_at, agent_versions.version, agent_versions.name, agent_versions.settings, \
                    agent_versions.created_at AS updated_at \
             FROM agents JOIN agent_versions ON agent_versions.agent_id = agents.id AND ",
            $condition
        )
    };
}

/// `$1` the agent.
const NEWEST: &str = select_agents!("agent_versions.version = agents.version WHERE agents.id = $1");

/// `$1` the agent, `$2` the version.
const IN_VERSION: &str = select_agents!("agent_versions.version = $2 WHERE agents.id = $1");

/// `$1` the account, `$2` the name.
const NAMED: &str =
    select_agents!("agent_versions.version = agents.version WHERE agents.account = $1 AND agents.name = $2");

/// `$1` the account, `$2` before this agent, `$3` how many.
const LIST: &str = select_agents!(
    "agent_versions.version = agents.version WHERE agents.account = $1 AND agents.id < $2 ORDER BY agents.id DESC LIMIT $3"
);

/// `$1` the agent, `$2` before this version, `$3` how many.
const LIST_VERSIONS: &str =
    select_agents!("agent_versions.version < $2 WHERE agents.id = $1 ORDER BY agent_versions.version DESC LIMIT $3");

/// `$1` the agent.
pub(super) const NEWEST_VERSION: &str = "SELECT version FROM agents WHERE id = $1";

/// `$1` the agent. Its versions go with it.
pub(super) const DELETE: &str = "DELETE FROM agents WHERE id = $1";

/// As [`Agents::agent`](callboard_actors::ports::Agents::agent).
pub(super) async fn agent(
    readers: &impl ReadRows,
    agent: AgentId,
    version: Option<u32>,
) -> Result<Option<AgentRecord>, StoreError> {
    let id = Value::Bytes(agent.id_bytes());
    let row = match version {
        None => readers.read_row(NEWEST, vec![id]).await?,
        Some(version) => {
            readers
                .read_row(IN_VERSION, vec![id, Value::Number(version.into())])
                .await?
        }
    };
    row.as_ref().map(agent_record).transpose()
}

/// As [`Agents::agent_named`](callboard_actors::ports::Agents::agent_named).
pub(super) async fn named(
    readers: &impl ReadRows,
    account: &AccountId,
    name: &str,
) -> Result<Option<AgentRecord>, StoreError> {
    let values = vec![Value::Text(account.as_str()), Value::Text(name)];
    readers
        .read_row(NAMED, values)
        .await?
        .as_ref()
        .map(agent_record)
        .transpose()
}

/// As [`Agents::list_agents`](callboard_actors::ports::Agents::list_agents).
pub(super) async fn list(readers: &impl ReadRows, query: &AgentQuery) -> Result<Vec<AgentRecord>, StoreError> {
    // Above every id there can be.
    let before = query.before.unwrap_or(AgentId::from_uuid(Uuid::max()));
    let values = vec![
        Value::Text(query.account.as_str()),
        Value::Bytes(before.id_bytes()),
        Value::Number(query.limit.into()),
    ];
    readers
        .read_rows(LIST, values)
        .await?
        .iter()
        .map(agent_record)
        .collect()
}

/// As [`Agents::list_agent_versions`](callboard_actors::ports::Agents::list_agent_versions).
pub(super) async fn versions(
    readers: &impl ReadRows,
    query: &AgentVersionQuery,
) -> Result<Vec<AgentRecord>, StoreError> {
    let values = vec![
        Value::Bytes(query.agent.id_bytes()),
        Value::Number(query.before.unwrap_or(u32::MAX).into()),
        Value::Number(query.limit.into()),
    ];
    let found = readers.read_rows(LIST_VERSIONS, values).await?;
    found.iter().map(agent_record).collect()
}

/// A row of any of the above.
fn agent_record(row: &impl Columns) -> Result<AgentRecord, StoreError> {
    Ok(AgentRecord {
        id: AgentId::from_uuid(rows::uuid(row, "id")?),
        account: rows::account(row)?,
        name: row.text("name")?.to_owned(),
        version: rows::small(row, "version")?,
        settings: rows::from_json(row.text("settings")?, "settings")?,
        created_at: Timestamp::from_micros(row.number("created_at")?),
        updated_at: Timestamp::from_micros(row.number("updated_at")?),
    })
}

/// The agent after this update, by a row of its `account` and `created_at`.
pub(super) fn updated_record(update: &AgentUpdate, row: &impl Columns) -> Result<AgentRecord, StoreError> {
    Ok(AgentRecord {
        id: update.id,
        account: rows::account(row)?,
        name: update.name.clone(),
        version: update.seen + 1,
        settings: update.settings.clone(),
        created_at: Timestamp::from_micros(row.number("created_at")?),
        updated_at: update.at,
    })
}

/// Why no version was written on top of the one that was seen, by the row of [`NEWEST_VERSION`].
pub(super) fn refusal(row: Option<&impl Columns>, seen: u32) -> Result<AgentWrite, StoreError> {
    let Some(row) = row else {
        return Ok(AgentWrite::NotFound);
    };
    Ok(if rows::small(row, "version")? == seen {
        AgentWrite::NameTaken
    } else {
        AgentWrite::VersionChanged
    })
}
