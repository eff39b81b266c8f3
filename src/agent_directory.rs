//! Stored agents for those who start runs: kept in memory for a while, and forgotten when they change, on whichever instance they do.
//!
//! What was changed through this instance counts here at once. Of what was changed through another one a notice comes; should it be lost, what
//! is kept is too old after [`AgentDirectory::LONGEST_KEPT`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_actors::ids::{AccountId, AgentId};
use callboard_actors::ports::agents::{AgentRecord, AgentUpdate, AgentWrite};
use callboard_actors::ports::{Agents, StoreError};
use moka::sync::Cache;

/// Stored agents. Cheap to clone.
#[derive(Clone)]
pub struct AgentDirectory {
    agents: Arc<dyn Agents>,
    /// In their newest versions.
    kept: Cache<AgentId, Arc<AgentRecord>>,
    ids: Cache<(AccountId, String), AgentId>,
    /// Grows whenever something is forgotten: what was read before that is not kept.
    forgotten: Arc<AtomicU64>,
}

impl AgentDirectory {
    /// How long an agent is kept in memory.
    pub const LONGEST_KEPT: Duration = Duration::from_secs(10);
    /// Bytes of the agents that are kept, as JSON. One may have megabytes.
    const MOST_BYTES: u64 = 32 * 1024 * 1024;
    /// Names that are kept.
    const MOST_NAMES: u64 = 10_000;

    /// A directory of these agents.
    pub fn new(agents: Arc<dyn Agents>) -> Self {
        Self {
            agents,
            kept: Cache::builder()
                .max_capacity(Self::MOST_BYTES)
                .weigher(|_, agent: &Arc<AgentRecord>| weight(agent))
                .time_to_live(Self::LONGEST_KEPT)
                .build(),
            ids: Cache::builder()
                .max_capacity(Self::MOST_NAMES)
                .time_to_live(Self::LONGEST_KEPT)
                .build(),
            forgotten: Arc::default(),
        }
    }

    /// As the store has them. Changes of those that are there go through [`AgentDirectory::update`] and [`AgentDirectory::delete`].
    pub fn stored(&self) -> &Arc<dyn Agents> {
        &self.agents
    }

    /// An agent in its newest version, whoever owns it.
    pub async fn newest(&self, agent: AgentId) -> Result<Option<Arc<AgentRecord>>, StoreError> {
        if let Some(kept) = self.kept.get(&agent) {
            return Ok(Some(kept));
        }
        let before = self.forgotten.load(Ordering::SeqCst);
        let found = self.agents.agent(agent, None).await?.map(Arc::new);
        if let Some(found) = &found {
            self.keep(found, before);
        }
        Ok(found)
    }

    /// The agent of an account with this name, in its newest version.
    pub async fn named(&self, account: &AccountId, name: &str) -> Result<Option<Arc<AgentRecord>>, StoreError> {
        let key = (account.clone(), name.to_owned());
        if let Some(id) = self.ids.get(&key)
            && let Some(kept) = self.newest(id).await?
            // It may be called otherwise now.
            && kept.name == name
        {
            return Ok(Some(kept));
        }
        let before = self.forgotten.load(Ordering::SeqCst);
        let found = self.agents.agent_named(account, name).await?.map(Arc::new);
        if let Some(found) = &found {
            self.ids.insert(key, found.id);
            self.keep(found, before);
        }
        Ok(found)
    }

    /// As [`Agents::update_agent`].
    pub async fn update(&self, update: AgentUpdate) -> Result<AgentWrite, StoreError> {
        let agent = update.id;
        let written = self.agents.update_agent(update).await;
        self.forget(agent);
        written
    }

    /// As [`Agents::delete_agent`].
    pub async fn delete(&self, agent: AgentId) -> Result<bool, StoreError> {
        let deleted = self.agents.delete_agent(agent).await;
        self.forget(agent);
        deleted
    }

    /// This agent was changed.
    pub fn forget(&self, agent: AgentId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.kept.invalidate(&agent);
    }

    /// Any may have been changed.
    pub fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.kept.invalidate_all();
    }

    /// Keeps what was read after `before`, unless something was forgotten meanwhile: it may have been this.
    fn keep(&self, found: &Arc<AgentRecord>, before: u64) {
        self.kept.insert(found.id, found.clone());
        // After the insertion: whoever forgets from here on finds it.
        if self.forgotten.load(Ordering::SeqCst) != before {
            self.kept.invalidate(&found.id);
        }
    }
}

/// What is left of an agent's size when its settings are nothing.
const LEAST_WEIGHT: u64 = 512;

/// About the bytes that an agent takes.
fn weight(agent: &AgentRecord) -> u32 {
    let mut written = Written(LEAST_WEIGHT);
    // Counting does not fail; what cannot be written as JSON is taken for large.
    let counted = serde_json::to_writer(&mut written, &agent.settings).map(|()| written.0);
    counted
        .ok()
        .and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(u32::MAX)
}

