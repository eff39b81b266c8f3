//! A run's share of the model client: makes one call at a time, waits no longer than it should, and tries again where that may help.
//!
//! The call itself runs on the I/O runtime and messages the run; dropping this actor, or the next call, aborts it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::ports::{ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use crate::retry::Attempts;
use crate::run::RunActor;
use crate::services::{ModelRoute, RunServices};
use crate::store_actor::Backlog;

/// Call the model. An earlier call is aborted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CallModel {
    /// Comes back with every report, so that reports of an aborted call can be told apart.
    pub(crate) generation: u64,
    pub(crate) route: Arc<ModelRoute>,
    pub(crate) request: ModelRequest,
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
    /// Pieces of the answer that came together, in order.
    Deltas(Vec<ModelDelta>),
    /// The try broke off; what it had said so far is void. The next one, number `attempt`, comes after `delay`.
    Retrying {
        attempt: u32,
        error: ModelError,
        delay: Duration,
    },
    /// There is no answer and will be none.
    Failed(ModelError),
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
        let reporter = Reporter {
            generation: call.generation,
            owner: self.owner.clone(),
            backlog: self.backlog.clone(),
            max_unwritten_bytes: self.services.settings.max_unwritten_bytes,
        };
        let task = self.services.io.spawn(async move {
            let tries = AssertUnwindSafe(try_until_answered(&call.route, call.request, &reporter));
            let last_word = match tries.catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => ModelProgress::Failed(error),
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
struct Reporter {
    generation: u64,
    owner: Addr<RunActor>,
    backlog: Arc<Backlog>,
    max_unwritten_bytes: usize,
}

impl Reporter {
    /// Tells the run, and returns when there is room for more. A run that is gone hears nothing; its call is aborted with it.
    async fn report(&self, progress: ModelProgress) {
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

async fn try_until_answered(
    route: &ModelRoute,
    mut request: ModelRequest,
    reporter: &Reporter,
) -> Result<(), ModelError> {
    let mut attempts = Attempts::new(route.retry);
    loop {
        request.attempt = attempts.begin();
        let Err(error) = try_once(route, request.clone(), reporter).await else {
            return Ok(());
        };
        let Some(delay) = attempts.next_delay(&error) else {
            return Err(error);
        };
        tracing::debug!(run_id = %request.run_id, attempt = request.attempt, %error, ?delay, "model call will be made again");
        reporter
            .report(ModelProgress::Retrying {
                attempt: request.attempt + 1,
                error,
                delay,
            })
            .await;
        tokio::time::sleep(delay).await;
    }
}

/// One try: passes on what comes, pieces that are there together in one message.
async fn try_once(route: &ModelRoute, request: ModelRequest, reporter: &Reporter) -> Result<(), ModelError> {
    const MOST_PIECES_TOGETHER: usize = 256;
    let timeouts = route.timeouts;
    let began = Instant::now();
    let last_moment = began + timeouts.call;
    let first_piece_by = last_moment.min(began + timeouts.first_byte);
    let mut pieces = timeout_at(first_piece_by, route.model.call(request))
        .await
        .map_err(|_| timed_out())??
        .pieces;
    let mut next_piece_by = first_piece_by;
    loop {
        let piece = timeout_at(next_piece_by, pieces.next())
            .await
            .map_err(|_| timed_out())?;
        let mut together = vec![piece.unwrap_or_else(|| Err(broken_off()))?];
        let mut error = None;
        while together.len() < MOST_PIECES_TOGETHER && error.is_none() && !is_finished(&together) {
            match pieces.next().now_or_never() {
                None => break,
                Some(Some(Ok(piece))) => together.push(piece),
                Some(Some(Err(broken))) => error = Some(broken),
                Some(None) => error = Some(broken_off()),
            }
        }
        let finished = is_finished(&together);
        reporter.report(ModelProgress::Deltas(together)).await;
        if finished {
            return Ok(());
        }
        if let Some(error) = error {
            return Err(error);
        }
        next_piece_by = last_moment.min(Instant::now() + timeouts.idle);
    }
}

fn is_finished(pieces: &[ModelDelta]) -> bool {
    matches!(pieces.last(), Some(ModelDelta::Finished { .. }))
}

fn timed_out() -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, "the model did not answer in time")
}

fn broken_off() -> ModelError {
    ModelError::new(ModelErrorKind::Connection, "the model's answer broke off")
}
