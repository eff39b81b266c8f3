use std::sync::Arc;

use callboard_actors::testing::threads_conformance::FreshThreads;

async fn fresh_threads() -> FreshThreads {
    let url = super::fresh_url().await;
    let here = super::open(&url).await;
    FreshThreads {
        store: Arc::new(here.clone()),
        threads: Arc::new(here.clone()),
        fleets: vec![Arc::new(here), Arc::new(super::open(&url).await)],
        keep: Box::new(()),
    }
}

callboard_actors::threads_conformance!(fresh_threads);
callboard_actors::threads_fleet_conformance!(fresh_threads);
