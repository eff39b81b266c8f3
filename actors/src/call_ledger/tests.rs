//! What is said of calls is taken as a whole, once, and only where it is waited for.

use super::*;
use crate::error::RunErrorCode;
use crate::item::ItemContent;

fn call(name: &str, stage: CallStage) -> LedgerCall {
    LedgerCall {
        item_id: ItemId::new(),
        call_id: name.into(),
        name: "tool".into(),
        arguments: "{}".into(),
        stage,
        by_client: stage == CallStage::Output,
        deadline: None,
        on_deadline: OnDeadline::TellModel,
    }
}

fn said(call_id: &str, verdict: CallVerdict) -> CallResolution {
    CallResolution {
        call_id: call_id.into(),
        verdict,
    }
}

fn output(text: &str) -> CallOutput {
    CallOutput {
        output: text.into(),
        is_error: false,
        truncated: false,
    }
}

fn ledger(calls: Vec<LedgerCall>) -> CallLedger {
    CallLedger {
        next_index: 7,
        run_deadline: None,
        calls,
    }
}

#[test]
fn an_answer_is_written_at_the_next_place_and_only_once() {
    let mut ledger = ledger(vec![call("a", CallStage::Output), call("b", CallStage::Output)]);
    assert_eq!(ledger.waiting_reason(), Some(WaitingReason::ToolOutputs));
    let answer = [said("b", CallVerdict::Output(output("two")))];
    let resolved = ledger.resolve(&answer).expect("b waits");
    assert_eq!(
        (resolved.items.len(), resolved.events.len(), ledger.next_index),
        (1, 2, 8)
    );
    let again = ledger.resolve(&answer).expect_err("it is answered");
    assert_eq!(again.kind, CallProblemKind::Unknown);
    assert_eq!(ledger.waiting().count(), 1);
}

#[test]
fn of_several_all_are_taken_or_none() {
    let mut ledger = ledger(vec![call("a", CallStage::Output), call("b", CallStage::Approval)]);
    let before = ledger.clone();
    let wrong = [
        said("a", CallVerdict::Output(output("one"))),
        said("b", CallVerdict::Output(output("two"))),
    ];
    let problem = ledger.resolve(&wrong).expect_err("b waits for approval");
    assert_eq!(
        (problem.index, problem.kind),
        (1, CallProblemKind::WaitsFor(CallStage::Approval))
    );
    assert_eq!(ledger, before);
    let twice = [
        said("a", CallVerdict::Output(output("one"))),
        said("a", CallVerdict::Output(output("one"))),
    ];
    assert_eq!(ledger.resolve(&twice).expect_err("twice").index, 1);
}

#[test]
fn an_approved_call_may_be_sent_and_a_refused_one_tells_the_model() {
    let mut ledger = ledger(vec![call("a", CallStage::Approval), call("b", CallStage::Approval)]);
    let edited = CallVerdict::Approve {
        arguments: Some("{\"x\":1}".into()),
    };
    let refused = CallVerdict::Refuse {
        reason: Some("too dear".into()),
    };
    let resolved = ledger
        .resolve(&[said("a", edited), said("b", refused)])
        .expect("both wait");
    assert_eq!(ledger.calls.len(), 1);
    assert_eq!(
        (ledger.calls[0].stage, ledger.calls[0].arguments.as_str()),
        (CallStage::Approved, "{\"x\":1}")
    );
    assert_eq!(ledger.waiting_reason(), None);
    let ItemContent::ToolResult { output, is_error, .. } = &resolved.items[0].content else {
        panic!("a result");
    };
    assert_eq!(
        (output.as_str(), *is_error),
        ("a person refused this call: too dear", true)
    );
}

#[test]
fn what_is_overdue_tells_the_model_or_ends_the_run() {
    let now = Timestamp::now();
    let due = |name: &str, on_deadline| LedgerCall {
        deadline: Some(now),
        on_deadline,
        ..call(name, CallStage::Output)
    };
    let mut patient = ledger(vec![due("a", OnDeadline::TellModel), call("b", CallStage::Output)]);
    let overdue = patient.overdue(now);
    assert_eq!(overdue.len(), 1);
    let resolved = patient.resolve(&overdue).expect("it waits");
    assert_eq!((resolved.items.len(), resolved.failed), (1, None));
    let mut strict = ledger(vec![due("a", OnDeadline::FailRun)]);
    let overdue = strict.overdue(now);
    let failed = strict.resolve(&overdue).expect("it waits").failed;
    assert_eq!(failed.map(|error| error.code), Some(RunErrorCode::ToolDeadline));
}

#[test]
fn whoever_reviews_may_have_it_sent_again_or_say_what_it_brought() {
    let mut ledger = ledger(vec![call("a", CallStage::Review), call("b", CallStage::Review)]);
    let said = [
        said("a", CallVerdict::Retry),
        said("b", CallVerdict::TakeResult(output("paid"))),
    ];
    let resolved = ledger.resolve(&said).expect("both wait");
    assert_eq!(resolved.items.len(), 1);
    assert_eq!(ledger.calls.len(), 1);
    assert_eq!(ledger.calls[0].stage, CallStage::Approved);
}
