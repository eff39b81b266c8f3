//! A run's share of the model client: makes one call at a time, and aborts it when it is no longer wanted.
//!
//! The call itself runs on the I/O runtime and messages the run; dropping this actor, or the next call, aborts it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix::prelude::*;
use async_trait::async_trait;
use futures::FutureExt;

use super::call::make_call;
use super::progress::{CallListener, CallWish, ModelProgress};
use crate::run::RunActor;
use crate::services::RunServices;
use crate::store_actor::Backlog;

/// Call the model. An earlier call is aborted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CallModel {
    /// Comes back with every report, so that reports of an aborted call can be told apart.
    pub(crate) generation: u64,
    pub(crate) wish: CallWish,
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
        let reporter: Arc<dyn CallListener> = Arc::new(Reporter {
            generation: call.generation,
            owner: self.owner.clone(),
            backlog: self.backlog.clone(),
            max_unwritten_bytes: self.services.settings.max_unwritten_bytes,
        });
        let making = make_call(self.services.clone(), call.wish, reporter.clone());
        let task = self.services.io.spawn(async move {
            let last_word = match AssertUnwindSafe(making).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => ModelProgress::Failed(failure),
                Err(_panic) => ModelProgress::Panicked,
            };
            reporter.hear(last_word).await;
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
struct Reporter {
    generation: u64,
    owner: Addr<RunActor>,
    backlog: Arc<Backlog>,
    max_unwritten_bytes: usize,
}

#[async_trait]
impl CallListener for Reporter {
    /// Tells the run, and returns when there is room for more. A run that is gone hears nothing; its call is aborted with it.
    async fn hear(&self, progress: ModelProgress) {
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
