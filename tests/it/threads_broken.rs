//! Threads while a part is away or a client is gone: who may wait does, and what is to be cancelled is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use callboard::http::HttpOptions;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::event::{EventBody, QueuedReason};
use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::ports::store::{Admission, Creation, ItemPage, NewRun, ParkedUpdate};
use callboard_actors::ports::threads::*;
use callboard_actors::ports::{StoreError, Threads};
use callboard_actors::run_state::RunState;
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::supervisor::messages::{StartError, StartRun};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Client, InProcess, Script, Surface, patiently, start_of, started};

/// What the store does, so many times.
struct Trouble {
    /// Knows of a run in each thread of which memory knows nothing.
    busy: AtomicU32,
    /// Is away for changes of runs that wait.
    away: AtomicU32,
}

impl Trouble {
    fn new(busy: u32, away: u32) -> Arc<Self> {
        Arc::new(Self {
            busy: busy.into(),
            away: away.into(),
        })
    }
}

fn once_less(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

#[async_trait]
impl Script for Trouble {
    async fn before_create(&self, run: &NewRun) -> Option<Result<Creation, StoreError>> {
        let would_start = matches!(run.admission, Admission::Start { .. }) && run.thread.is_some();
        let is_busy = would_start && once_less(&self.busy);
        is_busy.then(|| Ok(Creation::ThreadBusy { active: RunId::new() }))
    }

    async fn instead_of_parked_update(&self, _update: &ParkedUpdate) -> Option<StoreError> {
        once_less(&self.away).then(|| StoreError::Unavailable("told to be away".into()))
    }
}

async fn new_thread(client: &Client) -> ThreadId {
    let thread = client.post("/api/v1/threads", &json!({})).await.expect_status(201);
    thread["id"].as_str().expect("an id").parse().expect("an id")
}

fn in_thread(thread: ThreadId, on_busy: OnBusy, simulate: Value) -> StartRun {
    StartRun {
        thread: Some(EnterThread { thread, on_busy }),
        ..start_of(simulate, &[])
    }
}

fn surface_of(server: &InProcess, supervisor: &SupervisorHandle) -> Surface {
    Surface::start(server, Arc::new(supervisor.clone()), None, HttpOptions::default())
}

async fn delete(client: &Client, thread: ThreadId) -> reqwest::Result<crate::rig::Reply> {
    Client::send(client.request(Method::DELETE, &format!("/api/v1/threads/{thread}"))).await
}

#[actix_rt::test]
async fn who_may_wait_for_a_thread_does_when_only_the_store_knows_that_it_is_busy() {
    for on_busy in OnBusy::ALL {
        let server = InProcess::new(Trouble::new(1, 0)).await;
        let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), vec![]).await;
        let surface = surface_of(&server, &supervisor);
        let thread = new_thread(&surface.client()).await;
        let answer = supervisor.start(in_thread(thread, on_busy, json!({"tokens": 1}))).await;
        if on_busy == OnBusy::Refuse {
            assert!(matches!(answer, Err(StartError::ThreadBusy { .. })), "{answer:?}");
        } else {
            let run = answer.expect("it waits").run;
            assert_eq!(run.state, RunState::Queued, "{on_busy:?}");
            assert_eq!(server.ended(run.id).await.state, RunState::Completed, "{on_busy:?}");
            let events = server.events(run.id).await;
            let told = events.iter().find_map(|event| match &event.body {
                EventBody::RunQueued { position, reason } => Some((*position, *reason)),
                _ => None,
            });
            assert_eq!(told, Some((1, QueuedReason::ThreadBusy)));
        }
        surface.stop().await;
        server.finish(supervisor).await;
    }
}

#[actix_rt::test]
async fn the_runs_of_a_deleted_thread_end_although_the_store_is_away_for_their_cancels() {
    let server = InProcess::new(Trouble::new(0, 2)).await;
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), vec![]).await;
    let surface = surface_of(&server, &supervisor);
    let client = surface.client();
    let ahead = started(&supervisor, start_of(json!({"fail": {"kind": "stall"}}), &[])).await;
    let thread = new_thread(&client).await;
    let waiting = started(&supervisor, in_thread(thread, OnBusy::Queue, json!({"tokens": 1}))).await;
    assert_eq!(delete(&client, thread).await.expect("an answer").status, 204);
    assert_eq!(server.ended(waiting).await.state, RunState::Cancelled);
    client.cancel(&ahead.to_string()).await;
    surface.stop().await;
    server.finish(supervisor).await;
}

/// Threads whose deletion is done, and not answered before it is told to be.
struct HeldDeletion {
    inner: Arc<dyn Threads>,
    is_done: Semaphore,
    may_answer: Semaphore,
}

#[async_trait]
impl Threads for HeldDeletion {
    async fn create_thread(&self, thread: NewThread) -> Result<(), StoreError> {
        self.inner.create_thread(thread).await
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<ThreadRecord>, StoreError> {
        self.inner.thread(thread).await
    }

    async fn list_threads(&self, query: ThreadQuery) -> Result<Vec<ThreadRecord>, StoreError> {
        self.inner.list_threads(query).await
    }

    async fn delete_thread(&self, thread: ThreadId) -> Result<Option<Vec<RunId>>, StoreError> {
        let deleted = self.inner.delete_thread(thread).await;
        self.is_done.add_permits(1);
        self.may_answer.acquire().await.expect("open").forget();
        deleted
    }

    async fn thread_items(&self, query: ThreadItemsQuery) -> Result<ItemPage<ThreadItem>, StoreError> {
        self.inner.thread_items(query).await
    }

    async fn turns_before(&self, thread: ThreadId, position: u64, page: TurnPage) -> Result<Vec<Turn>, StoreError> {
        self.inner.turns_before(thread, position, page).await
    }

    async fn extent_before(&self, thread: ThreadId, position: u64) -> Result<ThreadExtent, StoreError> {
        self.inner.extent_before(thread, position).await
    }
}

#[actix_rt::test]
async fn the_runs_of_a_deleted_thread_end_although_the_client_hangs_up() {
    let mut server = InProcess::plain().await;
    let held = Arc::new(HeldDeletion {
        inner: server.threads.clone(),
        is_done: Semaphore::new(0),
        may_answer: Semaphore::new(0),
    });
    server.threads = held.clone();
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), vec![]).await;
    let surface = surface_of(&server, &supervisor);
    let client = surface.client();
    let thread = new_thread(&client).await;
    let endless = json!({"fail": {"kind": "stall"}});
    let run = started(&supervisor, in_thread(thread, OnBusy::Refuse, endless)).await;
    let asking = actix_rt::spawn(async move { delete(&client, thread).await });
    patiently("the deletion", held.is_done.acquire())
        .await
        .expect("open")
        .forget();
    asking.abort();
    // When it has stopped nobody waits for the answer any more.
    surface.stop().await;
    held.may_answer.add_permits(1);
    assert_eq!(server.ended(run).await.state, RunState::Cancelled);
    server.finish(supervisor).await;
}
