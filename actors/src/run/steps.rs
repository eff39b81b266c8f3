//! The loop: what comes next, and what to make of the model's and the tools' answers.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, FinishReason, ItemSeed};
use crate::item::{Item, ItemContent, ItemStatus};
use crate::llm_actor::{CallModel, ModelProgress, ModelReport};
use crate::money::Money;
use crate::ports::{ModelDelta, ModelError, ModelRequest};
use crate::run::answer::Finish;
use crate::run::leaving::Leave;
use crate::run::ticket::Outcome;
use crate::run::tools::{ToolOutcome, ToolReport, WantedCall, make_call};
use crate::run::{Phase, RunActor};
use crate::store_actor::Record;
use crate::time::Timestamp;

impl RunActor {
    /// Does what comes next, if everything recorded is durable.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        if self.durable < self.recorded {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::ModelCalled) {
            Phase::ModelNext => self.call_model(ctx),
            Phase::ToolsNext(calls) => self.call_tools(calls, ctx),
            Phase::Leaving => {
                self.phase = Phase::Leaving;
                self.stop(Outcome::Left, ctx);
            }
            waiting => self.phase = waiting,
        }
    }

    pub(super) fn call_model(&mut self, ctx: &mut Context<Self>) {
        let Some(record) = &self.record else { return };
        let limits = record.spec.limits;
        let written = self.progress.usage.output_tokens;
        let left = limits.max_output_tokens.map(|limit| limit.saturating_sub(written));
        if left == Some(0) {
            return self.leave(Leave::failed(output_limit()), ctx);
        }
        if self.progress.steps >= limits.max_steps {
            return self.leave(Leave::failed(step_limit()), ctx);
        }
        let Some(route) = self.services.models.get(&record.spec.model).cloned() else {
            let error = RunError::new(
                RunErrorCode::ModelRejected,
                "the run's model is not configured any more",
            );
            return self.leave(Leave::failed(error), ctx);
        };
        self.generation += 1;
        self.phase = Phase::ModelCalled;
        let request = ModelRequest {
            run_id: self.ticket.run,
            step: self.progress.steps + 1,
            attempt: 1,
            instructions: record.spec.instructions.clone(),
            conversation: self.conversation.as_slice().into(),
            tools: self.tool_definitions.clone(),
            max_output_tokens: left,
            options: self.options.clone(),
        };
        let call = CallModel {
            generation: self.generation,
            route,
            request,
        };
        if self.llm.as_ref().is_none_or(|llm| llm.try_send(call).is_err()) {
            tracing::error!(run_id = %self.ticket.run, "the run's model actor is gone");
            self.leave(Leave::failed(RunError::internal()), ctx);
        }
    }

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
        self.record(
            Record {
                events,
                ..Record::default()
            },
            ctx,
        );
    }

    /// The model has said all it had to say in this step.
    fn finish_answer(&mut self, finish: Finish, mut events: Vec<EventBody>, ctx: &mut Context<Self>) {
        let Some(record) = &self.record else { return };
        self.progress.steps += 1;
        self.progress.usage += finish.usage;
        metrics::counter!("callboard_tokens_total", "direction" => "input").increment(finish.usage.input_tokens);
        metrics::counter!("callboard_tokens_total", "direction" => "output").increment(finish.usage.output_tokens);
        let cut_off = matches!(finish.reason, FinishReason::Length | FinishReason::ContentFilter);
        let status = if cut_off {
            ItemStatus::Incomplete
        } else {
            ItemStatus::Completed
        };
        let items = self.answer.end(status, &mut events);
        let route = self.services.models.get(&record.spec.model);
        events.push(EventBody::ModelCompleted {
            step: self.progress.steps,
            provider: String::new(),
            model: finish.model,
            cached: false,
            cost_usd: Money::ZERO,
            simulated: route.is_some_and(|route| route.model.is_simulated()),
            usage: finish.usage,
            finish_reason: finish.reason,
        });
        let calls: Vec<WantedCall> = items.iter().filter_map(WantedCall::of).collect();
        let leave = match finish.reason {
            FinishReason::Length => Some(Leave::failed(output_limit())),
            FinishReason::ContentFilter => {
                let message = "the model's provider withheld the answer";
                Some(Leave::failed(RunError::new(RunErrorCode::ContentFilter, message)))
            }
            FinishReason::Stop | FinishReason::ToolCalls if calls.is_empty() => Some(Leave::completed()),
            // Its results could not be shown to the model any more.
            _ if self.progress.steps >= record.spec.limits.max_steps => Some(Leave::failed(step_limit())),
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
        let mut events = Vec::new();
        let items = self.answer.end(ItemStatus::Incomplete, &mut events);
        let error = RunError::new(error.run_error_code(), error.message.clone());
        events.push(EventBody::ModelRetrying {
            attempt,
            error,
            delay_ms,
        });
        self.record(
            Record {
                events,
                items,
                ..Record::default()
            },
            ctx,
        );
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

    fn call_tools(&mut self, calls: Vec<WantedCall>, ctx: &mut Context<Self>) {
        let Some(record) = &self.record else { return };
        self.generation += 1;
        self.phase = Phase::ToolsCalled(calls.len());
        self.tool_calls = JoinSet::new();
        let settings = self.services.settings;
        let turn = Arc::new(Semaphore::new(settings.max_parallel_tools));
        let mut refused = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            if index >= settings.max_tool_calls_per_answer {
                refused.push(call);
                continue;
            }
            let offered = record.spec.tools.contains(&call.name);
            let tool = if offered {
                self.services.tools.get(&call.name).cloned()
            } else {
                None
            };
            let (run, turn, owner) = (self.ticket.run, turn.clone(), ctx.address());
            let making = make_call(run, self.generation, call, tool, turn, settings, owner);
            self.tool_calls.spawn_on(making, &self.services.io);
        }
        for call in refused {
            let limit = settings.max_tool_calls_per_answer;
            let output = format!("too many tool calls in one answer: at most {limit} are made");
            let outcome = ToolOutcome::Answered {
                output,
                is_error: true,
                truncated: false,
            };
            self.take_result(call, outcome, ctx);
        }
    }

    fn take_result(&mut self, call: WantedCall, outcome: ToolOutcome, ctx: &mut Context<Self>) {
        let Phase::ToolsCalled(left) = &mut self.phase else {
            return;
        };
        let ToolOutcome::Answered {
            output,
            is_error,
            truncated,
        } = outcome
        else {
            return self.leave(Leave::failed(RunError::internal()), ctx);
        };
        *left -= 1;
        if *left == 0 {
            self.phase = Phase::ModelNext;
        }
        let content = ItemContent::ToolResult {
            call_id: call.call_id.clone(),
            output,
            is_error,
            truncated,
        };
        let item = Item::new(ItemStatus::Completed, content);
        let seed = ItemSeed::ToolResult { call_id: call.call_id };
        let index = self.next_index;
        self.next_index += 1;
        let events = vec![
            EventBody::ItemAdded {
                item_id: item.id,
                index,
                item: seed,
            },
            EventBody::ItemCompleted {
                index,
                item: item.clone(),
            },
        ];
        self.conversation.push(Arc::new(item.clone()));
        self.record(
            Record {
                events,
                items: vec![item],
                notify: true,
                ..Record::default()
            },
            ctx,
        );
    }
}

