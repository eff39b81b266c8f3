//! A run's share of the model client: makes one call at a time, and aborts it when it is no longer wanted.
//!
//! The call itself runs on the I/O runtime and messages the run; dropping this actor, or the next call, aborts it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;

use super::call::{CallFailure, CallInProgress, ModelCall};
use super::line::WaitNotice;
use super::route::ModelRoute;
use crate::ids::AccountId;
use crate::ports::{ModelDelta, ModelError, ModelRequest};
use crate::run::RunActor;
use crate::services::RunServices;
use crate::store_actor::Backlog;

/// Call the model. An earlier call is aborted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CallModel {
    /// Comes back with every report, so that reports of an aborted call can be told apart.
    pub(crate) generation: u64,
    /// What the run asked for, and what it takes instead; at least one.
    pub(crate) routes: Vec<Arc<ModelRoute>>,
    pub(crate) request: ModelRequest,
    /// Who pays.
    pub(crate) account: AccountId,
    pub(crate) tier: String,
    pub(crate) epoch: u64,
}

/// Abort the call under way.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AbortCall;

/// What the run hears of its model call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ModelReport {
    pub(crate) generation: u64,
    pub(crate) progress: ModelProgress,
}

#[derive(Debug)]
pub(crate) enum ModelProgress {
    /// There is no room at the moment.
    Waiting(WaitNotice),
    /// Pieces of the answer that came together, in order.
    Deltas {
        call: Arc<CallInProgress>,
        pieces: Vec<ModelDelta>,
    },
    /// The try broke off; what it had said so far is void. Another provider is asked next.
    Rerouted { provider: Arc<str>, error: ModelError },
    /// The try broke off; what it had said so far is void. The next one, number `attempt`, comes after `delay`.
    Retrying {
        attempt: u32,
        error: ModelError,
        delay: Duration,
    },
    /// There is no answer and will be none.
    Failed(CallFailure),
    /// The adapter panicked.
    Panicked,
}

pub(crate) struct LlmActor {
    services: Arc<RunServices>,
    owner: Addr<RunActor>,
    backlog: Arc<Backlog>,
    call: Option<tokio::task::AbortHandle>,
}

impl LlmActor {
    pub(crate) fn new(services: Arc<RunServices>, owner: Addr<RunActor>, backlog: Arc<Backlog>) -> Self {
        Self {
            services,
            owner,
            backlog,
            call: None,
        }
    }

    fn abort(&mut self) {
        if let Some(call) = self.call.take() {
            call.abort();
        }
    }
}

impl Actor for LlmActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(crate::run::CHILD_MAILBOX);
    }
}

impl Drop for LlmActor {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Handler<CallModel> for LlmActor {
    type Result = ();

    fn handle(&mut self, call: CallModel, _ctx: &mut Self::Context) {
        self.abort();
        let reporter = Arc::new(Reporter {
            generation: call.generation,
            owner: self.owner.clone(),
            backlog: self.backlog.clone(),
            max_unwritten_bytes: self.services.settings.max_unwritten_bytes,
        });
        let model_call = ModelCall::new(call, self.services.clone(), reporter.clone());
        let task = self.services.io.spawn(async move {
            let last_word = match AssertUnwindSafe(model_call.make()).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => ModelProgress::Failed(failure),
                Err(_panic) => ModelProgress::Panicked,
            };
            reporter.report(last_word).await;
        });
        self.call = Some(task.abort_handle());
    }
}

impl Handler<AbortCall> for LlmActor {
    type Result = ();

    fn handle(&mut self, _: AbortCall, _ctx: &mut Self::Context) {
        self.abort();
    }
}

/// The way back to the run, for the task that makes the call.
pub(super) struct Reporter {
    generation: u64,
    owner: Addr<RunActor>,
    backlog: Arc<Backlog>,
    max_unwritten_bytes: usize,
}

impl Reporter {
    /// Tells the run, and returns when there is room for more. A run that is gone hears nothing; its call is aborted with it.
    pub(super) async fn report(&self, progress: ModelProgress) {
        let _ = self
            .owner
            .send(ModelReport {
                generation: self.generation,
                progress,
            })
            .await;
        self.backlog.at_most(self.max_unwritten_bytes).await;
    }
}
