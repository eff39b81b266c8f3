use std::sync::Arc;

use callboard_actors::testing::fleet_conformance::FreshFleet;

async fn fresh_fleet() -> FreshFleet {
    let url = super::fresh_url().await;
    let here = super::open(&url).await;
    FreshFleet {
        store: Arc::new(here.clone()),
        fleet: Arc::new(here.clone()),
        budgets: Arc::new(here),
        elsewhere: Arc::new(super::open(&url).await),
        keep: Box::new(()),
    }
}

callboard_actors::fleet_conformance!(fresh_fleet);
