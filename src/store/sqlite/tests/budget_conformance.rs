use std::sync::Arc;

use callboard_actors::testing::budget_conformance::FreshBudgets;

async fn fresh_budgets() -> FreshBudgets {
    let directory = tempfile::tempdir().expect("a directory");
    let store = super::open(directory.path()).await;
    FreshBudgets {
        store: Arc::new(store.clone()),
        budgets: Arc::new(store.clone()),
        of_another_instance: Arc::new(store),
        keep: Box::new(directory),
    }
}

callboard_actors::budget_conformance!(fresh_budgets);
