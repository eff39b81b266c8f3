//! What every adapter of [`Agents`] must do, tested by trying to break it.
//!
//! An adapter's tests call [`agents_conformance!`](crate::agents_conformance) with an async function that makes an empty store.

use std::any::Any;
use std::sync::Arc;

use serde_json::json;

use crate::agent::AgentSettings;
use crate::ids::AgentId;
use crate::ports::Agents;
use crate::ports::agents::{AgentQuery, AgentRecord, AgentUpdate, AgentVersionQuery, AgentWrite, NewAgent};
use crate::testing::store_conformance::fixtures::{account, at_once};
use crate::time::Timestamp;

/// An empty store.
pub struct FreshAgents {
    /// The adapter under test.
    pub agents: Arc<dyn Agents>,
    /// What must live as long as the test: a temporary directory, a container.
    pub keep: Box<dyn Any + Send>,
}

impl std::fmt::Debug for FreshAgents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FreshAgents")
    }
}

const ACCOUNT: &str = "acme";

fn settings(instructions: &str) -> AgentSettings {
    serde_json::from_value(json!({
        "description": "helps \u{0} \"you\"",
        "instructions": instructions,
        "model": "simulated",
        "tools": ["now", {"type": "client", "name": "ask", "parameters": {"type": "object"}}],
        "limits": {"max_steps": 4, "max_cost_usd": 0.5},
        "variables": {"who": {"default": "you"}},
        "metadata": {"team": "support"},
    }))
    .expect("settings")
}

fn new_agent(account_name: &str, name: &str) -> NewAgent {
    NewAgent {
        id: AgentId::new(),
        account: account(account_name),
        name: name.to_owned(),
        settings: settings("first"),
        created_at: Timestamp::now(),
    }
}

fn update(agent: AgentId, seen: u32, name: &str, instructions: &str) -> AgentUpdate {
    AgentUpdate {
        id: agent,
        seen,
        name: name.to_owned(),
        settings: settings(instructions),
        at: Timestamp::now(),
    }
}

impl FreshAgents {
    async fn create(&self, new: NewAgent) -> AgentRecord {
        written(self.agents.create_agent(new).await.expect("an answer"))
    }

    async fn update(&self, update: AgentUpdate) -> AgentWrite {
        self.agents.update_agent(update).await.expect("an answer")
    }

    async fn newest(&self, agent: AgentId) -> Option<AgentRecord> {
        self.agents.agent(agent, None).await.expect("an answer")
    }

    async fn named(&self, account_name: &str, name: &str) -> Option<AgentRecord> {
        let found = self.agents.agent_named(&account(account_name), name).await;
        found.expect("an answer")
    }

    async fn versions(&self, agent: AgentId, before: Option<u32>, limit: u32) -> Vec<u32> {
        let query = AgentVersionQuery { agent, before, limit };
        let versions = self.agents.list_agent_versions(query).await.expect("an answer");
        versions.into_iter().map(|record| record.version).collect()
    }
}

fn written(write: AgentWrite) -> AgentRecord {
    match write {
        AgentWrite::Written(record) => *record,
        other => panic!("it is not written: {other:?}"),
    }
}

/// By id, by name and in lists, whatever its settings are.
pub async fn an_agent_reads_back(fresh: &FreshAgents) {
    let new = new_agent(ACCOUNT, "helper");
    let record = fresh.create(new.clone()).await;
    let expected = AgentRecord {
        id: new.id,
        account: new.account,
        name: "helper".into(),
        version: 1,
        settings: new.settings,
        created_at: new.created_at,
        updated_at: new.created_at,
    };
    assert_eq!(record, expected);
    assert_eq!(fresh.newest(new.id).await, Some(expected.clone()));
    assert_eq!(
        fresh.agents.agent(new.id, Some(1)).await.expect("an answer"),
        Some(expected.clone())
    );
    assert_eq!(fresh.named(ACCOUNT, "helper").await, Some(expected));
    assert_eq!(fresh.named(ACCOUNT, "Helper").await, None);
    assert_eq!(fresh.named("other", "helper").await, None);
    for version in [0, 2, u32::MAX] {
        assert_eq!(
            fresh.agents.agent(new.id, Some(version)).await.expect("an answer"),
            None
        );
    }
    assert_eq!(fresh.newest(AgentId::new()).await, None);
}

