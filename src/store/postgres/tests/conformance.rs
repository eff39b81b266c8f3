use std::sync::Arc;

use callboard_actors::testing::store_conformance::FreshStore;

async fn fresh_store() -> FreshStore {
    FreshStore {
        store: Arc::new(super::open(&super::fresh_url().await).await),
        keep: Box::new(()),
    }
}

callboard_actors::store_conformance!(fresh_store);
