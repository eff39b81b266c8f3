//! Threads to test with, and runs in them.

use std::sync::Arc;

use super::FreshThreads;
use crate::ids::{RunId, ThreadId};
use crate::item::{Item, Role};
use crate::ports::Store;
use crate::ports::store::{Admission, Creation, NewRun, RunRecord};
use crate::ports::threads::{EnterThread, NewThread, OnBusy, TurnPage};
use crate::run_state::RunState;
use crate::time::Timestamp;

pub(super) use crate::testing::store_conformance::fixtures::{
    account, at_once, claim, claimed, move_commit, new_run, parked, record, spec,
};

pub(super) const ACCOUNT: &str = "acme";

/// More turns than any thread here has.
pub(super) const MANY_TURNS: TurnPage = TurnPage {
    turns: 100,
    bytes: u64::MAX,
};

pub(super) fn new_thread(account_name: &str) -> NewThread {
    NewThread {
        id: ThreadId::new(),
        account: account(account_name),
        metadata: [("topic".to_owned(), "weather".to_owned())].into(),
        items: Vec::new(),
        created_at: Timestamp::now(),
    }
}

/// An empty thread.
pub(super) async fn thread(fresh: &FreshThreads) -> ThreadId {
    let new = new_thread(ACCOUNT);
    let id = new.id;
    fresh.threads.create_thread(new).await.expect("written");
    id
}

/// A run that would enter the thread; its input names it.
pub(super) fn entering(thread: ThreadId, on_busy: OnBusy, admission: Admission) -> NewRun {
    let run = new_run(ACCOUNT, admission);
    NewRun {
        thread: Some(EnterThread { thread, on_busy }),
        input: vec![Item::message(Role::User, run.id.to_string())],
        ..run
    }
}

pub(super) const START: Admission = Admission::Start { slot_limit: None };
pub(super) const QUEUE: Admission = Admission::Queue { deadline: None };

/// Enters the thread, and says which runs were displaced.
pub(super) async fn entered(store: &Arc<dyn Store>, run: NewRun) -> (RunRecord, Vec<RunId>) {
    match store.create_run(run).await {
        Ok(Creation::InThread { record, displaced }) => (*record, displaced),
        other => panic!("it did not enter: {other:?}"),
    }
}

/// A run of the thread that runs.
pub(super) async fn started(store: &Arc<dyn Store>, thread: ThreadId) -> RunRecord {
    entered(store, entering(thread, OnBusy::Refuse, START)).await.0
}

/// A run of the thread that waits behind the others.
pub(super) async fn waits(store: &Arc<dyn Store>, thread: ThreadId) -> RunRecord {
    entered(store, entering(thread, OnBusy::Queue, QUEUE)).await.0
}

/// Moves a running run.
pub(super) async fn moves(store: &Arc<dyn Store>, run: RunId, to: RunState) {
    let run = record(store, run).await;
    store.commit(move_commit(&run, to)).await.expect("moves");
}