/// And those of another account have the same names.
pub async fn agents_of_an_account_have_different_names(fresh: &FreshAgents) {
    let first = fresh.create(new_agent(ACCOUNT, "helper")).await;
    let second = fresh.agents.create_agent(new_agent(ACCOUNT, "helper")).await;
    assert_eq!(second, Ok(AgentWrite::NameTaken));
    fresh.create(new_agent("other", "helper")).await;
    let other = fresh.create(new_agent(ACCOUNT, "writer")).await;
    assert_eq!(
        fresh.update(update(other.id, 1, "helper", "second")).await,
        AgentWrite::NameTaken
    );
    assert_eq!(fresh.newest(other.id).await, Some(other));
    assert_eq!(fresh.newest(first.id).await, Some(first));
}

/// Of many that want one name at the same moment, by a new agent or by a new name.
pub async fn a_name_that_many_want_at_once_goes_to_one(fresh: &FreshAgents) {
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(fresh.create(new_agent(ACCOUNT, &format!("agent-{number}"))).await.id);
    }
    let renames = ids.into_iter().map(Some).chain(std::iter::repeat_n(None, 10));
    let answers = at_once(renames.map(|id| {
        let agents = fresh.agents.clone();
        async move {
            match id {
                Some(id) => agents.update_agent(update(id, 1, "wanted", "second")).await,
                None => agents.create_agent(new_agent(ACCOUNT, "wanted")).await,
            }
        }
    }))
    .await;
    let is_written = |answer: &&Result<AgentWrite, _>| matches!(answer, Ok(AgentWrite::Written(_)));
    assert_eq!(answers.iter().filter(is_written).count(), 1, "{answers:?}");
    let is_refused = |answer: &&Result<AgentWrite, _>| matches!(answer, Ok(AgentWrite::NameTaken));
    assert_eq!(answers.iter().filter(is_refused).count(), 19, "{answers:?}");
}

/// And what the earlier ones said stays as it is.
pub async fn each_update_makes_the_next_version(fresh: &FreshAgents) {
    let first = fresh.create(new_agent(ACCOUNT, "helper")).await;
    let second = written(fresh.update(update(first.id, 1, "helper", "second")).await);
    let third = written(fresh.update(update(first.id, 2, "assistant", "third")).await);
    assert_eq!((second.version, third.version), (2, 3));
    assert_eq!(third.created_at, first.created_at);
    assert_eq!(fresh.newest(first.id).await, Some(third.clone()));
    assert_eq!(fresh.named(ACCOUNT, "assistant").await, Some(third.clone()));
    assert_eq!(fresh.named(ACCOUNT, "helper").await, None);
    for record in [first, second, third] {
        let read = fresh
            .agents
            .agent(record.id, Some(record.version))
            .await
            .expect("an answer");
        assert_eq!(read, Some(record));
    }
}

/// Neither what it says nor its name.
pub async fn nothing_is_written_over_what_was_not_seen(fresh: &FreshAgents) {
    let agent = fresh.create(new_agent(ACCOUNT, "helper")).await.id;
    written(fresh.update(update(agent, 1, "helper", "second")).await);
    for seen in [0, 1, 3] {
        let late = fresh.update(update(agent, seen, "late", "late")).await;
        assert_eq!(late, AgentWrite::VersionChanged);
    }
    assert_eq!(
        fresh.newest(agent).await.expect("it is there").settings,
        settings("second")
    );
    assert_eq!(
        fresh.update(update(AgentId::new(), 1, "new", "new")).await,
        AgentWrite::NotFound
    );
}

