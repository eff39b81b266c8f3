//! The statements of agents that are the same for SQLite and PostgreSQL, with numbered placeholders, and what they read.

use callboard_actors::ids::AgentId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::agents::{AgentRecord, AgentUpdate, AgentWrite};
use callboard_actors::time::Timestamp;

use super::rows::{self, Columns};

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
pub(super) const NEWEST: &str = select_agents!("agent_versions.version = agents.version WHERE agents.id = $1");

/// `$1` the agent, `$2` the version.
pub(super) const IN_VERSION: &str = select_agents!("agent_versions.version = $2 WHERE agents.id = $1");

/// `$1` the account, `$2` the name.
pub(super) const NAMED: &str =
    select_agents!("agent_versions.version = agents.version WHERE agents.account = $1 AND agents.name = $2");

/// `$1` the account, `$2` before this agent, `$3` how many.
pub(super) const LIST: &str = select_agents!(
    "agent_versions.version = agents.version WHERE agents.account = $1 AND agents.id < $2 ORDER BY agents.id DESC LIMIT $3"
);

/// `$1` the agent, `$2` before this version, `$3` how many.
pub(super) const LIST_VERSIONS: &str =
    select_agents!("agent_versions.version < $2 WHERE agents.id = $1 ORDER BY agent_versions.version DESC LIMIT $3");

/// `$1` the agent.
pub(super) const NEWEST_VERSION: &str = "SELECT version FROM agents WHERE id = $1";

/// `$1` the agent. Its versions go with it.
pub(super) const DELETE: &str = "DELETE FROM agents WHERE id = $1";

/// A row of any of the above.
pub(super) fn agent_record(row: &impl Columns) -> Result<AgentRecord, StoreError> {
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
    let newest = rows::small(row, "version")?;
    Ok(if newest == seen {
        AgentWrite::NameTaken
    } else {
        AgentWrite::VersionChanged(newest)
    })
}
