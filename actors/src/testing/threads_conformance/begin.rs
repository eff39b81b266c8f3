//! Threads by themselves.

use super::FreshThreads;
use super::fixtures::{ACCOUNT, START, account, entering, new_thread, record, started, thread, waits};
use crate::ids::ThreadId;
use crate::ports::store::Creation;
use crate::ports::threads::{OnBusy, ThreadItemsQuery, ThreadQuery, ThreadRecord};
use crate::run_state::RunState;

/// Only those of the account.
pub async fn a_thread_reads_back_and_lists_newest_first(fresh: &FreshThreads) {
    let mut made = Vec::new();
    for name in [ACCOUNT, "beta", ACCOUNT, ACCOUNT] {
        let new = new_thread(name);
        fresh.threads.create_thread(new.clone()).await.expect("written");
        let expected = ThreadRecord {
            id: new.id,
            account: new.account,
            metadata: new.metadata,
            created_at: new.created_at,
        };
        assert_eq!(fresh.threads.thread(new.id).await, Ok(Some(expected.clone())));
        made.push(expected);
    }
    let list = |before, limit| {
        let query = ThreadQuery {
            account: account(ACCOUNT),
            before,
            limit,
        };
        fresh.threads.list_threads(query)
    };
    let mine = [made[3].clone(), made[2].clone(), made[0].clone()];
    assert_eq!(list(None, 10).await, Ok(mine.to_vec()));
    assert_eq!(list(None, 2).await, Ok(mine[..2].to_vec()));
    assert_eq!(list(Some(mine[1].id), 2).await, Ok(mine[2..].to_vec()));
    assert_eq!(fresh.threads.thread(ThreadId::new()).await, Ok(None));
}

/// Its runs stay, those that have not ended are to be cancelled, and nothing enters it any more.
pub async fn a_deleted_thread_is_not_there(fresh: &FreshThreads) {
    let deleted = thread(fresh).await;
    let kept = thread(fresh).await;
    let first = started(&fresh.store, deleted).await;
    let second = waits(&fresh.store, deleted).await;
    let other = started(&fresh.store, kept).await;
    let to_cancel = fresh.threads.delete_thread(deleted).await;
    assert_eq!(to_cancel, Ok(Some(vec![first.id, second.id])));
    assert_eq!(fresh.threads.delete_thread(deleted).await, Ok(None));
    assert_eq!(fresh.threads.delete_thread(ThreadId::new()).await, Ok(None));
    assert_eq!(fresh.threads.thread(deleted).await, Ok(None));
    let refused = fresh.store.create_run(entering(deleted, OnBusy::Queue, START)).await;
    assert_eq!(refused, Ok(Creation::ThreadNotFound));
    assert_eq!(record(&fresh.store, first.id).await.state, RunState::Running);
    let recovered = fresh
        .store
        .recover(crate::ids::InstanceId::new())
        .await
        .expect("recovers");
    let mut marked = recovered.to_cancel;
    marked.sort_unstable();
    assert_eq!(marked, [first.id, second.id]);
    let items = ThreadItemsQuery {
        thread: kept,
        after: None,
        limit: 10,
    };
    let items = fresh.threads.thread_items(items).await.expect("reads").items;
    assert_eq!(items.len(), 1, "the other thread is as it was");
    assert_eq!(items[0].run, Some(other.id));
}
