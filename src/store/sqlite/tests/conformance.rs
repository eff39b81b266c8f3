use std::sync::Arc;

use callboard_actors::testing::store_conformance::FreshStore;

async fn fresh_store() -> FreshStore {
    let directory = tempfile::tempdir().expect("a directory");
    FreshStore {
        store: Arc::new(super::open(directory.path()).await),
        keep: Box::new(directory),
    }
}

callboard_actors::store_conformance!(fresh_store);
