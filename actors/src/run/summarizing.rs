//! The summary of a thread's oldest turns, made before the run's next step: a model call like any other, but that nothing of it is shown
//! before it is whole, and that the run can do without it.

use std::sync::Arc;

use actix::prelude::*;

use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, FinishReason, ItemSeed};
use crate::item::{Item, Role};
use crate::llm::{CallFailure, CallInProgress, CallModel, CallWish, ModelProgress};
use crate::ports::{ModelDelta, ModelRequest};
use crate::run::answer::Finish;
use crate::run::leaving::Leave;
use crate::run::thread_history::{SummaryWork, transcript};
use crate::run::{Phase, RunActor};
use crate::spec::LEAST_SUMMARIZED_TOKENS;
use crate::store_actor::Record;

/// Fewer tokens are no summary.
const LEAST_OUTPUT_TOKENS: u64 = LEAST_SUMMARIZED_TOKENS / 8;

/// A summary that is to be made or is being made.
#[derive(Debug)]
pub(super) struct Summarizing {
    work: Box<SummaryWork>,
    /// What the model has said so far.
    pub(super) text: String,
}

impl Summarizing {
    pub(super) const fn new(work: Box<SummaryWork>) -> Self {
        let text = String::new();
        Self { work, text }
    }
}

impl RunActor {
    /// Has the summary made, by a call that may write no more than half of the tokens that the run has left, if it has a limit.
    pub(super) fn call_for_summary(&mut self, tokens_left: Option<u64>, ctx: &mut Context<Self>) {
        let (Some(record), Some(summarizing)) = (&self.record, &self.summarizing) else {
            return;
        };
        let most = summarizing.work.max_output_tokens;
        let most = tokens_left.map_or(most, |left| most.min(left / 2));
        if most < LEAST_OUTPUT_TOKENS {
            let message = "the run's limits leave too few tokens for a summary of the thread";
            return self.go_on_without_summary(RunError::new(RunErrorCode::OutputLimit, message), ctx);
        }
        let names = record.spec.summary_models();
        let routes: Vec<_> = names
            .filter_map(|name| self.services.models.get(name).cloned())
            .collect();
        if routes.is_empty() {
            let message = "the model that writes summaries is not configured any more";
            return self.go_on_without_summary(RunError::new(RunErrorCode::ModelRejected, message), ctx);
        }
        let asked = Item::message(Role::User, transcript::request(&summarizing.work.lines));
        let request = ModelRequest {
            run_id: self.ticket.run,
            step: 0,
            attempt: 1,
            instructions: Some(transcript::instructions(summarizing.work.words(most))),
            conversation: [Arc::new(asked)].into(),
            tools: Arc::default(),
            max_output_tokens: Some(most),
            // The run's are for its own answers: a form that they must have, what a simulated model is to say.
            options: Arc::default(),
        };
        self.generation += 1;
        let call = CallModel {
            generation: self.generation,
            wish: CallWish {
                routes,
                request,
                account: record.account.clone(),
                tier: record.tier.clone(),
                epoch: record.epoch,
            },
        };
        self.phase = Phase::Summarizing;
        if self.llm.as_ref().is_none_or(|llm| llm.try_send(call).is_err()) {
            tracing::error!(run_id = %self.ticket.run, "the run's model actor is gone");
            self.leave(Leave::failed(RunError::internal()), ctx);
        }
    }

    /// Hears of the call for the summary; what is left is as for any call.
    pub(super) fn hear_of_summary(
        &mut self,
        progress: ModelProgress,
        ctx: &mut Context<Self>,
    ) -> Option<ModelProgress> {
        let error = match progress {
            ModelProgress::Deltas { call, pieces } => {
                self.take_in_summary(call, pieces, ctx);
                return None;
            }
            ModelProgress::Failed(CallFailure::Model(error)) => RunError::new(error.run_error_code(), error.message),
            ModelProgress::Failed(CallFailure::Capacity(message)) => {
                RunError::new(RunErrorCode::ModelCapacity, message)
            }
            ModelProgress::Panicked => {
                tracing::error!(run_id = %self.ticket.run, "a model adapter panicked");
                RunError::internal()
            }
            other => return Some(other),
        };
        self.go_on_without_summary(error, ctx);
        None
    }

