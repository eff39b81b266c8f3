//! Runs that wait until somebody answers or decides about their tool calls.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::fixtures::{change, claimed, commit, parked, record, running};
use crate::call_ledger::{CallLedger, CallOutput, CallProblemKind, CallResolution, CallStage, CallVerdict, LedgerCall};
use crate::encoding::{EncodedEvents, encode};
use crate::event::{Event, EventBody, WaitingReason};
use crate::ids::ItemId;
use crate::item::ItemContent;
use crate::ports::Store;
use crate::ports::store::{ParkedOutcome, ParkedUpdate, RunCommit, RunRecord, StateChange};
use crate::run_state::RunState;
use crate::time::Timestamp;
use crate::tool_use::OnDeadline;

pub(in crate::testing) fn call(name: &str, stage: CallStage) -> LedgerCall {
    LedgerCall {
        item_id: ItemId::new(),
        call_id: name.into(),
        name: "tool".into(),
        arguments: "{}".into(),
        is_changed: false,
        stage,
        by_client: stage == CallStage::Output,
        deadline: None,
        on_deadline: OnDeadline::TellModel,
        answer_seconds: None,
    }
}

fn kinds(events: &EncodedEvents) -> Vec<String> {
    events.frames().map(|frame| frame.kind.to_owned()).collect()
}

pub(in crate::testing) fn answer(call_id: &str) -> CallResolution {
    CallResolution {
        call_id: call_id.into(),
        verdict: CallVerdict::Output(CallOutput {
            output: format!("of {call_id}"),
            is_error: false,
            truncated: false,
        }),
    }
}

/// A run that waits for these calls.
async fn waits_for(store: &Arc<dyn Store>, calls: CallLedger) -> RunRecord {
    let run = running(store, "acme").await;
    wait_for(store, &run, calls).await
}

/// This run, which waits for these calls.
pub(in crate::testing) async fn wait_for(store: &Arc<dyn Store>, run: &RunRecord, calls: CallLedger) -> RunRecord {
    let reason = calls.waiting_reason().expect("somebody is waited for");
    let told = EventBody::RunWaiting {
        reason,
        calls: calls.told(),
    };
    let step = RunCommit {
        events: encode(run.id, run.next_seq, [told]),
        change: Some(StateChange {
            waiting: Some(reason),
            ..change(RunState::Waiting)
        }),
        calls: Some(calls),
        ..commit(run)
    };
    store.commit(step).await.expect("waits");
    record(store, run.id).await
}

pub(in crate::testing) fn ledger(calls: Vec<LedgerCall>) -> CallLedger {
    CallLedger {
        calls,
        ..CallLedger::default()
    }
}

pub(in crate::testing) async fn resolve(
    store: &Arc<dyn Store>,
    run: &RunRecord,
    said: Vec<CallResolution>,
) -> ParkedOutcome {
    let update = ParkedUpdate::resolving(run.id, said, Timestamp::now());
    store.update_parked_run(update).await.expect("the store answers")
}

