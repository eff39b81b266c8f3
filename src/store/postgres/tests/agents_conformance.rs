use std::sync::Arc;

use callboard_actors::testing::agents_conformance::FreshAgents;

async fn fresh_agents() -> FreshAgents {
    FreshAgents {
        agents: Arc::new(super::open(&super::fresh_url().await).await),
        keep: Box::new(()),
    }
}

callboard_actors::agents_conformance!(fresh_agents);
