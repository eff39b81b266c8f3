//! The loop: what comes next. ([`super::answering`]: what to make of the model's answers, [`super::calling`]: of the tools'.)

use actix::prelude::*;

use crate::error::{RunError, RunErrorCode};
use crate::llm::{CallModel, CallWish};
use crate::ports::ModelRequest;
use crate::ports::store::RunProgress;
use crate::run::leaving::Leave;
use crate::run::ticket::Outcome;
use crate::run::{Phase, RunActor};
use crate::spec::RunLimits;

impl RunActor {
    /// Does what comes next, if everything recorded is durable.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let waits_for_tools = !self.toolset.is_open() && !matches!(self.phase, Phase::Leaving);
        if self.durable < self.recorded || waits_for_tools {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::ModelCalled) {
            Phase::ModelNext => self.call_model(ctx),
            Phase::ToolsNext(calls) => self.call_tools(calls, ctx),
            Phase::WaitNext => self.wait_for_calls(ctx),
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
        if let Some(spent) = spent_limit(&limits, &self.progress) {
            return self.leave(Leave::failed(spent), ctx);
        }
        let total_left = limits.max_total_tokens.map(|limit| limit - self.progress.usage.total());
        let left = left.into_iter().chain(total_left).min();
        // Models that are not configured any more are passed over.
        let names = std::iter::once(&record.spec.model).chain(&record.spec.fallback_models);
        let routes: Vec<_> = names
            .filter_map(|name| self.services.models.get(name).cloned())
            .collect();
        if routes.is_empty() {
            let error = RunError::new(
                RunErrorCode::ModelRejected,
                "the run's model is not configured any more",
            );
            return self.leave(Leave::failed(error), ctx);
        }
        self.generation += 1;
        self.phase = Phase::ModelCalled;
        let request = ModelRequest {
            run_id: self.ticket.run,
            step: self.progress.steps + 1,
            attempt: 1,
            instructions: record.spec.instructions.clone(),
            conversation: self.conversation.as_slice().into(),
            tools: self.toolset.definitions(),
            max_output_tokens: left,
            options: self.options.clone(),
        };
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
        if self.llm.as_ref().is_none_or(|llm| llm.try_send(call).is_err()) {
            tracing::error!(run_id = %self.ticket.run, "the run's model actor is gone");
            self.leave(Leave::failed(RunError::internal()), ctx);
        }
    }
}

pub(super) fn output_limit() -> RunError {
    RunError::new(
        RunErrorCode::OutputLimit,
        "the model reached the limit of output tokens",
    )
}

pub(super) fn step_limit() -> RunError {
    RunError::new(RunErrorCode::StepLimit, "the run reached its limit of model calls")
}

/// The limit of the run itself that is used up, if one is.
pub(super) fn spent_limit(limits: &RunLimits, progress: &RunProgress) -> Option<RunError> {
    let spent = if limits
        .max_total_tokens
        .is_some_and(|limit| progress.usage.total() >= limit)
    {
        "the run has used the tokens that limits.max_total_tokens allows"
    } else if limits.max_cost_usd.is_some_and(|limit| progress.cost >= limit) {
        "the run has cost what limits.max_cost_usd allows"
    } else {
        return None;
    };
    Some(RunError::new(RunErrorCode::BudgetExceeded, spent))
}
