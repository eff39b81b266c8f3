//! One model call of a run, from the wish to the whole answer: the loop over targets and tries. The table in [`super`] says what is done when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Attempt, usage_of};
use super::budget::BudgetHold;
use super::circuit::CircuitState;
use super::estimate::likely_input_tokens;
use super::flight;
use super::grant::GrantHold;
use super::line::{NoRoom, RoomNow};
use super::pictures;
use super::place::{Place, first_room};
use super::progress::{CallFailure, CallInProgress, CallListener, CallWish, ModelProgress};
use super::route::Target;
use crate::item::Usage;
use crate::ports::rate_limits::{CallEnd, Wanted};
use crate::ports::{ModelDelta, ModelError, ModelErrorKind};
use crate::retry::Attempts;
use crate::services::RunServices;

/// Gets one answer for a run: makes the call, as often and wherever that may help, or takes an answer that is shared. The listener hears of
/// everything but the failure that this ends with. Dropping the future aborts the call and gives back whatever it held. Runs on the I/O
/// runtime.
///
/// # Panics
/// If there is no route, or an adapter panics.
pub fn make_call(
    services: Arc<RunServices>,
    wish: CallWish,
    listener: Arc<dyn CallListener>,
) -> impl Future<Output = Result<(), CallFailure>> + Send {
    ModelCall::new(services, wish, listener).make()
}

/// A call to be made.
pub(super) struct ModelCall {
    pub(super) services: Arc<RunServices>,
    pub(super) listener: Arc<dyn CallListener>,
    pub(super) wish: CallWish,
    /// When it gives up waiting for room.
    room_by: Instant,
    likely_input_tokens: u64,
    /// The answer, where it is kept for others.
    pub(super) kept: Option<Vec<ModelDelta>>,
}

/// A call that has been answered. The run does not have the last pieces yet: once it has, it may abort whatever is still to be done.
pub(super) struct Answered {
    pub(super) target: Arc<Target>,
    call: Arc<CallInProgress>,
    last_pieces: Vec<ModelDelta>,
}

/// Why no target has answered this time.
enum Unanswered {
    /// One has said so: all may be asked again, if the error is of that kind.
    ByTarget {
        error: ModelError,
        /// What was in the way is the key's, and is seen to by its limits.
        key_cools: bool,
    },
    /// Asking again would not help.
    ForGood(CallFailure),
}

impl From<CallFailure> for Unanswered {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Model(error) => Self::ByTarget {
                error,
                key_cools: false,
            },
            other => Self::ForGood(other),
        }
    }
}

/// A target that has room.
struct Room {
    index: usize,
    grant: GrantHold,
}

impl ModelCall {
    fn new(services: Arc<RunServices>, wish: CallWish, listener: Arc<dyn CallListener>) -> Self {
        Self {
            services,
            listener,
            likely_input_tokens: likely_input_tokens(&wish.request),
            room_by: Instant::now() + wish.routes[0].calls.longest_wait,
            wish,
            kept: None,
        }
    }

    /// Makes it, or takes the answer that somebody else got.
    async fn make(mut self) -> Result<(), CallFailure> {
        match flight::fingerprint(&self) {
            Some(fingerprint) => flight::fly(&mut self, fingerprint).await,
            None => self.ask_alone().await,
        }
    }

    pub(super) async fn ask_alone(&mut self) -> Result<(), CallFailure> {
        let answered = self.ask().await?;
        self.finish(answered).await;
        Ok(())
    }

    /// Gives the run the last pieces of its answer.
    pub(super) async fn finish(&self, answered: Answered) {
        let (call, pieces) = (answered.call, answered.last_pieces);
        self.listener.hear(ModelProgress::Deltas { call, pieces }).await;
    }

    /// Asks the providers, again and again as far as that may help.
    pub(super) async fn ask(&mut self) -> Result<Answered, CallFailure> {
        pictures::load(self).await?;
        let targets = self.targets();
        let mut attempts = Attempts::new(self.wish.routes[0].calls.retry);
        self.wish.request.attempt = 0;
        loop {
            attempts.begin();
            let (error, key_cools) = match self.ask_each(&targets).await {
                Ok(answered) => return Ok(answered),
                Err(Unanswered::ByTarget { error, key_cools }) => (error, key_cools),
                Err(Unanswered::ForGood(failure)) => return Err(failure),
            };
            let mut judged = error.clone();
            if key_cools {
                // For the key that is. There may be others, and the line knows when it is well again.
                judged.retry_after = None;
            }
            let Some(delay) = attempts.next_delay(&judged) else {
                return Err(CallFailure::Model(error));
            };
            let delay = if key_cools { Duration::ZERO } else { delay };
            tracing::debug!(run_id = %self.wish.request.run_id, attempt = self.wish.request.attempt, %error, ?delay, "model call will be made again");
            let attempt = self.wish.request.attempt + 1;
            let retrying = ModelProgress::Retrying { attempt, error, delay };
            self.listener.hear(retrying).await;
            tokio::time::sleep(delay).await;
        }
    }

