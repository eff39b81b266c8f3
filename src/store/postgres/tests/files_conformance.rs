use std::sync::Arc;

use callboard_actors::testing::files_conformance::FreshFiles;

async fn fresh_files() -> FreshFiles {
    let url = super::fresh_url().await;
    FreshFiles {
        files: Arc::new(super::open(&url).await),
        of_another_instance: Arc::new(super::open(&url).await),
        keep: Box::new(()),
    }
}

callboard_actors::files_conformance!(fresh_files);
