use std::sync::Arc;

use callboard_actors::testing::agents_conformance::FreshAgents;

async fn fresh_agents() -> FreshAgents {
    let directory = tempfile::tempdir().expect("a directory");
    FreshAgents {
        agents: Arc::new(super::open(directory.path()).await),
        keep: Box::new(directory),
    }
}

callboard_actors::agents_conformance!(fresh_agents);
