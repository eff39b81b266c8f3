//! Answers that are shared: a call of temperature 0 that was answered a moment ago for the same account, or is being answered at this
//! moment, is not made again. Only on routes that say so (`cache_for`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::attempt::end_of_answer;
use super::call::ModelCall;
use super::progress::{CallFailure, CallInProgress, ModelProgress};
use crate::event::FinishReason;
use crate::item::ItemContent;
use crate::ports::answer_cache::{CachedAnswer, CallFingerprint};
use crate::ports::{AnswerCache, ModelDelta};

/// Where answers are kept, and which calls are under way.
#[derive(Clone)]
pub struct AnswerSharing {
    /// Where answers are kept.
    pub answers: Arc<dyn AnswerCache>,
    /// Calls under way.
    pub flights: Flights,
}

/// Calls under way whose answer others wait for.
#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<CallFingerprint, Landing>>>);

/// How a call under way has ended.
type Landing = watch::Receiver<Option<Landed>>;

#[derive(Debug, Clone)]
enum Landed {
    /// Its answer is there to be taken.
    Kept,
    /// There is an answer, but none that others could have.
    NotKept,
    /// There is none, and the same call would not get one.
    Failed(CallFailure),
}

enum Boarding {
    /// Nobody makes this call: make it.
    Pilot(Flight),
    /// Somebody does: this changes when it is over, and is closed if it was given up before.
    Passenger(Landing),
}

/// A call that others may wait for. Dropping it gives it up: one of them makes it then.
struct Flight {
    flights: Flights,
    fingerprint: CallFingerprint,
    landed: watch::Sender<Option<Landed>>,
}

impl Flight {
    fn land(self, how: Landed) {
        // Nobody else may be waiting.
        let _ = self.landed.send(Some(how));
    }
}

impl Flights {
    fn board(&self, fingerprint: CallFingerprint) -> Boarding {
        match self.lock().entry(fingerprint) {
            Entry::Occupied(flight) => Boarding::Passenger(flight.get().clone()),
            Entry::Vacant(place) => {
                let (landed, landing) = watch::channel(None);
                place.insert(landing);
                Boarding::Pilot(Flight {
                    flights: self.clone(),
                    fingerprint,
                    landed,
                })
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CallFingerprint, Landing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.fingerprint);
    }
}

/// Everything that makes a call what it is. Not the names and times of its items: they are new each time.
#[derive(Serialize)]
struct Fingerprinted<'a> {
    account: &'a str,
    models: Vec<&'a str>,
    instructions: &'a Option<String>,
    conversation: Vec<&'a ItemContent>,
    tools: Vec<(&'a str, &'a str, &'a Value)>,
    max_output_tokens: Option<u64>,
    options: &'a Map<String, Value>,
}

/// What this call has in common with those that are answered the same; `None` if answers are not shared.
pub(super) fn fingerprint(call: &ModelCall) -> Option<CallFingerprint> {
    call.services.shared_answers.as_ref()?;
    call.wish.routes[0].calls.cache_for?;
    let request = &call.wish.request;
    let is_exact = request.options.get("temperature").and_then(Value::as_f64) == Some(0.0);
    if !is_exact {
        return None;
    }
    let fingerprinted = Fingerprinted {
        account: call.wish.account.as_str(),
        models: call.wish.routes.iter().map(|route| &*route.name).collect(),
        instructions: &request.instructions,
        conversation: request.conversation.iter().map(|item| &item.content).collect(),
        tools: request
            .tools
            .iter()
            .map(|tool| (tool.name.as_str(), tool.description.as_str(), &tool.parameters))
            .collect(),
        max_output_tokens: request.max_output_tokens,
        options: &request.options,
    };
    let bytes = serde_json::to_vec(&fingerprinted).ok()?;
    Some(CallFingerprint(Sha256::digest(&bytes).into()))
}

/// Takes the answer that is there or comes, or makes the call and keeps its answer.
pub(super) async fn fly(call: &mut ModelCall, fingerprint: CallFingerprint) -> Result<(), CallFailure> {
    let (Some(sharing), Some(keep_for)) = (
        call.services.shared_answers.clone(),
        call.wish.routes[0].calls.cache_for,
    ) else {
        return call.ask_alone().await;
    };
    let flight = loop {
        if let Some(answer) = sharing.answers.get(&fingerprint) {
            return tell(call, &answer).await;
        }
        match sharing.flights.board(fingerprint) {
            Boarding::Pilot(flight) => break flight,
            Boarding::Passenger(mut landing) => {
                let landed = landing.wait_for(Option::is_some).await.map(|how| how.clone());
                match landed {
                    // It is not too old, but others may have taken its place.
                    Ok(Some(Landed::Kept)) if sharing.answers.get(&fingerprint).is_some() => {}
                    Ok(Some(Landed::Failed(failure))) => return Err(failure),
                    Ok(_) => return call.ask_alone().await,
                    Err(_given_up) => {}
                }
            }
        }
    };
    call.kept = Some(Vec::new());
    let answered = match call.ask().await {
        Ok(answered) => answered,
        Err(failure) => {
            flight.land(Landed::Failed(failure.clone()));
            return Err(failure);
        }
    };
    let pieces = call.kept.take().unwrap_or_default();
    // What was cut off is no answer to give again: the next one may go on for longer.
    let is_complete = matches!(
        end_of_answer(&pieces),
        Some((FinishReason::Stop | FinishReason::ToolCalls, _))
    );
    if is_complete {
        let answer = CachedAnswer {
            provider: answered.target.provider.name.clone(),
            is_simulated: answered.target.is_simulated(),
            bytes: pieces.iter().map(bytes_of).sum(),
            pieces,
        };
        sharing.answers.put(fingerprint, Arc::new(answer), keep_for);
    }
    flight.land(if is_complete { Landed::Kept } else { Landed::NotKept });
    call.finish(answered).await;
    Ok(())
}

async fn tell(call: &ModelCall, answer: &CachedAnswer) -> Result<(), CallFailure> {
    let told = CallInProgress::cached(&call.wish.routes[0].name, &answer.provider, answer.is_simulated);
    metrics::counter!("callboard_model_answers_shared_total").increment(1);
    call.listener
        .hear(ModelProgress::Deltas {
            call: Arc::new(told),
            pieces: answer.pieces.clone(),
        })
        .await;
    Ok(())
}

/// About how much memory a piece takes.
fn bytes_of(piece: &ModelDelta) -> usize {
    let text = match piece {
        ModelDelta::Working => 0,
        ModelDelta::Text(text) | ModelDelta::Reasoning(text) => text.len(),
        ModelDelta::ReasoningSealed(seal) => seal.data.to_string().len(),
        ModelDelta::ToolCallStarted { call_id, name, .. } => call_id.len() + name.len(),
        ModelDelta::ToolCallArguments { delta, .. } => delta.len(),
        ModelDelta::Finished { model, .. } => model.len(),
    };
    text + size_of::<ModelDelta>()
}
