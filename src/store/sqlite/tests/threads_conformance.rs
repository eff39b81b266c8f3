use std::sync::Arc;

use callboard_actors::testing::threads_conformance::FreshThreads;

async fn fresh_threads() -> FreshThreads {
    let directory = tempfile::tempdir().expect("a directory");
    let store = super::open(directory.path()).await;
    FreshThreads {
        store: Arc::new(store.clone()),
        threads: Arc::new(store),
        fleets: Vec::new(),
        keep: Box::new(directory),
    }
}

callboard_actors::threads_conformance!(fresh_threads);