    fn take_in_summary(&mut self, call: Arc<CallInProgress>, pieces: Vec<ModelDelta>, ctx: &mut Context<Self>) {
        self.model_call = Some(call);
        let max_bytes = self.services.settings.max_answer_bytes;
        for piece in pieces {
            let Some(summarizing) = &mut self.summarizing else {
                return;
            };
            match piece {
                ModelDelta::Text(delta) if summarizing.text.len() + delta.len() > max_bytes => {
                    let message = "the model's summary is longer than this server takes";
                    return self.go_on_without_summary(RunError::new(RunErrorCode::ModelProtocol, message), ctx);
                }
                ModelDelta::Text(delta) => summarizing.text.push_str(&delta),
                ModelDelta::Finished { reason, usage, model } => {
                    return self.finish_summary(Finish { reason, usage, model }, ctx);
                }
                // It has no tools, and what it thinks is no part of the summary.
                ModelDelta::Working
                | ModelDelta::Reasoning(_)
                | ModelDelta::ReasoningSealed(_)
                | ModelDelta::ToolCallStarted { .. }
                | ModelDelta::ToolCallArguments { .. } => {}
            }
        }
    }

    /// Writes the summary down, with what it cost; the next step begins when it is durable.
    fn finish_summary(&mut self, finish: Finish, ctx: &mut Context<Self>) {
        let (Some(summarizing), Some(call)) = (self.summarizing.take(), self.model_call.take()) else {
            return;
        };
        let Summarizing { work, text } = summarizing;
        let usage = self.pay(&call, &finish.usage, text.len());
        let completed = EventBody::ModelCompleted {
            step: 0,
            provider: call.provider.to_string(),
            model: finish.model,
            cached: call.is_cached,
            cost_usd: call.cost(&usage),
            simulated: call.is_simulated,
            usage,
            finish_reason: finish.reason,
        };
        // One that was cut off says more than none.
        let text = text.trim();
        let problem = if finish.reason == FinishReason::ContentFilter {
            Some((RunErrorCode::ContentFilter, "the model's provider withheld the summary"))
        } else if text.is_empty() {
            Some((RunErrorCode::ModelProtocol, "the model wrote no summary"))
        } else {
            None
        };
        if let Some((code, message)) = problem {
            return self.drop_instead(work, vec![completed], RunError::new(code, message), ctx);
        }
        let (item, told) = work.done(text);
        let index = self.next_index;
        self.next_index += 1;
        self.conversation.insert(0, Arc::new(item.clone()));
        let mut events = vec![
            EventBody::ItemAdded {
                item_id: item.id,
                index,
                item: ItemSeed::Summary,
            },
            EventBody::ItemCompleted {
                index,
                item: item.clone(),
            },
            completed,
            told,
        ];
        events.extend(work.trimmed);
        self.go_on_after_summary(events, vec![item], ctx);
    }

    /// There will be no summary: what a call for one has used is paid, and the oldest turns are left out.
    fn go_on_without_summary(&mut self, error: RunError, ctx: &mut Context<Self>) {
        tracing::info!(run_id = %self.ticket.run, code = error.code.as_str(), "a thread could not be summed up");
        self.abort_step();
        self.charge_broken_call();
        if let Some(Summarizing { work, .. }) = self.summarizing.take() {
            self.drop_instead(work, Vec::new(), error, ctx);
        }
    }

    fn drop_instead(
        &mut self,
        work: Box<SummaryWork>,
        mut events: Vec<EventBody>,
        error: RunError,
        ctx: &mut Context<Self>,
    ) {
        let SummaryWork {
            kept_items, otherwise, ..
        } = *work;
        self.conversation.splice(..kept_items, otherwise.items);
        events.push(EventBody::HistorySummaryFailed { error });
        events.extend(otherwise.summarized);
        events.extend(otherwise.trimmed);
        self.go_on_after_summary(events, Vec::new(), ctx);
    }

    fn go_on_after_summary(&mut self, events: Vec<EventBody>, items: Vec<Item>, ctx: &mut Context<Self>) {
        self.phase = Phase::ModelNext;
        self.record(
            Record {
                events,
                items,
                progress: Some(self.progress),
                notify: true,
                ..Record::default()
            },
            ctx,
        );
    }
}
