//! One model call of a run, from the wish to the whole answer: the loop over targets and tries. The table in [`super`] says what is done when.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::budget::BudgetHold;
use super::circuit::CircuitState;
use super::ending::{Suspects, end_of, end_of_answered, note_call, note_failure};
use super::estimate::likely_input_tokens;
use super::flight;
use super::grant::GrantHold;
use super::pictures::StorageTries;
use super::progress::{CallFailure, CallInProgress, CallListener, CallWish, ModelProgress};
use super::room::Room;
use super::route::Target;
use crate::item::Item;
use crate::ports::{ModelDelta, ModelError, ModelErrorKind};
use crate::retry::Attempts;
use crate::services::RunServices;

/// How much of the time that a call may wait for room is used up by a key that turns out to have none.
const COST_OF_A_LIMIT: Duration = Duration::from_secs(1);

/// For how long a call that can wait elsewhere leaves a target in trouble alone, at first and at most.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);

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
    /// How long it may still wait for room.
    pub(super) patience: Duration,
    pub(super) likely_input_tokens: u64,
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

impl ModelCall {
    fn new(services: Arc<RunServices>, wish: CallWish, listener: Arc<dyn CallListener>) -> Self {
        Self {
            services,
            listener,
            likely_input_tokens: likely_input_tokens(&wish.request),
            patience: wish.routes[0].calls.longest_wait,
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
        let targets = self.targets();
        let mut attempts = Attempts::new(self.wish.routes[0].calls.retry);
        self.wish.request.attempt = 0;
        attempts.begin();
        loop {
            let (error, key_cools) = match self.ask_each(&targets).await {
                Ok(answered) => return Ok(answered),
                Err(Unanswered::ByTarget { error, key_cools }) => (error, key_cools),
                Err(Unanswered::ForGood(failure)) => return Err(failure),
            };
            let delay = if key_cools && !self.patience.is_zero() {
                // A key that meets its limit is not the call's fault: it costs no try but time, of which a call has so much.
                self.patience = self.patience.saturating_sub(COST_OF_A_LIMIT);
                Duration::ZERO
            } else {
                let mut judged = error.clone();
                if key_cools {
                    // For the key that is. There may be others, and the line knows when it is well again.
                    judged.retry_after = None;
                }
                let Some(delay) = attempts.next_delay(&judged) else {
                    return Err(CallFailure::Model(error));
                };
                attempts.begin();
                delay
            };
            tracing::debug!(run_id = %self.wish.request.run_id, attempt = self.wish.request.attempt, %error, ?delay, "model call will be made again");
            self.begin_anew(error, delay).await;
            tokio::time::sleep(delay).await;
        }
    }

    /// Tells the run that what was said so far is void.
    async fn begin_anew(&self, error: ModelError, delay: Duration) {
        let attempt = self.wish.request.attempt + 1;
        let retrying = ModelProgress::Retrying { attempt, error, delay };
        self.listener.hear(retrying).await;
    }

    /// Asks one target after the other until one answers, or the error is not the target's.
    async fn ask_each(&mut self, targets: &[Arc<Target>]) -> Result<Answered, Unanswered> {
        let mut round = Round::new(targets);
        let retry = self.wish.routes[0].calls.retry;
        let mut storage = StorageTries::new(retry);
        let mut hold = None;
        loop {
            if hold.is_none() {
                hold = BudgetHold::take(self, targets).await?;
            }
            let room = self.find_room(targets, &round, hold.as_ref()).await?;
            let (index, target) = (room.index, &targets[room.index]);
            // Now and not before: a call that waits for room has none of its pictures in memory.
            let Some((conversation, time)) = self.conversation_with_pictures().await? else {
                // Others can use the room and the hold while this one can not.
                drop((room, hold.take()));
                storage.wait().await?;
                continue;
            };
            storage = StorageTries::new(retry);
            let failed = match self.ask_one(target, room, conversation, time, &mut hold).await {
                Ok(answered) => {
                    round.suspects.answered_at(&target.provider.name);
                    return Ok(answered);
                }
                Err(failed) => failed,
            };
            if let Some(failure) = failed.out_of_budget {
                return Err(Unanswered::ForGood(failure));
            }
            let error = failed.error;
            let is_about_key = target.has_keys && (error.is_key_refused() || error.is_forbidden());
            if is_about_key {
                let is_request = match failed.forbidden {
                    Some(grant) => !round.suspects.take_in(&target.provider.name, grant),
                    // The key was good for a beginning.
                    None => error.is_forbidden(),
                };
                round.keys_left -= 1;
                if !is_request && round.keys_left > 0 {
                    if failed.was_shown {
                        self.begin_anew(error, Duration::ZERO).await;
                    }
                    continue;
                }
            }
            if !error.is_upstream_trouble() && !error.is_too_large() {
                let key_cools = error.is_rate_limited() && target.has_limits();
                return Err(Unanswered::ByTarget { error, key_cools });
            }
            round.trouble[index] = Some(if error.is_too_large() {
                Trouble::ForGood
            } else {
                Trouble::rest_after(round.trouble[index])
            });
            let may_answer = |index: &usize| {
                let circuit = targets[*index].provider.circuit.state();
                round.trouble[*index].is_none() && !matches!(circuit, CircuitState::Open(_))
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
        Room { key, mut grant, .. }: Room,
        conversation: Arc<[Arc<Item>]>,
        time: Duration,
        hold: &mut Option<BudgetHold>,
    ) -> Result<Answered, FailedTry> {
        self.wish.request.attempt += 1;
        let mut request = self.wish.request.clone();
        request.conversation = conversation;
        let mut timeouts = self.wish.routes[0].calls.timeouts;
        timeouts.call = time;
        let size = self.size(hold.as_ref());
        if let Some(hold) = hold {
            request.max_output_tokens = Some(hold.output_tokens());
            timeouts.call = timeouts.call.min(hold.time());
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
        let attempt = Attempt::new(
            &target.models[key],
            timeouts,
            call.clone(),
            &*self.listener,
            self.kept.as_mut(),
        );
        let end = attempt
            .make(request, &mut grant, || target.provider.circuit.answered())
            .await;
        note_call(target, &call, &end);
        let out_of_budget = match (&end, &hold) {
            (Err(error), Some(hold)) if error.kind == ModelErrorKind::Timeout => hold.out_of_time(call.elapsed()),
            _ => None,
        };
        let was_shown = call.is_shown();
        if was_shown {
            // The run pays for it with its next commit; another try needs a hold of its own.
            *hold = None;
        }
        let error = match end {
            Ok(last_pieces) => {
                target.provider.circuit.succeeded();
                grant.settle(end_of_answered(&last_pieces));
                return Ok(Answered {
                    target: target.clone(),
                    call,
                    last_pieces,
                });
            }
            Err(error) => size.blame(error),
        };
        if out_of_budget.is_none() {
            note_failure(target, &error);
        }
        let mut forbidden = None;
        if error.is_forbidden() && target.has_keys && !was_shown {
            forbidden = Some(grant);
        } else if let Some(settling) = grant.settle(end_of(&error, target, was_shown)) {
            // Else the next question would get the same key again. If it panicked it has said so.
            let _ = settling.await;
        }
        Err(FailedTry {
            error,
            was_shown,
            forbidden,
            out_of_budget,
        })
    }

    pub(super) fn expected_output_tokens(&self) -> u64 {
        self.wish.routes[0].calls.expected_output_tokens
    }

    /// All targets of all routes, in the order in which to ask them.
    fn targets(&self) -> Vec<Arc<Target>> {
        let ordered = self.wish.routes.iter().map(|route| route.order(rand::random::<f64>));
        ordered.flatten().collect()
    }
}

/// A try that brought no answer.
struct FailedTry {
    error: ModelError,
    /// The run has heard of it: what it said is void now.
    was_shown: bool,
    /// The key was used for something that it, or nobody, may do.
    forbidden: Option<GrantHold>,
    /// It was cut off because the account's budget buys no more time.
    out_of_budget: Option<CallFailure>,
}

/// Why a target that was asked is not asked again in its turn.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    /// It does not take a call as large as this one.
    ForGood,
    /// Its provider is in trouble. A call that waits for another target meanwhile comes back to it later: it may be well before the other has
    /// room.
    Until {
        /// Then.
        back_at: Instant,
        /// How long that was.
        rest: Duration,
    },
}

impl Trouble {
    fn rest_after(earlier: Option<Self>) -> Self {
        let rest = match earlier {
            Some(Self::Until { rest, .. }) => rest.saturating_mul(2).min(LONGEST_REST),
            _ => FIRST_REST,
        };
        let back_at = Instant::now() + rest;
        Self::Until { back_at, rest }
    }
}

/// The tries between two waits: each target is asked once, or more often while the others have no room.
pub(super) struct Round {
    /// Of each target, why it gave no answer, if it was asked.
    pub(super) trouble: Vec<Option<Trouble>>,
    /// Keys that may be tried.
    keys_left: usize,
    pub(super) suspects: Suspects,
}

impl Round {
    fn new(targets: &[Arc<Target>]) -> Self {
        Self {
            trouble: vec![None; targets.len()],
            keys_left: targets.iter().map(|target| target.keys.len()).sum(),
            suspects: Suspects::default(),
        }
    }
}