/// Counts what is written to it.
struct Written(u64);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use callboard_actors::agent::AgentSettings;
    use callboard_actors::ports::agents::{AgentQuery, AgentVersionQuery, NewAgent};
    use callboard_actors::time::Timestamp;
    use std::sync::Mutex;
    use tokio::sync::Semaphore;

    /// One agent, and answers that wait until they are let through.
    struct OneAgent {
        record: Mutex<AgentRecord>,
        reads: AtomicU64,
        lets_through: Semaphore,
        read: Semaphore,
    }

    impl OneAgent {
        fn new() -> Arc<Self> {
            let now = Timestamp::now();
            Arc::new(Self {
                record: Mutex::new(AgentRecord {
                    id: AgentId::new(),
                    account: AccountId::local(),
                    name: "helper".into(),
                    version: 1,
                    settings: AgentSettings::default(),
                    created_at: now,
                    updated_at: now,
                }),
                reads: AtomicU64::new(0),
                lets_through: Semaphore::new(100),
                read: Semaphore::new(0),
            })
        }

        fn now(&self) -> AgentRecord {
            self.record.lock().expect("not poisoned").clone()
        }

        async fn read(&self) -> AgentRecord {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let found = self.now();
            self.read.add_permits(1);
            self.lets_through.acquire().await.expect("open").forget();
            found
        }

        /// As another instance does it: nobody here knows.
        fn change(&self, name: &str) {
            let mut record = self.record.lock().expect("not poisoned");
            record.version += 1;
            record.name = name.to_owned();
        }
    }

    #[async_trait]
    impl Agents for OneAgent {
        async fn create_agent(&self, _agent: NewAgent) -> Result<AgentWrite, StoreError> {
            Ok(AgentWrite::NameTaken)
        }

        async fn update_agent(&self, update: AgentUpdate) -> Result<AgentWrite, StoreError> {
            self.change(&update.name);
            Ok(AgentWrite::Written(Box::new(self.now())))
        }

        async fn delete_agent(&self, _agent: AgentId) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn agent(&self, agent: AgentId, _version: Option<u32>) -> Result<Option<AgentRecord>, StoreError> {
            Ok(Some(self.read().await).filter(|record| record.id == agent))
        }

        async fn agent_named(&self, _account: &AccountId, name: &str) -> Result<Option<AgentRecord>, StoreError> {
            Ok(Some(self.read().await).filter(|record| record.name == name))
        }

        async fn list_agents(&self, _query: AgentQuery) -> Result<Vec<AgentRecord>, StoreError> {
            Ok(vec![self.now()])
        }

        async fn list_agent_versions(&self, _query: AgentVersionQuery) -> Result<Vec<AgentRecord>, StoreError> {
            Ok(vec![self.now()])
        }
    }

    async fn version_of(directory: &AgentDirectory, name: &str) -> Option<u32> {
        let found = directory.named(&AccountId::local(), name).await;
        found.expect("an answer").map(|record| record.version)
    }

    #[tokio::test]
    async fn an_agent_is_read_once_until_it_changes() {
        let store = OneAgent::new();
        let directory = AgentDirectory::new(store.clone());
        let id = store.now().id;
        for _ in 0..3 {
            assert_eq!(version_of(&directory, "helper").await, Some(1));
            assert_eq!(
                directory
                    .newest(id)
                    .await
                    .expect("an answer")
                    .expect("it is there")
                    .version,
                1
            );
        }
        assert_eq!(store.reads.load(Ordering::SeqCst), 1);
        store.change("helper");
        assert_eq!(version_of(&directory, "helper").await, Some(1), "nobody has told it");
        directory.forget(id);
        assert_eq!(version_of(&directory, "helper").await, Some(2));
        store.change("helper");
        directory.forget_all();
        assert_eq!(version_of(&directory, "helper").await, Some(3));
        let update = AgentUpdate {
            id,
            seen: 3,
            name: "writer".into(),
            settings: AgentSettings::default(),
            at: Timestamp::now(),
        };
        directory.update(update).await.expect("written");
        assert_eq!(
            version_of(&directory, "helper").await,
            None,
            "it is called otherwise now"
        );
        assert_eq!(version_of(&directory, "writer").await, Some(4));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let store = OneAgent::new();
        let directory = AgentDirectory::new(store.clone());
        let mut settings = AgentSettings::default();
        settings.run.instructions = Some("x".repeat(1024 * 1024));
        for _ in 0..100 {
            let large = AgentRecord {
                id: AgentId::new(),
                settings: settings.clone(),
                ..store.now()
            };
            let before = directory.forgotten.load(Ordering::SeqCst);
            directory.keep(&Arc::new(large), before);
        }
        directory.kept.run_pending_tasks();
        let (kept, bytes) = (directory.kept.entry_count(), directory.kept.weighted_size());
        assert!(
            (20..=32).contains(&kept) && bytes <= AgentDirectory::MOST_BYTES,
            "{kept} {bytes}"
        );
    }

    #[tokio::test]
    async fn what_changes_while_it_is_read_is_not_kept() {
        let store = OneAgent::new();
        store.lets_through.forget_permits(100);
        let directory = AgentDirectory::new(store.clone());
        let id = store.now().id;
        let reading = tokio::spawn({
            let directory = directory.clone();
            async move { directory.newest(id).await }
        });
        store.read.acquire().await.expect("open").forget();
        store.change("helper");
        directory.forget(id);
        store.lets_through.add_permits(100);
        let old = reading
            .await
            .expect("no panic")
            .expect("an answer")
            .expect("it is there");
        assert_eq!(old.version, 1);
        assert_eq!(version_of(&directory, "helper").await, Some(2));
    }
}
