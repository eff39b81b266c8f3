//! Checks that find nothing wrong prove nothing: each rule is broken here once, and that must be found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callboard_actors::time::Timestamp;
use serde_json::{Value, json};

use super::super::clients::Story;
use super::super::evidence::{Evidence, InstanceEvidence, Probes};
use super::super::faults::FaultKind;
use super::super::injection::{Departure, InjectedFault};
use super::super::runs::{Ending, PlannedAccount, PlannedRun};
use super::super::samples::Samples;
use super::super::stored::{Stored, StoredAccount, StoredRun};
use super::{Rule, check};
use crate::rig::{Followed, SeenEvent, Violation, ViolationKind};

const RUN: &str = "run_1";
const SECOND: i64 = 1_000_000;

fn event(seq: u64, kind: &str, mut data: Value) -> SeenEvent {
    let at = Timestamp::from_micros(1_000 * SECOND + seq as i64 * SECOND);
    data["seq"] = seq.into();
    data["type"] = kind.into();
    data["run_id"] = RUN.into();
    data["at"] = json!(at);
    SeenEvent {
        seq,
        kind: kind.to_owned(),
        frame: format!("id: {seq}\nevent: {kind}\ndata: {data}\n\n"),
        data,
    }
}

fn log() -> Vec<SeenEvent> {
    let item = json!({"id": "item_1", "type": "message", "content": [{"type": "text", "text": "yes"}]});
    vec![
        event(0, "run.created", json!({})),
        event(1, "run.started", json!({"epoch": 1})),
        event(2, "run.recovered", json!({"epoch": 2})),
        event(3, "item.added", json!({"item_id": "item_1", "index": 0})),
        event(4, "text.delta", json!({"item_id": "item_1", "delta": "yes"})),
        event(5, "item.completed", json!({"index": 0, "item": item})),
        event(6, "model.completed", json!({"step": 1})),
        event(7, "run.completed", json!({})),
    ]
}

/// A call of the run's first step, so many microseconds after its log began.
fn call(after: i64) -> Value {
    json!({"run": RUN, "tool_rounds_done": 0, "received_at_us": 1_000 * SECOND + after})
}

fn followed(events: Vec<SeenEvent>) -> Followed {
    Followed {
        run: RUN.to_owned(),
        events,
        ..Followed::default()
    }
}

fn story() -> Story {
    Story {
        plan: PlannedRun {
            account: 0,
            at: Duration::ZERO,
            body: json!({}),
            ending: Ending::Completed("yes".to_owned()),
            cancelled_after: None,
            is_started_twice: true,
            followers: 1,
        },
        idempotency_key: "key".to_owned(),
        starts: vec![Ok(RUN.to_owned()), Ok(RUN.to_owned())],
        followed: vec![followed(log())],
        cancel: None,
        shown: Some(json!({"id": RUN, "state": "completed", "next_seq": 8, "output": "yes", "error": null})),
        problems: Vec::new(),
    }
}

fn stored_run() -> StoredRun {
    let items = log().into_iter().filter(|event| event.kind == "item.completed");
    let items = items.map(|event| event.data["item"].clone());
    StoredRun {
        account: "acme".to_owned(),
        state: "completed".to_owned(),
        epoch: 2,
        next_seq: 8,
        idempotency_key: Some("key".to_owned()),
        error: None,
        log: log(),
        items: std::iter::once(json!({"id": "item_0"})).chain(items).collect(),
    }
}

/// A round with one run, in which everything is as it should be.
fn sound() -> Evidence {
    let account = StoredAccount { running: 0, queued: 0 };
    Evidence {
        accounts: vec![PlannedAccount {
            name: "acme".to_owned(),
            tier: "up-to-1".to_owned(),
            limit: Some(1),
        }],
        stories: vec![story()],
        faults: vec![InjectedFault {
            kind: FaultKind::Leave,
            whom: "instance-1".to_owned(),
            began: Duration::ZERO,
            lasted: Duration::ZERO,
            departures: vec![Departure {
                instance: "instance-1".to_owned(),
                exit_code: Some(0),
                took: Duration::ZERO,
            }],
            error: None,
        }],
        samples: Samples::default(),
        stored: Stored {
            runs: BTreeMap::from([(RUN.to_owned(), stored_run())]),
            accounts: BTreeMap::from([("acme".to_owned(), account)]),
        },
        streams: BTreeMap::from([(RUN.to_owned(), vec![(1, log()[1].clone()), (2, log()[2].clone())])]),
        calls: vec![call(SECOND), call(2 * SECOND)],
        calls_are_over: true,
        instances: vec![InstanceEvidence {
            name: "instance-1".to_owned(),
            capacity: Ok(json!({"permits": {"in_use": 0}, "queue": {"length": 0}})),
            printed: String::new(),
        }],
        probes: Probes::default(),
    }
}

impl Evidence {
    fn stored(&mut self) -> &mut StoredRun {
        self.stored.runs.get_mut(RUN).unwrap()
    }
}

/// Breaks a sound round and says which rules that breaks.
fn broken_by(break_it: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = sound();
    break_it(&mut evidence);
    let rules: BTreeSet<Rule> = check(&evidence).findings.iter().map(|finding| finding.rule).collect();
    rules.into_iter().collect()
}

