//! Port `Agents`: every change goes through the one writer, so nothing happens between a look and its write.

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, AgentId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::agents::{
    AgentQuery, AgentRecord, AgentUpdate, AgentVersionQuery, AgentWrite, Agents, NewAgent,
};

use super::SqliteStore;
use super::rows::{IdBytes, json};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;
use crate::store::agents::{self, DELETE, NEWEST_VERSION, refusal, updated_record};

const CREATE: &str =
    "INSERT INTO agents (id, account, name, version, created_at) VALUES (?, ?, ?, 1, ?) ON CONFLICT DO NOTHING";
/// Leaves the row as it is if the name is another agent's.
const MOVE: &str = "UPDATE OR IGNORE agents SET version = version + 1, name = ? WHERE id = ? AND version = ? \
                    RETURNING account, created_at";
const ADD_VERSION: &str =
    "INSERT INTO agent_versions (agent_id, version, name, settings, created_at) VALUES (?, ?, ?, ?, ?)";

async fn add_version(transaction: &mut WriteTransaction<'_>, record: &AgentRecord) -> Result<(), WriteFailure> {
    let add = sqlx::query(ADD_VERSION)
        .bind(record.id.id_bytes())
        .bind(record.version)
        .bind(&record.name)
        .bind(json(&record.settings)?)
        .bind(record.updated_at.as_micros());
    transaction.execute(add).await?;
    Ok(())
}

impl Write for NewAgent {
    type Answer = AgentWrite;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<AgentWrite, WriteFailure> {
        let create = sqlx::query(CREATE)
            .bind(self.id.id_bytes())
            .bind(self.account.as_str())
            .bind(&self.name)
            .bind(self.created_at.as_micros());
        if transaction.execute(create).await? == 0 {
            return Ok(AgentWrite::NameTaken);
        }
        let record = self.clone().into_record();
        add_version(transaction, &record).await?;
        Ok(AgentWrite::Written(Box::new(record)))
    }
}

impl Write for AgentUpdate {
    type Answer = AgentWrite;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<AgentWrite, WriteFailure> {
        let id = self.id.id_bytes();
        let step = sqlx::query(MOVE).bind(&self.name).bind(id.clone()).bind(self.seen);
        let Some(row) = transaction.row(step).await? else {
            let newest = transaction.row(sqlx::query(NEWEST_VERSION).bind(id)).await?;
            return Ok(refusal(newest.as_ref(), self.seen)?);
        };
        let record = updated_record(self, &row)?;
        add_version(transaction, &record).await?;
        Ok(AgentWrite::Written(Box::new(record)))
    }
}

#[derive(Debug)]
struct DeleteAgent(AgentId);

impl Write for DeleteAgent {
    type Answer = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteFailure> {
        let delete = sqlx::query(DELETE).bind(self.0.id_bytes());
        Ok(transaction.execute(delete).await? > 0)
    }
}

#[async_trait]
impl Agents for SqliteStore {
    async fn create_agent(&self, agent: NewAgent) -> Result<AgentWrite, StoreError> {
        self.writer.submit(agent).await
    }

    async fn update_agent(&self, update: AgentUpdate) -> Result<AgentWrite, StoreError> {
        self.writer.submit(update).await
    }

    async fn delete_agent(&self, agent: AgentId) -> Result<bool, StoreError> {
        self.writer.submit(DeleteAgent(agent)).await
    }

    async fn agent(&self, agent: AgentId, version: Option<u32>) -> Result<Option<AgentRecord>, StoreError> {
        agents::agent(&self.readers, agent, version).await
    }

    async fn agent_named(&self, account: &AccountId, name: &str) -> Result<Option<AgentRecord>, StoreError> {
        agents::named(&self.readers, account, name).await
    }

    async fn list_agents(&self, query: AgentQuery) -> Result<Vec<AgentRecord>, StoreError> {
        agents::list(&self.readers, &query).await
    }

    async fn list_agent_versions(&self, query: AgentVersionQuery) -> Result<Vec<AgentRecord>, StoreError> {
        agents::versions(&self.readers, &query).await
    }
}