/// With its events and items; and the run goes on when the last is answered.
pub async fn answers_are_written_one_after_the_other_and_then_the_run_goes_on(store: Arc<dyn Store>) {
    let run = waits_for(
        &store,
        ledger(vec![call("a", CallStage::Output), call("b", CallStage::Output)]),
    )
    .await;
    let items_before = store.items(run.id, None, 100).await.expect("items").items.len();
    let ParkedOutcome::Updated { record: after, events } = resolve(&store, &run, vec![answer("b")]).await else {
        panic!("b waits");
    };
    assert_eq!(
        (after.state, after.waiting),
        (RunState::Waiting, Some(WaitingReason::ToolOutputs))
    );
    assert_eq!(kinds(&events.expect("events")), ["item.added", "item.completed"]);
    assert_eq!(
        record(&store, run.id).await,
        *after,
        "what is answered is what is stored"
    );

    let ParkedOutcome::Updated { record: after, events } = resolve(&store, &run, vec![answer("a")]).await else {
        panic!("a waits");
    };
    assert_eq!((after.state, after.waiting), (RunState::Queued, None));
    assert_eq!(
        kinds(&events.expect("events")),
        ["item.added", "item.completed", "run.queued"]
    );
    assert!(after.calls.is_empty());
    let items = store.items(run.id, None, 100).await.expect("items").items;
    let outputs: Vec<&str> = items[items_before..]
        .iter()
        .filter_map(|(_, item)| match &item.content {
            ItemContent::ToolResult { output, .. } => Some(output.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(outputs, ["of b", "of a"]);
    assert_eq!(claimed(&store, run.id).await.state, RunState::Running);
}

/// Whatever is said at the same moment.
pub async fn each_call_is_answered_once(store: Arc<dyn Store>) {
    let run = waits_for(
        &store,
        ledger(vec![call("a", CallStage::Output), call("b", CallStage::Output)]),
    )
    .await;
    let said = (0..10).map(|number| {
        let which = if number % 2 == 0 { "a" } else { "b" };
        resolve(&store, &run, vec![answer(which)])
    });
    let outcomes = join_all(said).await;
    let taken = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, ParkedOutcome::Updated { .. }));
    assert_eq!(taken.count(), 2, "{outcomes:?}");
    assert_eq!(record(&store, run.id).await.state, RunState::Queued);
}

/// All that is said together is taken, or nothing of it.
pub async fn what_is_wrong_changes_nothing(store: Arc<dyn Store>) {
    let run = waits_for(
        &store,
        ledger(vec![call("a", CallStage::Output), call("b", CallStage::Approval)]),
    )
    .await;
    assert_eq!(run.waiting, Some(WaitingReason::Approval));
    for (said, index, kind) in [
        (vec![answer("x")], 0, CallProblemKind::Unknown),
        (
            vec![answer("a"), answer("b")],
            1,
            CallProblemKind::WaitsFor(CallStage::Approval),
        ),
    ] {
        let ParkedOutcome::Refused(problem) = resolve(&store, &run, said).await else {
            panic!("it is wrong");
        };
        assert_eq!((problem.index, problem.kind), (index, kind));
        assert_eq!(record(&store, run.id).await, run);
    }
    store
        .update_parked_run(parked(run.id, RunState::Cancelled))
        .await
        .expect("cancelled");
    let late = resolve(&store, &run, vec![answer("a")]).await;
    assert!(matches!(late, ParkedOutcome::NotParked(ended) if ended.state == RunState::Cancelled));
    let running_run = running(&store, "acme").await;
    let early = resolve(&store, &running_run, vec![answer("a")]).await;
    assert!(matches!(early, ParkedOutcome::NotParked(_)));
}

/// And the run's last event comes with it.
pub async fn a_verdict_may_end_the_run(store: Arc<dyn Store>) {
    let run = waits_for(&store, ledger(vec![call("a", CallStage::Review)])).await;
    let said = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::FailRun,
    };
    let ParkedOutcome::Updated { record: after, events } = resolve(&store, &run, vec![said]).await else {
        panic!("a waits");
    };
    assert_eq!(after.state, RunState::Failed);
    assert!(after.ended_at.is_some() && after.calls.is_empty());
    assert_eq!(kinds(&events.expect("events")), ["tool.decided", "run.failed"]);
    assert_eq!(record(&store, run.id).await, *after);
}

/// And whoever follows the run hears for what it waits now.
pub async fn an_approved_call_of_the_client_is_told_again(store: Arc<dyn Store>) {
    let asked = LedgerCall {
        by_client: true,
        answer_seconds: Some(60),
        ..call("a", CallStage::Approval)
    };
    let run = waits_for(&store, ledger(vec![asked, call("b", CallStage::Output)])).await;
    let said = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::Approve { arguments: None },
    };
    let ParkedOutcome::Updated { record: after, events } = resolve(&store, &run, vec![said]).await else {
        panic!("a waits");
    };
    assert_eq!(
        (after.state, after.waiting),
        (RunState::Waiting, Some(WaitingReason::ToolOutputs))
    );
    let events = events.expect("events");
    assert_eq!(kinds(&events), ["tool.decided", "run.waiting"]);
    let told: Event = serde_json::from_str(events.frames().last().expect("two").data).expect("an event");
    let expected = EventBody::RunWaiting {
        reason: WaitingReason::ToolOutputs,
        calls: after.calls.told(),
    };
    assert_eq!(told.body, expected);
    assert_eq!(record(&store, run.id).await, *after);
}

