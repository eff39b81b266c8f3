use std::sync::Arc;

use callboard_actors::testing::budget_conformance::FreshBudgets;

async fn fresh_budgets() -> FreshBudgets {
    let url = super::fresh_url().await;
    let (store, other) = (super::open(&url).await, super::open(&url).await);
    FreshBudgets {
        store: Arc::new(store.clone()),
        budgets: Arc::new(store),
        of_another_instance: Arc::new(other),
        keep: Box::new(()),
    }
}

callboard_actors::budget_conformance!(fresh_budgets);