impl Handler<ModelReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: ModelReport, ctx: &mut Self::Context) {
        if report.generation != self.generation || !matches!(self.phase, Phase::ModelCalled) {
            return;
        }
        match report.progress {
            ModelProgress::Deltas(pieces) => self.take_in(pieces, ctx),
            ModelProgress::Retrying { attempt, error, delay } => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.retry_model(attempt, &error, delay_ms, ctx);
            }
            ModelProgress::Failed(error) => {
                tracing::info!(run_id = %self.ticket.run, %error, "the model call failed for good");
                self.leave(Leave::failed(RunError::new(error.run_error_code(), error.message)), ctx);
            }
            ModelProgress::Panicked => {
                tracing::error!(run_id = %self.ticket.run, "a model adapter panicked");
                self.leave(Leave::failed(RunError::internal()), ctx);
            }
        }
    }
}

impl Handler<ToolReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: ToolReport, ctx: &mut Self::Context) {
        if report.generation == self.generation {
            self.take_result(report.call, report.outcome, ctx);
        }
    }
}

fn output_limit() -> RunError {
    RunError::new(
        RunErrorCode::OutputLimit,
        "the model reached the limit of output tokens",
    )
}

fn step_limit() -> RunError {
    RunError::new(RunErrorCode::StepLimit, "the run reached its limit of model calls")
}