/// Also when no call is left of which the ledger tells.
pub async fn the_time_of_a_review_is_kept(store: Arc<dyn Store>) {
    let began = Timestamp::now();
    let mut calls = ledger(vec![call("a", CallStage::Review)]);
    calls.begin_waiting(Some(began.after(Duration::from_secs(1))), began);
    let run = waits_for(&store, calls).await;
    let said = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::TakeResult(CallOutput::error("nobody knows".into())),
    };
    let late = ParkedUpdate::resolving(run.id, vec![said], began.after(Duration::from_secs(100)));
    store.update_parked_run(late).await.expect("the store answers");
    let went_on = claimed(&store, run.id).await;
    assert_eq!(went_on.calls.reviewed(), Duration::from_secs(100));
    assert!(went_on.calls.calls.is_empty());
}

/// Earlier versions did not write when a review began.
pub async fn a_run_whose_review_has_no_beginning_gets_its_time_anew(store: Arc<dyn Store>) {
    let run = waits_for(
        &store,
        ledger(vec![call("a", CallStage::Review), call("b", CallStage::Output)]),
    )
    .await;
    let started_at = run.started_at.expect("it has started");
    let at = started_at.after(Duration::from_secs(10_000));
    let said = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::Retry,
    };
    let update = ParkedUpdate::resolving(run.id, vec![said], at);
    store.update_parked_run(update).await.expect("the store answers");
    let after = record(&store, run.id).await;
    let length = Duration::from_secs(run.spec.limits.deadline_seconds);
    assert_eq!(after.calls.next_deadline(), Some(at.after(length)));
    // Also by the clock of whoever takes the run up.
    assert_eq!(after.calls.reviewed(), Duration::from_secs(10_000));
}

/// The longest overdue first; none that does not wait, or not any more.
pub async fn overdue_calls_are_found_by_their_deadlines(store: Arc<dyn Store>) {
    let now = Timestamp::now();
    let due = |seconds: u64| LedgerCall {
        deadline: Some(now.after(Duration::from_secs(seconds))),
        ..call("a", CallStage::Output)
    };
    let late = waits_for(&store, ledger(vec![due(20), call("b", CallStage::Output)])).await;
    let early = waits_for(&store, ledger(vec![due(10)])).await;
    waits_for(&store, ledger(vec![call("a", CallStage::Output)])).await;
    let by_run = waits_for(
        &store,
        CallLedger {
            run_deadline: Some(now.after(Duration::from_secs(15))),
            ..ledger(vec![call("a", CallStage::Output)])
        },
    )
    .await;
    let overdue = async |seconds: u64, limit: u32| {
        let at = now.after(Duration::from_secs(seconds));
        let found = store
            .runs_with_overdue_calls(at, None, limit)
            .await
            .expect("the store answers");
        assert!(
            found
                .iter()
                .all(|run| run.calls.as_ref().is_ok_and(|calls| !calls.is_empty()))
        );
        found.into_iter().map(|run| run.place.run).collect::<Vec<_>>()
    };
    assert_eq!(overdue(9, 10).await, []);
    assert_eq!(overdue(10, 10).await, [early.id]);
    assert_eq!(overdue(30, 10).await, [early.id, by_run.id, late.id]);
    assert_eq!(overdue(30, 1).await, [early.id]);
    // Page by page, also those with the same deadline.
    let same = waits_for(&store, ledger(vec![due(10)])).await;
    let mut pages = Vec::new();
    let mut after = None;
    while let [run] = &store
        .runs_with_overdue_calls(now.after(Duration::from_secs(30)), after, 1)
        .await
        .expect("the store answers")[..]
    {
        after = Some(run.place);
        pages.push(run.place.run);
    }
    assert_eq!(pages, [early.id, same.id, by_run.id, late.id]);
    resolve(&store, &same, vec![answer("a")]).await;
    resolve(&store, &early, vec![answer("a")]).await;
    resolve(&store, &late, vec![answer("a")]).await;
    assert_eq!(overdue(30, 10).await, [by_run.id], "what is left of it has no deadline");
}
