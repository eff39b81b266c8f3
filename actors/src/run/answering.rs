//! What to make of the model's answer: pieces that come, its end, its failure, and what it cost.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, FinishReason};
use crate::item::{ItemStatus, Usage};
use crate::llm::{CallFailure, CallInProgress, ModelProgress, ModelReport};
use crate::ports::budgets::Charge;
use crate::ports::{ModelDelta, ModelError};
use crate::run::answer::Finish;
use crate::run::leaving::Leave;
use crate::run::steps::{output_limit, spent_limit, step_limit};
use crate::run::tools::WantedCall;
use crate::run::{Phase, RunActor};
use crate::store_actor::Record;
use crate::time::Timestamp;

impl RunActor {
    fn take_in(&mut self, pieces: Vec<ModelDelta>, ctx: &mut Context<Self>) {
        let mut events = Vec::new();
        for piece in pieces {
            self.note_first_text(&piece);
            let max_bytes = self.services.settings.max_answer_bytes;
            match self.answer.take_in(piece, max_bytes, &mut self.next_index, &mut events) {
                Ok(None) => {}
                Ok(Some(finish)) => return self.finish_answer(finish, events, ctx),
                Err(error) => {
                    let error = RunError::new(RunErrorCode::ModelProtocol, error.to_string());
                    return self.leave_with(Leave::failed(error), events, Vec::new(), ctx);
                }
            }
        }
        if events.is_empty() {
            return;
        }
        self.record(
            Record {
                events,
                ..Record::default()
            },
            ctx,
        );
    }

    /// The run ends or waits because its account has too little left. Counted by tier: there may be any number of accounts.
    fn count_exhausted_budget(&self) {
        if let Some(record) = &self.record {
            metrics::counter!("callboard_budget_exhausted_total", "tier" => record.tier.clone()).increment(1);
        }
    }

    /// The model has said all it had to say in this step.
    fn finish_answer(&mut self, finish: Finish, mut events: Vec<EventBody>, ctx: &mut Context<Self>) {
        let (Some(record), Some(call)) = (&self.record, self.model_call.take()) else {
            return;
        };
        let limits = record.spec.limits;
        let usage = self.pay(&call, &finish.usage, self.answer.text_bytes());
        self.progress.steps += 1;
        let cut_off = matches!(finish.reason, FinishReason::Length | FinishReason::ContentFilter);
        let status = if cut_off {
            ItemStatus::Incomplete
        } else {
            ItemStatus::Completed
        };
        let items = self.answer.end(status, &mut events);
        events.push(EventBody::ModelCompleted {
            step: self.progress.steps,
            provider: call.provider.to_string(),
            model: finish.model,
            cached: call.is_cached,
            cost_usd: call.cost(&usage),
            simulated: call.is_simulated,
            usage,
            finish_reason: finish.reason,
        });
        let calls: Vec<WantedCall> = items.iter().filter_map(WantedCall::of).collect();
        let leave = match finish.reason {
            FinishReason::Length if call.is_capped_by_budget => {
                self.count_exhausted_budget();
                Some(Leave::failed(account_budget_spent()))
            }
            FinishReason::Length => {
                let spent = spent_limit(&limits, &self.progress);
                Some(Leave::failed(spent.unwrap_or_else(output_limit)))
            }
            FinishReason::ContentFilter => {
                let message = "the model's provider withheld the answer";
                Some(Leave::failed(RunError::new(RunErrorCode::ContentFilter, message)))
            }
            FinishReason::Stop | FinishReason::ToolCalls if calls.is_empty() => Some(Leave::completed()),
            // Its results could not be shown to the model any more.
            _ if self.progress.steps >= limits.max_steps => Some(Leave::failed(step_limit())),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        };
        if let Some(leave) = leave {
            return self.leave_with(leave, events, items, ctx);
        }
        self.conversation.extend(items.iter().cloned().map(Arc::new));
        self.phase = Phase::ToolsNext(calls);
        let progress = Some(self.progress);
        self.record(
            Record {
                events,
                items,
                progress,
                notify: true,
                ..Record::default()
            },
            ctx,
        );
    }

    fn retry_model(&mut self, attempt: u32, error: &ModelError, delay_ms: u64, ctx: &mut Context<Self>) {
        let error = RunError::new(error.run_error_code(), error.message.clone());
        let retrying = EventBody::ModelRetrying {
            attempt,
            error,
            delay_ms,
        };
        self.begin_anew(retrying, ctx);
    }

    /// The answer so far is void: another comes.
    fn begin_anew(&mut self, told: EventBody, ctx: &mut Context<Self>) {
        self.charge_broken_call();
        let spent = self
            .record
            .as_ref()
            .and_then(|record| spent_limit(&record.spec.limits, &self.progress));
        if let Some(spent) = spent {
            return self.leave(Leave::failed(spent), ctx);
        }
        let mut events = Vec::new();
        let items = self.answer.end(ItemStatus::Incomplete, &mut events);
        events.push(told);
        self.record(
            Record {
                events,
                items,
                progress: Some(self.progress),
                ..Record::default()
            },
            ctx,
        );
    }