    /// Asks one target after the other until one answers, or the error is not the target's.
    async fn ask_each(&mut self, targets: &[Arc<Target>]) -> Result<Answered, Unanswered> {
        let mut failed = vec![false; targets.len()];
        let mut keys_left: usize = targets.iter().map(|target| target.keys.len()).sum();
        let mut hold = None;
        loop {
            if hold.is_none() {
                hold = BudgetHold::take(self, targets).await?;
            }
            let Room { index, grant } = self.find_room(targets, &failed).await?;
            let target = &targets[index];
            let error = match self.ask_one(target, grant, &mut hold).await {
                Ok(answered) => return Ok(answered),
                Err(error) => error,
            };
            if error.is_key_refused() && target.has_keys && keys_left > 1 {
                keys_left -= 1;
                continue;
            }
            if !error.is_upstream_trouble() {
                let key_cools = error.is_rate_limited() && target.has_keys;
                return Err(Unanswered::ByTarget { error, key_cools });
            }
            failed[index] = true;
            let may_answer = |index: &usize| {
                let circuit = targets[*index].provider.circuit.state();
                !failed[*index] && !matches!(circuit, CircuitState::Open(_))
            };
            let Some(next) = (0..targets.len()).find(may_answer) else {
                let key_cools = false;
                return Err(Unanswered::ByTarget { error, key_cools });
            };
            let provider = targets[next].provider.name.clone();
            self.listener.hear(ModelProgress::Rerouted { provider, error }).await;
        }
    }

    /// One try with one key, and what the limits and the circuit are to know of its end.
    async fn ask_one(
        &mut self,
        target: &Arc<Target>,
        mut grant: GrantHold,
        hold: &mut Option<BudgetHold>,
    ) -> Result<Answered, ModelError> {
        self.wish.request.attempt += 1;
        let mut request = self.wish.request.clone();
        if let Some(hold) = hold {
            request.max_output_tokens = Some(hold.output_tokens());
        }
        let call = CallInProgress::begin(
            &self.wish.routes[0].name,
            target,
            self.likely_input_tokens,
            hold.as_ref(),
        );
        let call = Arc::new(call);
        if let Some(hold) = hold {
            hold.is_for(&call);
        }
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
        let attempt = Attempt {
            model: &target.models[grant.key()],
            timeouts: self.wish.routes[0].calls.timeouts,
            call: call.clone(),
            listener: &*self.listener,
            kept: self.kept.as_mut(),
        };
        let end = attempt.make(request, &mut grant).await;
        note_call(target, &call, &end);
        if call.is_shown() {
            // The run pays for it with its next commit; another try needs a hold of its own.
            *hold = None;
        }
        match end {
            Ok(last_pieces) => {
                target.provider.circuit.succeeded();
                let usage = usage_of(&last_pieces).unwrap_or_default();
                let used = if usage == Usage::default() {
                    CallEnd::Unknown
                } else {
                    CallEnd::Used { tokens: usage.total() }
                };
                grant.settle(used);
                Ok(Answered {
                    target: target.clone(),
                    call,
                    last_pieces,
                })
            }
            Err(error) => {
                self.note_failure(target, &error);
                let settling = grant.settle(end_of(&error, target.has_keys, call.is_shown()));
                if let Some(settling) = settling {
                    // Else the next question would get the same key again. If it panicked it has said so.
                    let _ = settling.await;
                }
                Err(error)
            }
        }
    }

    fn note_failure(&self, target: &Target, error: &ModelError) {
        if !error.is_upstream_trouble() {
            return target.provider.circuit.succeeded();
        }
        if target.provider.circuit.failed() {
            tracing::warn!(provider = %target.provider.name, %error, "a model provider fails again and again; it is left alone for a while");
        }
    }

    /// All targets of all routes, in the order in which to ask them.
    fn targets(&self) -> Vec<Arc<Target>> {
        let ordered = self.wish.routes.iter().map(|route| route.order(rand::random::<f64>));
        ordered.flatten().collect()
    }

