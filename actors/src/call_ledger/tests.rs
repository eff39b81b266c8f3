//! What is said of calls is taken as a whole, once, and only where it is waited for.

use std::time::Duration;

use super::*;
use crate::error::RunErrorCode;
use crate::item::ItemContent;

fn call(name: &str, stage: CallStage) -> LedgerCall {
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
        calls,
        ..CallLedger::default()
    }
}

#[test]
fn an_answer_is_written_at_the_next_place_and_only_once() {
    let mut ledger = ledger(vec![call("a", CallStage::Output), call("b", CallStage::Output)]);
    assert_eq!(ledger.waiting_reason(), Some(WaitingReason::ToolOutputs));
    let answer = [said("b", CallVerdict::Output(output("two")))];
    let resolved = ledger.resolve(&answer, Timestamp::now()).expect("b waits");
    assert_eq!(
        (resolved.items.len(), resolved.events.len(), ledger.next_index),
        (1, 2, 8)
    );
    let again = ledger.resolve(&answer, Timestamp::now()).expect_err("it is answered");
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
    let problem = ledger
        .resolve(&wrong, Timestamp::now())
        .expect_err("b waits for approval");
    assert_eq!(
        (problem.index, problem.kind),
        (1, CallProblemKind::WaitsFor(CallStage::Approval))
    );
    assert_eq!(ledger, before);
    let twice = [
        said("a", CallVerdict::Output(output("one"))),
        said("a", CallVerdict::Output(output("one"))),
    ];
    assert_eq!(ledger.resolve(&twice, Timestamp::now()).expect_err("twice").index, 1);
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
        .resolve(&[said("a", edited), said("b", refused)], Timestamp::now())
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
fn a_result_says_what_a_person_had_called() {
    let approved = |arguments: &str| {
        let mut ledger = ledger(vec![LedgerCall {
            by_client: true,
            arguments: "{\"x\": 1}".into(),
            ..call("a", CallStage::Approval)
        }]);
        let arguments = Some(arguments.into());
        let said = [
            said("a", CallVerdict::Approve { arguments }),
            said("a", CallVerdict::Output(output("done"))),
        ];
        let resolved = ledger.resolve(&said, Timestamp::now()).expect("it waits");
        let ItemContent::ToolResult { approved_arguments, .. } = &resolved.items[0].content else {
            panic!("a result");
        };
        approved_arguments.clone()
    };
    assert_eq!(approved("{\"x\":2}").as_deref(), Some("{\"x\":2}"));
    assert_eq!(approved("{\"x\":1.0}"), None, "only written otherwise");
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
    let resolved = patient.resolve(&overdue, now).expect("it waits");
    assert_eq!((resolved.items.len(), resolved.failed), (1, None));
    let mut strict = ledger(vec![due("a", OnDeadline::FailRun)]);
    let overdue = strict.overdue(now);
    let failed = strict.resolve(&overdue, now).expect("it waits").failed;
    assert_eq!(failed.map(|error| error.code), Some(RunErrorCode::ToolDeadline));
}

#[test]
fn whoever_reviews_may_have_it_sent_again_or_say_what_it_brought() {
    let mut ledger = ledger(vec![call("a", CallStage::Review), call("b", CallStage::Review)]);
    let said = [
        said("a", CallVerdict::Retry),
        said("b", CallVerdict::TakeResult(output("paid"))),
    ];
    let resolved = ledger.resolve(&said, Timestamp::now()).expect("both wait");
    assert_eq!(resolved.items.len(), 1);
    assert_eq!(ledger.calls.len(), 1);
    assert_eq!(ledger.calls[0].stage, CallStage::Approved);
}

#[test]
fn a_client_has_its_own_time_from_the_yes_on() {
    let now = Timestamp::now();
    let later = |seconds: u64| now.after(Duration::from_secs(seconds));
    let asked = |name: &str, answer_seconds| LedgerCall {
        by_client: true,
        deadline: Some(later(600)),
        on_deadline: OnDeadline::FailRun,
        answer_seconds,
        ..call(name, CallStage::Approval)
    };
    let mut ledger = ledger(vec![asked("a", Some(60)), asked("b", None), asked("c", Some(60))]);
    let yes = CallVerdict::Approve { arguments: None };
    let approved = [said("a", yes.clone()), said("b", yes)];
    ledger.resolve(&approved, later(599)).expect("both wait");
    let deadlines: Vec<_> = ledger.calls.iter().map(|call| (call.stage, call.deadline)).collect();
    assert_eq!(
        deadlines,
        [
            (CallStage::Output, Some(later(659))),
            (CallStage::Output, None),
            (CallStage::Approval, Some(later(600))),
        ]
    );
    // What was found overdue just before the yes is not held against the answer.
    let stale = [said("a", CallVerdict::Overdue)];
    let problem = ledger.resolve(&stale, later(600)).expect_err("there is time left");
    assert_eq!(problem.kind, CallProblemKind::WaitsFor(CallStage::Output));
    // An approval that nobody gives is told to the model, whatever is to become of an answer that nobody gives.
    let overdue = ledger.overdue(later(600));
    let resolved = ledger.resolve(&overdue, later(600)).expect("c waits");
    assert_eq!((resolved.items.len(), resolved.failed), (1, None));
    let overdue = ledger.overdue(later(659));
    let failed = ledger.resolve(&overdue, later(659)).expect("a waits").failed;
    assert_eq!(failed.map(|error| error.code), Some(RunErrorCode::ToolDeadline));
}

#[test]
fn the_time_of_a_review_is_not_the_runs() {
    let began = Timestamp::from_micros(1_000_000_000);
    let after = |seconds| began.after(Duration::from_secs(seconds));
    let mut ledger = ledger(vec![
        call("a", CallStage::Review),
        call("b", CallStage::Review),
        call("c", CallStage::Output),
    ]);
    ledger.begin_waiting(Some(after(10)), began);
    assert_eq!(ledger.next_deadline(), None, "it does not count meanwhile");
    ledger
        .resolve(&[said("a", CallVerdict::Retry)], after(100))
        .expect("a waits");
    assert_eq!((ledger.next_deadline(), ledger.reviewed()), (None, Duration::ZERO));
    ledger
        .resolve(&[said("b", CallVerdict::TakeResult(output("done")))], after(1000))
        .expect("b waits");
    // The answer of the client is waited for on the run's own time.
    assert_eq!(ledger.next_deadline(), Some(after(1010)));
    ledger
        .resolve(&[said("c", CallVerdict::Output(output("yes")))], after(1005))
        .expect("c waits");
    assert_eq!(ledger.reviewed(), Duration::from_secs(1000));

    // It is kept when no call is left, and added to.
    ledger.calls.clear();
    assert!(!ledger.is_empty());
    let written = serde_json::to_string(&ledger).expect("it serialises");
    let mut ledger: CallLedger = serde_json::from_str(&written).expect("it reads back");
    ledger.calls.push(call("d", CallStage::Review));
    ledger.begin_waiting(Some(after(1010)), after(1006));
    ledger
        .resolve(&[said("d", CallVerdict::Retry)], after(1007))
        .expect("d waits");
    assert_eq!(ledger.reviewed(), Duration::from_secs(1001));
    assert_eq!(ledger.review, None);
}

#[test]
fn a_run_that_waits_for_no_call_has_no_deadline_in_its_ledger() {
    let mut ledger = CallLedger {
        reviewed_micros: 1,
        ..ledger(Vec::new())
    };
    ledger.begin_waiting(Some(Timestamp::now()), Timestamp::now());
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn it_is_said_when_a_call_waits_for_something_else_than_before() {
    let by_client = LedgerCall {
        by_client: true,
        ..call("a", CallStage::Approval)
    };
    let mut ledger = ledger(vec![
        by_client,
        call("b", CallStage::Approval),
        call("c", CallStage::Output),
    ]);
    let approved = |call_id: &str| said(call_id, CallVerdict::Approve { arguments: None });
    for (resolution, waits_anew) in [
        (approved("b"), false),
        (said("c", CallVerdict::Output(output("yes"))), false),
        (approved("a"), true),
    ] {
        let resolved = ledger.resolve(&[resolution], Timestamp::now()).expect("it waits");
        assert_eq!(resolved.waits_anew, waits_anew);
    }
}
