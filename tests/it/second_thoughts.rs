//! The store has the last word on Slots: a run that the ledger admitted and the store does not start waits in the queue, as if it had
//! been queued at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::store::{Admission, Creation, Idempotency, NewRun};
use callboard_actors::ports::{Model, ModelAnswer, ModelError, ModelRequest, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::supervisor::messages::StartRun;
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::harness::{InProcess, Script, start_of};

/// A store that has no Slot for the first start, and says so once the model has answered, if it is to wait for that.
struct NoSlotAtFirst {
    asked: AtomicBool,
    answered: Option<Arc<Semaphore>>,
    inputs: Mutex<Vec<usize>>,
}

impl NoSlotAtFirst {
    fn new(answered: Option<Arc<Semaphore>>) -> Arc<Self> {
        Arc::new(Self {
            asked: AtomicBool::new(false),
            answered,
            inputs: Mutex::default(),
        })
    }
}

#[async_trait]
impl Script for NoSlotAtFirst {
    async fn before_create(&self, run: &NewRun) -> Option<Result<Creation, StoreError>> {
        self.inputs.lock().unwrap().push(run.input.len());
        let starts = matches!(run.admission, Admission::Start { .. });
        if !starts || self.asked.swap(true, Ordering::SeqCst) {
            return None;
        }
        if let Some(answered) = &self.answered {
            answered.acquire().await.unwrap().forget();
        }
        Some(Ok(Creation::QuotaExceeded { running: 1 }))
    }
}

/// A simulated model that tells when the run has taken in an answer of it.
struct ToldModel {
    inner: SimulatedModel,
    answered: Arc<Semaphore>,
}

/// Dropped with the answer's stream: the run has heard all of it by then.
struct TellsWhenDropped(Arc<Semaphore>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[async_trait]
impl Model for ToldModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let told = TellsWhenDropped(self.answered.clone());
        let answer = self.inner.call(request).await?;
        let pieces = answer.pieces.map(move |piece| {
            let _told = &told;
            piece
        });
        Ok(ModelAnswer {
            pieces: pieces.boxed(),
            ..answer
        })
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        self.inner.check_options(options)
    }
}

#[actix_rt::test]
async fn a_run_that_has_to_wait_after_all_keeps_its_idempotency_key() {
    let server = InProcess::new(NoSlotAtFirst::new(None)).await;
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), Vec::new()).await;
    let request = StartRun {
        idempotency: Some(Idempotency {
            key: "order-4711".into(),
            request_hash: [7; 32],
        }),
        ..start_of(json!({"tokens": 3}), &[])
    };
    let first = supervisor.start(request.clone()).await.unwrap();
    assert_eq!((first.run.state, first.replayed), (RunState::Queued, false));
    let again = supervisor.start(request).await.unwrap();
    assert_eq!((again.run.id, again.replayed), (first.run.id, true));
    assert_eq!(server.ended(first.run.id).await.state, RunState::Completed);
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn what_the_model_said_to_a_run_that_has_to_wait_after_all_is_forgotten() {
    let answered = Arc::new(Semaphore::new(0));
    let store = NoSlotAtFirst::new(Some(answered.clone()));
    let server = InProcess::new(store.clone()).await;
    let model = ToldModel {
        inner: SimulatedModel::default(),
        answered,
    };
    let supervisor = server.supervisor(Arc::new(model), Vec::new()).await;
    let request = start_of(json!({"tokens": 3, "tool_calls": [{"name": "unknown"}]}), &[]);
    let run = supervisor.start(request).await.unwrap().run;
    assert_eq!(run.state, RunState::Queued);
    assert_eq!(
        *store.inputs.lock().unwrap(),
        [1, 1],
        "the input is what the client sent"
    );
    assert_eq!(server.ended(run.id).await.state, RunState::Completed);
    assert_eq!(server.items(run.id).await.len(), 4, "input, call, result, answer");
    server.finish(supervisor).await;
}