/// Versions have no gaps then.
pub async fn of_many_that_saw_the_same_one_is_written(fresh: &FreshAgents) {
    let agent = fresh.create(new_agent(ACCOUNT, "helper")).await.id;
    for seen in 1..=3 {
        let answers = at_once((0..20).map(|writer| {
            let agents = fresh.agents.clone();
            async move {
                agents
                    .update_agent(update(agent, seen, "helper", &format!("of {writer}")))
                    .await
            }
        }))
        .await;
        let written = answers.iter().flatten().filter_map(|answer| match answer {
            AgentWrite::Written(record) => Some(record.clone()),
            AgentWrite::VersionChanged => None,
            other => panic!("{other:?}"),
        });
        let written: Vec<_> = written.collect();
        assert_eq!((answers.len(), written.len()), (20, 1), "{answers:?}");
        assert_eq!(fresh.newest(agent).await.as_ref(), Some(&*written[0]));
    }
    assert_eq!(fresh.versions(agent, None, 10).await, [4, 3, 2, 1]);
}

/// And its name is free.
pub async fn a_deleted_agent_is_not_there(fresh: &FreshAgents) {
    let agent = fresh.create(new_agent(ACCOUNT, "helper")).await.id;
    written(fresh.update(update(agent, 1, "helper", "second")).await);
    let deletions = at_once((0..5).map(|_| {
        let agents = fresh.agents.clone();
        async move { agents.delete_agent(agent).await.expect("an answer") }
    }))
    .await;
    assert_eq!(deletions.into_iter().filter(|was_there| *was_there).count(), 1);
    assert_eq!(fresh.newest(agent).await, None);
    assert_eq!(fresh.agents.agent(agent, Some(1)).await.expect("an answer"), None);
    assert_eq!(fresh.named(ACCOUNT, "helper").await, None);
    assert_eq!(fresh.versions(agent, None, 10).await, [0_u32; 0]);
    assert_eq!(
        fresh.update(update(agent, 2, "helper", "third")).await,
        AgentWrite::NotFound
    );
    let again = fresh.create(new_agent(ACCOUNT, "helper")).await;
    assert_eq!(again.version, 1);
}

/// In pages.
pub async fn lists_are_newest_first(fresh: &FreshAgents) {
    let mut ids = Vec::new();
    for number in 0..5 {
        let agent = fresh.create(new_agent(ACCOUNT, &format!("agent-{number}"))).await;
        written(fresh.update(update(agent.id, 1, &agent.name, "second")).await);
        ids.insert(0, agent.id);
    }
    fresh.create(new_agent("other", "agent")).await;
    let page = async |before, limit| {
        let account = account(ACCOUNT);
        let query = AgentQuery { account, before, limit };
        let agents = fresh.agents.list_agents(query).await.expect("an answer");
        assert!(agents.iter().all(|agent| agent.version == 2));
        agents.into_iter().map(|agent| agent.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, ids[..2]);
    assert_eq!(page(Some(ids[1]), 10).await, ids[2..]);
    assert_eq!(page(Some(ids[4]), 10).await, []);
    assert_eq!(fresh.versions(ids[0], None, 1).await, [2]);
    assert_eq!(fresh.versions(ids[0], Some(2), 10).await, [1]);
    assert_eq!(fresh.versions(ids[0], Some(1), 10).await, [0_u32; 0]);
}

/// Generates one test for each rule of the port [`Agents`](crate::ports::Agents). Takes an `async fn() -> FreshAgents`.
#[macro_export]
macro_rules! agents_conformance {
    ($fresh:path) => {
        $crate::agents_conformance! { @rules $fresh;
            an_agent_reads_back,
            agents_of_an_account_have_different_names,
            a_name_that_many_want_at_once_goes_to_one,
            each_update_makes_the_next_version,
            nothing_is_written_over_what_was_not_seen,
            of_many_that_saw_the_same_one_is_written,
            a_deleted_agent_is_not_there,
            lists_are_newest_first,
        }
    };
    (@rules $fresh:path; $($rule:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fresh: $crate::testing::agents_conformance::FreshAgents = $fresh().await;
                $crate::testing::agents_conformance::$rule(&fresh).await;
            }
        )*
    };
}
