//! Port `Agents`: each change is one statement.

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, AgentId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::agents::{
    AgentQuery, AgentRecord, AgentUpdate, AgentVersionQuery, AgentWrite, Agents, NewAgent,
};
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::failure::store_error;
use super::pool::within_patience;
use super::rows::{IdBytes, json};
use crate::store::agents::{self, DELETE, NEWEST_VERSION, refusal, updated_record};

const CREATE: &str = "WITH new AS (INSERT INTO agents (id, account, name, version, created_at) VALUES ($1, $2, $3, 1, $4) \
                                   ON CONFLICT DO NOTHING RETURNING id) \
     INSERT INTO agent_versions (agent_id, version, name, settings, created_at) SELECT new.id, 1, $3, $5, $4 FROM new";

const UPDATE: &str = "WITH moved AS (UPDATE agents SET version = version + 1, name = $3 WHERE id = $1 AND version = $2 \
                                     RETURNING id, account, version, created_at), \
     added AS (INSERT INTO agent_versions (agent_id, version, name, settings, created_at) \
               SELECT moved.id, moved.version, $3, $4, $5 FROM moved) \
     SELECT account, created_at FROM moved";

async fn update_or_refuse(connection: &mut PgConnection, update: &AgentUpdate) -> Result<AgentWrite, StoreError> {
    let step = sqlx::query(UPDATE)
        .bind(update.id.id_bytes())
        .bind(i64::from(update.seen))
        .bind(&update.name)
        .bind(json(&update.settings)?)
        .bind(update.at.as_micros());
    let row = match step.fetch_optional(&mut *connection).await {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(AgentWrite::NameTaken),
        answer => answer.map_err(store_error)?,
    };
    let Some(row) = row else {
        let newest = sqlx::query(NEWEST_VERSION).bind(update.id.id_bytes());
        let newest = newest.fetch_optional(connection).await.map_err(store_error)?;
        return refusal(newest.as_ref(), update.seen);
    };
    Ok(AgentWrite::Written(Box::new(updated_record(update, &row)?)))
}

#[async_trait]
impl Agents for PostgresStore {
    async fn create_agent(&self, agent: NewAgent) -> Result<AgentWrite, StoreError> {
        let create = sqlx::query(CREATE)
            .bind(agent.id.id_bytes())
            .bind(agent.account.as_str().to_owned())
            .bind(agent.name.clone())
            .bind(agent.created_at.as_micros())
            .bind(json(&agent.settings)?);
        self.activity.count_statements(1);
        if self.readers.pool().execute(create).await? == 0 {
            return Ok(AgentWrite::NameTaken);
        }
        Ok(AgentWrite::Written(Box::new(agent.into_record())))
    }

    async fn update_agent(&self, update: AgentUpdate) -> Result<AgentWrite, StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        self.activity.count_statements(1);
        let answer = within_patience(update_or_refuse(&mut lent, &update)).await;
        let answer = lent.give_back(answer);
        if !matches!(answer, Ok(AgentWrite::NameTaken | AgentWrite::NotFound)) {
            // If nobody knows what became of it, too.
            self.notices.agent_changed(update.id).await;
        }
        answer
    }

    async fn delete_agent(&self, agent: AgentId) -> Result<bool, StoreError> {
        self.activity.count_statements(1);
        let deleted = self
            .readers
            .pool()
            .execute(sqlx::query(DELETE).bind(agent.id_bytes()))
            .await;
        self.notices.agent_changed(agent).await;
        Ok(deleted? > 0)
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