#[test]
fn a_sound_round_breaks_no_rule() {
    let verdict = check(&sound());
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    assert_eq!(verdict.figures.taken_over, 1);
    assert_eq!(verdict.figures.model_calls_repeated, 1);
    assert_eq!(verdict.figures.model_calls_after_commit, 0);
}

#[test]
fn quotas() {
    let two_at_once = |evidence: &mut Evidence| {
        evidence.stored.runs.insert("run_2".to_owned(), stored_run());
        let mut second = story();
        second.starts = vec![Ok("run_2".to_owned())];
        evidence.stories.push(second);
    };
    assert!(broken_by(two_at_once).contains(&Rule::Quota));
    assert_eq!(
        broken_by(|round| round.stored.accounts.get_mut("acme").unwrap().running = 1),
        [Rule::Quota]
    );
    let sampled = |round: &mut Evidence| round.samples.quota_problems.extend(["two".to_owned()]);
    assert_eq!(broken_by(sampled), [Rule::Quota]);
}

#[test]
fn permits_and_instances() {
    let kept = |round: &mut Evidence| {
        round.instances[0].capacity = Ok(json!({"permits": {"in_use": 1}, "queue": {"length": 0}}));
    };
    assert_eq!(broken_by(kept), [Rule::Capacity]);
    assert_eq!(
        broken_by(|round| round.instances[0].capacity = Err("gone".to_owned())),
        [Rule::Endurance]
    );
    let panicked = |round: &mut Evidence| round.instances[0].printed = "thread 'x' panicked at src/y.rs".to_owned();
    assert_eq!(broken_by(panicked), [Rule::Endurance]);
    assert_eq!(
        broken_by(|round| round.faults[0].departures[0].exit_code = Some(1)),
        [Rule::Leaving]
    );
}

#[test]
fn endings_and_logs() {
    let other_state = |round: &mut Evidence| round.stories[0].shown.as_mut().unwrap()["state"] = "failed".into();
    assert_eq!(broken_by(other_state), [Rule::OneEnding]);
    let two_ends = |round: &mut Evidence| round.stored().log.push(event(8, "run.completed", json!({})));
    assert!(broken_by(two_ends).contains(&Rule::OneEnding));
    let changed =
        |round: &mut Evidence| round.stories[0].followed[0].events[4] = event(4, "text.delta", json!({"delta": "no"}));
    assert_eq!(broken_by(changed), [Rule::OneLog]);
    let missing = |round: &mut Evidence| drop(round.stories[0].followed[0].events.pop());
    assert_eq!(broken_by(missing), [Rule::OneLog]);
    let twice = |round: &mut Evidence| {
        round.stories[0].followed[0].violations.push(Violation {
            kind: ViolationKind::Duplicate,
            text: String::new(),
        });
    };
    assert_eq!(broken_by(twice), [Rule::OneLog]);
    let only_in_redis = |round: &mut Evidence| {
        round
            .streams
            .get_mut(RUN)
            .unwrap()
            .push((2, event(9, "text.delta", json!({}))));
    };
    assert_eq!(broken_by(only_in_redis), [Rule::OneLog]);
}

#[test]
fn zombies() {
    let old_epoch = |round: &mut Evidence| round.streams.get_mut(RUN).unwrap()[1].0 = 1;
    assert_eq!(broken_by(old_epoch), [Rule::Fencing]);
    assert_eq!(broken_by(|round| round.stored().epoch = 1), [Rule::Fencing]);
}

#[test]
fn work_that_is_done_again() {
    assert_eq!(broken_by(|round| round.calls.push(call(20 * SECOND))), [Rule::NoRepeat]);
    assert_eq!(broken_by(|round| round.calls.clear()), [Rule::NoRepeat]);
    assert_eq!(broken_by(|round| drop(round.stored().items.pop())), [Rule::NoRepeat]);
}

#[test]
fn cancels() {
    let untrue = |round: &mut Evidence| round.stories[0].cancel = Some(Ok(json!({"state": "cancelled"})));
    assert_eq!(broken_by(untrue), [Rule::StopSticks]);
    let too_late = |round: &mut Evidence| round.stories[0].cancel = Some(Ok(json!({"state": "completed"})));
    assert_eq!(broken_by(too_late), []);
    assert_eq!(broken_by(|round| round.calls_are_over = false), [Rule::StopSticks]);
}

#[test]
fn losses() {
    let lost = |round: &mut Evidence| round.stored.runs.clear();
    assert!(broken_by(lost).contains(&Rule::NothingLost));
    let twice = |round: &mut Evidence| round.stories[0].starts[1] = Ok("run_2".to_owned());
    assert_eq!(broken_by(twice), [Rule::NothingLost]);
    let other_words = |round: &mut Evidence| round.stories[0].shown.as_mut().unwrap()["output"] = "no".into();
    assert_eq!(broken_by(other_words), [Rule::NothingLost]);
    let refused = |round: &mut Evidence| round.stories[0].starts[1] = Err("no answer".to_owned());
    assert_eq!(broken_by(refused), [Rule::NothingLost]);
}