    /// The first target with room for the call, or the one that has some first.
    async fn find_room(&self, targets: &[Arc<Target>], failed: &[bool]) -> Result<Room, CallFailure> {
        let (mut full, mut left_alone) = (Vec::new(), Vec::new());
        for (index, target) in targets.iter().enumerate() {
            if failed[index] {
                continue;
            }
            if !target.provider.circuit.lets_through() {
                left_alone.push(index);
                continue;
            }
            match target.line.room_now(&self.wanted(target)).await {
                RoomNow::Granted(grant) => return Ok(Room { index, grant }),
                RoomNow::NotYet => {
                    target.provider.circuit.not_tried();
                    full.push(index);
                }
                RoomNow::AllKeysRefused => target.provider.circuit.not_tried(),
            }
        }
        if full.is_empty() {
            return Err(CallFailure::Model(if left_alone.is_empty() {
                keys_refused()
            } else {
                in_trouble()
            }));
        }
        // One that is left alone now may have room before the others have.
        full.extend(left_alone);
        self.wait_for_room(targets, full).await
    }

    /// Waits in the lines of these targets.
    async fn wait_for_room(&self, targets: &[Arc<Target>], waited_for: Vec<usize>) -> Result<Room, CallFailure> {
        let began = Instant::now();
        let mut places: Vec<(usize, Place)> = Vec::new();
        let mut answer = Err(NoRoom::LineFull);
        for index in waited_for {
            let target = &targets[index];
            // Who stands in a line twice would have two turns.
            if places
                .iter()
                .any(|(other, _)| Arc::ptr_eq(&targets[*other].line, &target.line))
            {
                continue;
            }
            let (account, wanted) = (&self.wish.account, self.wanted(target));
            let standing = target
                .line
                .stand_in_line(account, &target.provider, wanted, self.room_by);
            if let Ok(place) = standing {
                places.push((index, place));
            }
        }
        if !places.is_empty() {
            let tell = |notice| self.listener.hear(ModelProgress::Waiting(notice));
            answer = first_room(places, self.room_by, tell).await;
        }
        let (index, grant) = answer.map_err(|no_room| match no_room {
            NoRoom::LineFull => CallFailure::Capacity("as many calls wait for this model as may; try again later"),
            NoRoom::Deadline => {
                CallFailure::Capacity("the limits of the model's keys left no room for the call in time")
            }
            NoRoom::AllKeysRefused => CallFailure::Model(keys_refused()),
        })?;
        let provider = targets[index].provider.name.to_string();
        metrics::histogram!("callboard_model_wait_seconds", "provider" => provider).record(began.elapsed());
        Ok(Room { index, grant })
    }

    fn wanted(&self, target: &Target) -> Wanted {
        let output = self.wish.request.max_output_tokens.unwrap_or(u64::MAX);
        Wanted {
            keys: target.keys.clone(),
            tokens: self.likely_input_tokens + output.min(self.expected_output_tokens()),
            lease: self.wish.routes[0].calls.timeouts.call,
        }
    }

    pub(super) fn expected_output_tokens(&self) -> u64 {
        self.wish.routes[0].calls.expected_output_tokens
    }
}

fn end_of(error: &ModelError, has_keys: bool, was_shown: bool) -> CallEnd {
    if error.is_rate_limited() && has_keys {
        return CallEnd::RateLimited {
            retry_after: error.retry_after,
            hints: *error.hints,
        };
    }
    if error.is_key_refused() && has_keys {
        return CallEnd::KeyRefused;
    }
    match error.kind {
        _ if was_shown => CallEnd::Unknown,
        // It has answered: it took the call, and used no tokens.
        ModelErrorKind::Status(_) => CallEnd::Used { tokens: 0 },
        ModelErrorKind::Connection | ModelErrorKind::Timeout | ModelErrorKind::Protocol => CallEnd::Unknown,
    }
}

fn note_call(target: &Target, call: &CallInProgress, end: &Result<Vec<ModelDelta>, ModelError>) {
    let outcome = match end {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.kind {
            ModelErrorKind::Status(status) => status.to_string(),
            ModelErrorKind::Connection => "connection".to_owned(),
            ModelErrorKind::Timeout => "timeout".to_owned(),
            ModelErrorKind::Protocol => "protocol".to_owned(),
        },
    };
    let provider = target.provider.name.to_string();
    metrics::counter!("callboard_model_calls_total", "provider" => provider.clone(), "outcome" => outcome).increment(1);
    metrics::histogram!("callboard_model_call_seconds", "provider" => provider).record(call.elapsed());
}

fn keys_refused() -> ModelError {
    ModelError::new(
        ModelErrorKind::Status(401),
        "the model's provider refuses the server's keys",
    )
}

fn in_trouble() -> ModelError {
    ModelError::new(
        ModelErrorKind::Connection,
        "the model's providers are in trouble and are left alone for a while",
    )
}
