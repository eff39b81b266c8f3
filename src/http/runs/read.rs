//! `GET /api/v1/runs/{id}`, with `?wait=` until the run has ended or waits for somebody.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::event::WaitingReason;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::run_state::RunState;
use futures::StreamExt;

use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::events::{log_trouble, streams_closed};
use crate::http::extract::query::QueryParameters;
use crate::http::extract::run_path::{owned_run, stored_run};
use crate::http::state::HttpState;

/// Shows a run; with `wait`, as soon as it has ended, waits for somebody, or so many seconds are over.
pub(super) async fn get_run(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["wait"])?;
    let longest = state.options.max_long_poll.as_secs();
    let wait = parameters.count("wait", 0, longest)?.unwrap_or(0);
    let mut run = owned_run(&request, &state, &caller).await?;
    if wait > 0 && !has_stopped(&run) {
        run = wait_for_stop(&state, run, Duration::from_secs(wait)).await?;
    }
    let view = RunView::whole_with_position(&state, run).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}

/// Whether the run gets no further by itself: it has ended, or somebody has to answer or decide. A budget fills up, or is filled, without
/// whoever asks here; and of calls that cannot be read, nobody here can say anything.
fn has_stopped(run: &RunRecord) -> bool {
    match run.state {
        RunState::Waiting => run.waiting != Some(WaitingReason::Budget) && run.calls.waiting().next().is_some(),
        state => state.is_terminal(),
    }
}

/// Whether the run may have stopped with these events.
fn tell_of_a_stop(events: &EncodedEvents) -> bool {
    events.is_terminal() || events.frames().any(|frame| frame.kind == "run.waiting")
}

/// The run when it has stopped, when `longest` is over, or when the server closes its streams.
async fn wait_for_stop(state: &HttpState, run: RunRecord, longest: Duration) -> Result<RunRecord, ApiError> {
    let id = run.id;
    let mut events = state.parts.event_log.follow(id, run.next_seq.checked_sub(1));
    let stopping = async {
        while let Some(next) = events.next().await {
            match next {
                Ok(batch) if tell_of_a_stop(&batch) => {
                    // It may have been answered already and go on, or wait for its budget.
                    let now = stored_run(state, id).await?;
                    if now.as_ref().is_none_or(has_stopped) {
                        return Ok(now);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    log_trouble(id, &error, "a long poll lost the event log");
                    break;
                }
            }
        }
        Ok::<_, ApiError>(None)
    };
    let stopped = tokio::select! {
        stopped = stopping => stopped?,
        () = tokio::time::sleep(longest) => None,
        () = streams_closed(state.parts.close_streams.clone()) => None,
    };
    if let Some(stopped) = stopped {
        return Ok(stopped);
    }
    Ok(stored_run(state, id).await?.unwrap_or(run))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use callboard_actors::call_ledger::{CallLedger, CallStage, LedgerCall};
    use callboard_actors::ids::{ItemId, RunId};
    use callboard_actors::ports::store::RunProgress;
    use callboard_actors::spec::{HistorySettings, RunLimits, RunSpec};
    use callboard_actors::time::Timestamp;
    use callboard_actors::tool_use::OnDeadline;
    use serde_json::Map;

    use super::*;

    fn waiting(reason: WaitingReason, stages: &[CallStage]) -> RunRecord {
        let calls = stages.iter().map(|stage| LedgerCall {
            item_id: ItemId::new(),
            call_id: "a".into(),
            name: "tool".into(),
            arguments: "{}".into(),
            is_changed: false,
            stage: *stage,
            by_client: false,
            deadline: None,
            on_deadline: OnDeadline::TellModel,
            answer_seconds: None,
        });
        RunRecord {
            id: RunId::new(),
            account: "acme".parse().expect("a name"),
            tier: "pro".into(),
            state: RunState::Waiting,
            epoch: 1,
            spec: Arc::new(RunSpec {
                agent: None,
                model: "simulated".into(),
                fallback_models: Vec::new(),
                instructions: None,
                tools: Vec::new(),
                model_options: Map::new(),
                metadata: BTreeMap::new(),
                history: HistorySettings::default(),
                limits: RunLimits {
                    max_steps: 8,
                    max_output_tokens: None,
                    max_total_tokens: None,
                    max_cost_usd: None,
                    deadline_seconds: 600,
                },
            }),
            thread: None,
            error: None,
            waiting: Some(reason),
            calls: CallLedger {
                calls: calls.collect(),
                ..CallLedger::default()
            },
            progress: RunProgress::default(),
            next_seq: 3,
            reserved_seq: 0,
            created_at: Timestamp::now(),
            started_at: Some(Timestamp::now()),
            ended_at: None,
            queue_deadline: None,
            events_forgotten: false,
        }
    }

    /// The store leaves out calls that it cannot read.
    #[test]
    fn a_waiting_run_has_stopped_if_somebody_can_do_something_about_it() {
        for (reason, stage) in [
            (WaitingReason::ToolOutputs, CallStage::Output),
            (WaitingReason::Approval, CallStage::Approval),
            (WaitingReason::NeedsReview, CallStage::Review),
        ] {
            assert!(has_stopped(&waiting(reason, &[stage])), "{reason:?}");
            assert!(!has_stopped(&waiting(reason, &[])), "{reason:?}");
        }
        assert!(!has_stopped(&waiting(WaitingReason::Budget, &[])));
    }
}
