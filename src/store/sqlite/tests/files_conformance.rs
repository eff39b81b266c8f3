use std::sync::Arc;

use callboard_actors::testing::files_conformance::FreshFiles;

async fn fresh_files() -> FreshFiles {
    let directory = tempfile::tempdir().expect("a directory");
    let store = super::open(directory.path()).await;
    FreshFiles {
        files: Arc::new(store.clone()),
        of_another_instance: Arc::new(store),
        keep: Box::new(directory),
    }
}

callboard_actors::files_conformance!(fresh_files);
