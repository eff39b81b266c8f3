//! One try of a call: asks one model with one key, and passes on what it says.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::grant::GrantHold;
use super::progress::{CallInProgress, CallListener, ModelProgress};
use super::route::ModelTimeouts;
use crate::item::Usage;
use crate::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest};

/// What a try needs beside the request.
pub(super) struct Attempt<'a> {
    pub(super) model: &'a Arc<dyn Model>,
    pub(super) timeouts: ModelTimeouts,
    pub(super) call: Arc<CallInProgress>,
    pub(super) listener: &'a dyn CallListener,
    /// Where the answer is kept for others, if it is.
    pub(super) kept: Option<&'a mut Vec<ModelDelta>>,
}

impl Attempt<'_> {
    /// The last pieces of the whole answer, which are still to be passed on, or why there is none. Pieces that are there together go in one
    /// message.
    pub(super) async fn make(
        mut self,
        request: ModelRequest,
        grant: &mut GrantHold,
    ) -> Result<Vec<ModelDelta>, ModelError> {
        const MOST_PIECES_TOGETHER: usize = 256;
        let began = Instant::now();
        let last_moment = began + self.timeouts.call;
        let first_piece_by = last_moment.min(began + self.timeouts.first_byte);
        grant.sent();
        let answer = timeout_at(first_piece_by, self.model.call(request))
            .await
            .map_err(|_| timed_out())??;
        grant.answered(answer.hints);
        let mut pieces = answer.pieces;
        let mut next_piece_by = first_piece_by;
        loop {
            let piece = timeout_at(next_piece_by, pieces.next())
                .await
                .map_err(|_| timed_out())?;
            let mut together = vec![piece.unwrap_or_else(|| Err(broken_off()))?];
            let mut error = None;
            while together.len() < MOST_PIECES_TOGETHER && error.is_none() && usage_of(&together).is_none() {
                match pieces.next().now_or_never() {
                    None => break,
                    Some(Some(Ok(piece))) => together.push(piece),
                    Some(Some(Err(broken))) => error = Some(broken),
                    Some(None) => error = Some(broken_off()),
                }
            }
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&together);
            }
            self.call.show();
            if usage_of(&together).is_some() {
                return Ok(together);
            }
            self.pass_on(together).await;
            if let Some(error) = error {
                return Err(error);
            }
            next_piece_by = last_moment.min(Instant::now() + self.timeouts.idle);
        }
    }

    async fn pass_on(&self, pieces: Vec<ModelDelta>) {
        let call = self.call.clone();
        self.listener.hear(ModelProgress::Deltas { call, pieces }).await;
    }
}

/// What the answer used, if it is whole.
pub(super) fn usage_of(pieces: &[ModelDelta]) -> Option<Usage> {
    match pieces.last() {
        Some(ModelDelta::Finished { usage, .. }) => Some(*usage),
        _ => None,
    }
}

fn timed_out() -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, "the model did not answer in time")
}

fn broken_off() -> ModelError {
    ModelError::new(ModelErrorKind::Connection, "the model's answer broke off")
}
