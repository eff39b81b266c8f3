//! One try of a call: asks one model with one key, and passes on what it says.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::grant::GrantHold;
use super::progress::{CallInProgress, CallListener, ModelProgress};
use super::route::ModelTimeouts;
use crate::event::FinishReason;
use crate::item::Usage;
use crate::ports::model::ModelStream;
use crate::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest};

/// What a try needs beside the request.
pub(super) struct Attempt<'a> {
    model: &'a Arc<dyn Model>,
    timeouts: ModelTimeouts,
    call: Arc<CallInProgress>,
    listener: &'a dyn CallListener,
    /// Where the answer is kept for others, if it is.
    kept: Option<&'a mut Vec<ModelDelta>>,
    /// The run knows of this try.
    is_told: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        model: &'a Arc<dyn Model>,
        timeouts: ModelTimeouts,
        call: Arc<CallInProgress>,
        listener: &'a dyn CallListener,
        kept: Option<&'a mut Vec<ModelDelta>>,
    ) -> Self {
        Self {
            model,
            timeouts,
            call,
            listener,
            kept,
            is_told: false,
        }
    }

    /// The last pieces of the whole answer, which are still to be passed on, or why there is none. Pieces that are there together go in one
    /// message. `has_begun` is called when the provider has begun to answer: from there on it has to be paid for what it reads and writes.
    pub(super) async fn make(
        mut self,
        request: ModelRequest,
        grant: &mut GrantHold,
        has_begun: impl FnOnce(),
    ) -> Result<Vec<ModelDelta>, ModelError> {
        let began = Instant::now();
        let last_moment = began + self.timeouts.call;
        let sign_of_life_by = last_moment.min(began + self.timeouts.first_byte);
        grant.sent();
        let answer = timeout_at(sign_of_life_by, self.model.call(request))
            .await
            .map_err(|_| timed_out())??;
        grant.answered(answer.hints);
        self.call.show();
        has_begun();
        let read = self.read(answer.pieces, sign_of_life_by, last_moment).await;
        if read.is_err() {
            self.tell().await;
        }
        read
    }

    async fn read(
        &mut self,
        mut pieces: ModelStream,
        mut sign_of_life_by: Instant,
        last_moment: Instant,
    ) -> Result<Vec<ModelDelta>, ModelError> {
        const MOST_PIECES_TOGETHER: usize = 256;
        loop {
            let piece = match pieces.next().now_or_never() {
                Some(piece) => piece,
                None => {
                    self.tell().await;
                    let waiting = timeout_at(sign_of_life_by, pieces.next());
                    waiting.await.map_err(|_| timed_out())?
                }
            };
            let mut together = vec![piece.unwrap_or_else(|| Err(broken_off()))?];
            let mut error = None;
            while together.len() < MOST_PIECES_TOGETHER && error.is_none() && !is_whole(&together) {
                match pieces.next().now_or_never() {
                    None => break,
                    Some(Some(Ok(piece))) => together.push(piece),
                    Some(Some(Err(broken))) => error = Some(broken),
                    Some(None) => error = Some(broken_off()),
                }
            }
            sign_of_life_by = last_moment.min(Instant::now() + self.timeouts.idle);
            together.retain(|piece| *piece != ModelDelta::Working);
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&together);
            }
            if is_whole(&together) {
                return Ok(together);
            }
            if !together.is_empty() {
                self.pass_on(together).await;
            }
            if let Some(error) = error {
                return Err(error);
            }
            if Instant::now() >= last_moment {
                return Err(timed_out());
            }
        }
    }

    /// The run has to know what it pays for, whatever becomes of it.
    async fn tell(&mut self) {
        if !self.is_told {
            self.pass_on(Vec::new()).await;
        }
    }

    async fn pass_on(&mut self, pieces: Vec<ModelDelta>) {
        self.is_told = true;
        let call = self.call.clone();
        self.listener.hear(ModelProgress::Deltas { call, pieces }).await;
    }
}

fn is_whole(pieces: &[ModelDelta]) -> bool {
    end_of_answer(pieces).is_some()
}

/// How the answer ended and what it used, if it is whole.
pub(super) fn end_of_answer(pieces: &[ModelDelta]) -> Option<(FinishReason, Usage)> {
    match pieces.last() {
        Some(ModelDelta::Finished { reason, usage, .. }) => Some((*reason, *usage)),
        _ => None,
    }
}

fn timed_out() -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, "the model did not answer in time")
}

fn broken_off() -> ModelError {
    ModelError::new(ModelErrorKind::Connection, "the model's answer broke off")
}
