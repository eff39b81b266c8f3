//! Port `Agents`: stored agents and all their versions.
//!
//! Contract (the conformance suite tries to break each line):
//! - The agents of an account have different names, whatever happens at once.
//! - Versions of an agent count from 1 without gaps. What a version says never changes.
//! - A new version is written on top of the one its writer has seen, or not at all: of many that see the same, one is written.
//! - A deleted agent is not there, in none of its versions, and its name is free.

use async_trait::async_trait;

use crate::agent::AgentSettings;
use crate::ids::{AccountId, AgentId};
use crate::ports::StoreError;
use crate::time::Timestamp;

/// Stored agents.
#[async_trait]
pub trait Agents: Send + Sync + 'static {
    /// Writes a new agent in its version 1. [`AgentWrite::NameTaken`] if the account has one of this name.
    async fn create_agent(&self, agent: NewAgent) -> Result<AgentWrite, StoreError>;

    /// Writes the version after [`AgentUpdate::seen`].
    async fn update_agent(&self, update: AgentUpdate) -> Result<AgentWrite, StoreError>;

    /// Deletes an agent with all its versions; whether it was there.
    async fn delete_agent(&self, agent: AgentId) -> Result<bool, StoreError>;

    /// An agent in one of its versions, or in the newest, whoever owns it.
    async fn agent(&self, agent: AgentId, version: Option<u32>) -> Result<Option<AgentRecord>, StoreError>;

    /// The agent of an account with this name, in its newest version.
    async fn agent_named(&self, account: &AccountId, name: &str) -> Result<Option<AgentRecord>, StoreError>;

    /// Agents of an account in their newest versions, newest agent first.
    async fn list_agents(&self, query: AgentQuery) -> Result<Vec<AgentRecord>, StoreError>;

    /// The versions of an agent, newest first; none if it is not there.
    async fn list_agent_versions(&self, query: AgentVersionQuery) -> Result<Vec<AgentRecord>, StoreError>;
}

/// An agent to be written.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Its id.
    pub id: AgentId,
    /// Whose it is.
    pub account: AccountId,
    /// What its account calls it.
    pub name: String,
    /// What its first version says.
    pub settings: AgentSettings,
    /// Now.
    pub created_at: Timestamp,
}

impl NewAgent {
    /// What the store has of it, once it is written.
    pub fn into_record(self) -> AgentRecord {
        AgentRecord {
            id: self.id,
            account: self.account,
            name: self.name,
            version: 1,
            settings: self.settings,
            created_at: self.created_at,
            updated_at: self.created_at,
        }
    }
}

/// A new version of an agent.
#[derive(Debug, Clone)]
pub struct AgentUpdate {
    /// Which.
    pub id: AgentId,
    /// The newest version that the writer knows.
    pub seen: u32,
    /// What its account calls it from now on.
    pub name: String,
    /// What the new version says.
    pub settings: AgentSettings,
    /// Now.
    pub at: Timestamp,
}

/// What became of a new version.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentWrite {
    /// It is durable.
    Written(Box<AgentRecord>),
    /// The account has another agent of this name.
    NameTaken,
    /// There is another version than the one that was seen.
    VersionChanged,
    /// There is no such agent (any more).
    NotFound,
}

/// An agent in one of its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// Its id.
    pub id: AgentId,
    /// Whose it is.
    pub account: AccountId,
    /// What its account called it in this version.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// What this version says.
    pub settings: AgentSettings,
    /// When the agent was made.
    pub created_at: Timestamp,
    /// When this version was.
    pub updated_at: Timestamp,
}

/// A page of agents.
#[derive(Debug, Clone)]
pub struct AgentQuery {
    /// Whose.
    pub account: AccountId,
    /// Only those older than this one.
    pub before: Option<AgentId>,
    /// At most so many.
    pub limit: u32,
}

/// A page of an agent's versions.
#[derive(Debug, Clone, Copy)]
pub struct AgentVersionQuery {
    /// Which.
    pub agent: AgentId,
    /// Only those before this one.
    pub before: Option<u32>,
    /// At most so many.
    pub limit: u32,
}
