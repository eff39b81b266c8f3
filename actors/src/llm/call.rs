//! One model call of a run, from the wish to the whole answer: the loop over targets and tries. The table in [`super`] says what is done when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::actor::{CallModel, ModelProgress, Reporter};
use super::attempt::{Attempt, usage_of};
use super::budget::BudgetHold;
use super::circuit::CircuitState;
use super::estimate::likely_input_tokens;
use super::flight;
use super::grant::GrantHold;
use super::line::{NoRoom, RoomNow};
use super::price::Price;
use super::route::{ModelRoute, Target};
use crate::event::WaitingReason;
use crate::ids::{AccountId, ModelCallId};
use crate::item::Usage;
use crate::money::Money;
use crate::ports::budgets::{BudgetKind, Charge};
use crate::ports::rate_limits::{CallEnd, Wanted};
use crate::ports::{ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use crate::retry::Attempts;
use crate::services::RunServices;
use crate::time::Timestamp;

/// Why a run gets no answer.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// A provider said so, or none could be reached.
    Model(ModelError),
    /// The limits of the keys leave no room; a sentence says more.
    Capacity(&'static str),
    /// The account's budget is used up: of this.
    Budget {
        kind: BudgetKind,
        /// What the run is to do about it, if not to fail.
        wait: Option<WaitingReason>,
    },
}

/// A try whose answer has begun: what the run needs to know of it to tell of it and to pay for it.
#[derive(Debug)]
pub(crate) struct CallInProgress {
    id: ModelCallId,
    model: Arc<str>,
    pub(crate) provider: Arc<str>,
    price: Price,
    likely_input_tokens: u64,
    began: Instant,
    pub(crate) is_simulated: bool,
    /// Nobody was asked: the answer was there.
    pub(crate) is_cached: bool,
    /// The answer may be no longer because the budget buys no more.
    pub(crate) is_capped_by_budget: bool,
    is_shown: AtomicBool,
}

impl CallInProgress {
    /// An answer that is there already.
    pub(super) fn cached(model: &Arc<str>, provider: &Arc<str>, is_simulated: bool) -> Self {
        Self {
            id: ModelCallId::new(),
            model: model.clone(),
            provider: provider.clone(),
            price: Price::default(),
            likely_input_tokens: 0,
            began: Instant::now(),
            is_simulated,
            is_cached: true,
            is_capped_by_budget: false,
            is_shown: AtomicBool::new(false),
        }
    }

    /// From here on it has to be paid for.
    pub(super) fn show(&self) {
        self.is_shown.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_shown(&self) -> bool {
        self.is_shown.load(Ordering::Relaxed)
    }

    /// What a whole answer used; what a broken one used can only be estimated, and is by [`CallInProgress::charge_broken`].
    pub(crate) fn cost(&self, usage: &Usage) -> Money {
        self.price.of(usage)
    }

    /// The bill of a whole answer; of one that does not say what it used, an estimate. `None` if nobody was asked.
    pub(crate) fn charge(&self, usage: &Usage, answer_bytes: usize) -> Option<Charge> {
        if *usage == Usage::default() {
            return self.charge_broken(answer_bytes);
        }
        self.bill(*usage)
    }

    /// The bill of an answer that broke off after so many bytes: providers charge for what they have read and written.
    pub(crate) fn charge_broken(&self, answer_bytes: usize) -> Option<Charge> {
        self.bill(Usage::of(self.likely_input_tokens, (answer_bytes as u64).div_ceil(4)))
    }

    fn bill(&self, usage: Usage) -> Option<Charge> {
        (!self.is_cached).then(|| Charge {
            id: self.id,
            model: self.model.to_string(),
            provider: self.provider.to_string(),
            usage,
            cost: self.price.of(&usage),
            call_time: self.began.elapsed(),
            at: Timestamp::now(),
        })
    }
}

/// A call to be made.
pub(super) struct ModelCall {
    pub(super) services: Arc<RunServices>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) routes: Vec<Arc<ModelRoute>>,
    pub(super) request: ModelRequest,
    pub(super) account: AccountId,
    pub(super) tier: String,
    pub(super) epoch: u64,
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

/// A target that has room.
struct Room {
    index: usize,
    grant: GrantHold,
}

impl ModelCall {
    pub(super) fn new(call: CallModel, services: Arc<RunServices>, reporter: Arc<Reporter>) -> Self {
        let longest_wait = call.routes[0].calls.longest_wait;
        Self {
            services,
            reporter,
            likely_input_tokens: likely_input_tokens(&call.request),
            routes: call.routes,
            request: call.request,
            account: call.account,
            tier: call.tier,
            epoch: call.epoch,
            room_by: Instant::now() + longest_wait,
            kept: None,
        }
    }

    /// Makes it, or takes the answer that somebody else got.
    pub(super) async fn make(mut self) -> Result<(), CallFailure> {
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
        self.reporter.report(ModelProgress::Deltas { call, pieces }).await;
    }

    /// Asks the providers, again and again as far as that may help.
    pub(super) async fn ask(&mut self) -> Result<Answered, CallFailure> {
        let targets = self.targets();
        let mut attempts = Attempts::new(self.routes[0].calls.retry);
        self.request.attempt = 0;
        loop {
            attempts.begin();
            let error = match self.ask_each(&targets).await {
                Ok(answered) => return Ok(answered),
                Err(CallFailure::Model(error)) => error,
                Err(failure) => return Err(failure),
            };
            let rate_limited = error.is_rate_limited();
            // A key that was limited cools down by itself; there may be others.
            let judged = if rate_limited {
                ModelError {
                    retry_after: None,
                    ..error.clone()
                }
            } else {
                error.clone()
            };
            let Some(delay) = attempts.next_delay(&judged) else {
                return Err(CallFailure::Model(error));
            };
            let delay = if rate_limited { Duration::ZERO } else { delay };
            tracing::debug!(run_id = %self.request.run_id, attempt = self.request.attempt, %error, ?delay, "model call will be made again");
            let attempt = self.request.attempt + 1;
            let retrying = ModelProgress::Retrying { attempt, error, delay };
            self.reporter.report(retrying).await;
            tokio::time::sleep(delay).await;
        }
    }

    /// Asks one target after the other until one answers, or the error is not the target's.
    async fn ask_each(&mut self, targets: &[Arc<Target>]) -> Result<Answered, CallFailure> {
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
                return Err(CallFailure::Model(error));
            }
            failed[index] = true;
            let may_answer = |index: &usize| {
                let circuit = targets[*index].provider.circuit.state();
                !failed[*index] && !matches!(circuit, CircuitState::Open(_))
            };
            let Some(next) = (0..targets.len()).find(may_answer) else {
                return Err(CallFailure::Model(error));
            };
            let provider = targets[next].provider.name.clone();
            self.reporter.report(ModelProgress::Rerouted { provider, error }).await;
        }
    }

    /// One try with one key, and what the limits and the circuit are to know of its end.
    async fn ask_one(
        &mut self,
        target: &Arc<Target>,
        mut grant: GrantHold,
        hold: &mut Option<BudgetHold>,
    ) -> Result<Answered, ModelError> {
        self.request.attempt += 1;
        let mut request = self.request.clone();
        if let Some(hold) = hold {
            request.max_output_tokens = Some(hold.output_tokens());
        }
        let call = Arc::new(CallInProgress {
            id: hold.as_ref().map_or_else(ModelCallId::new, BudgetHold::id),
            model: self.routes[0].name.clone(),
            provider: target.provider.name.clone(),
            price: target.price,
            likely_input_tokens: self.likely_input_tokens,
            began: Instant::now(),
            is_simulated: target.is_simulated(),
            is_cached: false,
            is_capped_by_budget: hold.as_ref().is_some_and(BudgetHold::is_cap),
            is_shown: AtomicBool::new(false),
        });
        if let Some(hold) = hold {
            hold.is_for(&call);
        }
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
        let attempt = Attempt {
            model: &target.models[grant.key()],
            timeouts: self.routes[0].calls.timeouts,
            call: call.clone(),
            reporter: &self.reporter,
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
        let ordered = self.routes.iter().map(|route| route.order(rand::random::<f64>));
        ordered.flatten().collect()
    }

    /// The first target with room for the call, or the one that has some first.
    async fn find_room(&self, targets: &[Arc<Target>], failed: &[bool]) -> Result<Room, CallFailure> {
        let mut shortest: Option<(Duration, usize)> = None;
        let mut all_refused = true;
        for (index, target) in targets.iter().enumerate() {
            if failed[index] || !target.provider.circuit.lets_through() {
                all_refused &= failed[index];
                continue;
            }
            match target.line.room_now(&self.wanted(target)).await {
                RoomNow::Granted(grant) => return Ok(Room { index, grant }),
                RoomNow::NotBefore(wait) => {
                    all_refused = false;
                    target.provider.circuit.not_tried();
                    if shortest.is_none_or(|(known, _)| wait < known) {
                        shortest = Some((wait, index));
                    }
                }
                RoomNow::AllKeysRefused => target.provider.circuit.not_tried(),
            }
        }
        let Some((_, index)) = shortest else {
            return Err(CallFailure::Model(if all_refused {
                keys_refused()
            } else {
                in_trouble()
            }));
        };
        let target = &targets[index];
        let began = Instant::now();
        let tell = |notice| self.reporter.report(ModelProgress::Waiting(notice));
        let room = target
            .line
            .room(&self.account, self.wanted(target), self.room_by, tell)
            .await;
        metrics::histogram!("callboard_model_wait_seconds", "provider" => target.provider.name.to_string())
            .record(began.elapsed());
        match room {
            Ok(grant) => Ok(Room { index, grant }),
            Err(NoRoom::LineFull) => Err(CallFailure::Capacity(
                "as many calls wait for this model as may; try again later",
            )),
            Err(NoRoom::Deadline) => Err(CallFailure::Capacity(
                "the limits of the model's keys left no room for the call in time",
            )),
            Err(NoRoom::AllKeysRefused) => Err(CallFailure::Model(keys_refused())),
        }
    }

    fn wanted(&self, target: &Target) -> Wanted {
        let output = self.request.max_output_tokens.unwrap_or(u64::MAX);
        Wanted {
            keys: target.keys.clone(),
            tokens: self.likely_input_tokens + output.min(self.expected_output_tokens()),
            lease: self.routes[0].calls.timeouts.call,
        }
    }

    pub(super) fn expected_output_tokens(&self) -> u64 {
        self.routes[0].calls.expected_output_tokens
    }
}

fn end_of(error: &ModelError, has_keys: bool, was_shown: bool) -> CallEnd {
    if error.is_rate_limited() {
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
    metrics::histogram!("callboard_model_call_seconds", "provider" => provider).record(call.began.elapsed());
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