    /// Pays for a whole answer. What a provider does not say is estimated, so that limits and budgets hold all the same.
    pub(super) fn pay(&mut self, call: &CallInProgress, said: &Usage, answer_bytes: usize) -> Usage {
        let charge = call.charge(said, answer_bytes);
        let usage = charge.as_ref().map_or(Usage::default(), |charge| charge.usage);
        self.charge(charge);
        self.progress.usage += usage;
        metrics::counter!("callboard_tokens_total", "direction" => "input").increment(usage.input_tokens);
        metrics::counter!("callboard_tokens_total", "direction" => "output").increment(usage.output_tokens);
        usage
    }

    /// Pays for a call that has begun to answer and will not end well.
    pub(super) fn charge_broken_call(&mut self) {
        let summary = self
            .summarizing
            .as_mut()
            .map(|summarizing| std::mem::take(&mut summarizing.text));
        let summary_bytes = summary.map_or(0, |text| text.len());
        if let Some(call) = self.model_call.take() {
            let charge = call.charge_broken(self.answer.text_bytes() + summary_bytes);
            if let Some(charge) = &charge {
                self.progress.usage += charge.usage;
            }
            self.charge(charge);
        }
    }

    /// Goes with the next commit.
    fn charge(&mut self, charge: Option<Charge>) {
        if let Some(charge) = charge {
            self.progress.cost += charge.cost;
            self.charges.push(charge);
        }
    }

    fn note_first_text(&mut self, piece: &ModelDelta) {
        if self.first_text_seen || !matches!(piece, ModelDelta::Text(_)) {
            return;
        }
        self.first_text_seen = true;
        if let Some(record) = &self.record {
            let waited = Timestamp::now().since(record.created_at);
            metrics::histogram!("callboard_run_first_token_seconds").record(waited);
        }
    }
}

impl Handler<ModelReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: ModelReport, ctx: &mut Self::Context) {
        if report.generation != self.generation {
            return;
        }
        let progress = match self.phase {
            Phase::ModelCalled => Some(report.progress),
            Phase::Summarizing => self.hear_of_summary(report.progress, ctx),
            _ => None,
        };
        let Some(progress) = progress else { return };
        match progress {
            ModelProgress::Deltas { call, pieces } => {
                self.model_call = Some(call);
                self.take_in(pieces, ctx);
            }
            ModelProgress::Waiting(notice) => {
                let waiting = EventBody::ModelWaiting {
                    reason: notice.reason,
                    estimate_ms: millis(notice.estimate),
                };
                let events = vec![waiting];
                self.record(
                    Record {
                        events,
                        ..Record::default()
                    },
                    ctx,
                );
            }
            ModelProgress::Rerouted { provider, error } => {
                let error = RunError::new(error.run_error_code(), error.message);
                let provider = provider.to_string();
                self.begin_anew(EventBody::ModelRerouted { provider, error }, ctx);
            }
            ModelProgress::Retrying { attempt, error, delay } => {
                self.retry_model(attempt, &error, millis(delay), ctx);
            }
            ModelProgress::Failed(CallFailure::Model(error)) => {
                tracing::info!(run_id = %self.ticket.run, %error, "the model call failed for good");
                self.leave(Leave::failed(RunError::new(error.run_error_code(), error.message)), ctx);
            }
            ModelProgress::Failed(CallFailure::Capacity(message)) => {
                self.leave(Leave::failed(RunError::new(RunErrorCode::ModelCapacity, message)), ctx);
            }
            ModelProgress::Failed(CallFailure::Files) => {
                let message = "the storage of files does not answer, and the input has a picture there";
                self.leave(
                    Leave::failed(RunError::new(RunErrorCode::FilesUnavailable, message)),
                    ctx,
                );
            }
            ModelProgress::Failed(CallFailure::Budget { wait: Some(reason), .. }) => {
                self.count_exhausted_budget();
                self.leave(Leave::waiting(reason), ctx);
            }
            ModelProgress::Failed(CallFailure::Budget { kind, wait: None }) => {
                tracing::info!(run_id = %self.ticket.run, ?kind, "the account's budget is used up");
                self.count_exhausted_budget();
                self.leave(Leave::failed(account_budget_spent()), ctx);
            }
            ModelProgress::Panicked => {
                tracing::error!(run_id = %self.ticket.run, "a model adapter panicked");
                self.leave(Leave::failed(RunError::internal()), ctx);
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn account_budget_spent() -> RunError {
    let message = "the account's budget leaves too little for another model call";
    RunError::new(RunErrorCode::BudgetExceeded, message)
}
