//! What a run costs, in statements and commits: counted, not timed.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::{InstanceId, ModelCallId, RunId};
use callboard_actors::item::{Item, Role, Usage};
use callboard_actors::money::Money;
use callboard_actors::ports::Store;
use callboard_actors::ports::budgets::Charge;
use callboard_actors::ports::store::{Admission, Creation, NewRun, RunCommit, RunProgress, StateChange};
use callboard_actors::run_state::RunState;
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::time::Timestamp;

use super::open;

pub(super) fn new_run() -> NewRun {
    let spec = Arc::new(RunSpec {
        agent: None,
        model: "simulated".into(),
        fallback_models: Vec::new(),
        instructions: None,
        tools: Vec::new(),
        model_options: serde_json::Map::new(),
        metadata: std::collections::BTreeMap::new(),
        history: callboard_actors::spec::HistorySettings::default(),
        limits: RunLimits {
            max_steps: 8,
            max_output_tokens: None,
            max_total_tokens: None,
            max_cost_usd: None,
            deadline_seconds: 600,
        },
    });
    let id = RunId::new();
    let created = EventBody::RunCreated { spec: spec.clone() };
    NewRun {
        id,
        account: "acme".parse().expect("a name"),
        tier: "pro".into(),
        instance: InstanceId::new(),
        idempotency: None,
        spec,
        input: vec![Item::message(Role::User, "hello")],
        thread: None,
        admission: Admission::Start { slot_limit: Some(500) },
        events: encode(id, 0, [created, EventBody::RunStarted { epoch: 1 }]).expect("two events"),
        reserved_seq: 0,
        created_at: Timestamp::now(),
    }
}

fn commit(run: &NewRun, first_seq: u64, event: EventBody) -> RunCommit {
    RunCommit {
        run: run.id,
        account: run.account.clone(),
        epoch: 1,
        events: encode(run.id, first_seq, [event]),
        reserved_seq: 0,
        items: Vec::new(),
        progress: None,
        charges: Vec::new(),
        calls: None,
        change: None,
    }
}

pub(super) fn delta(run: &NewRun, first_seq: u64) -> RunCommit {
    let body = EventBody::RunQueuePosition { position: 1 };
    commit(run, first_seq, body)
}

pub(super) fn ending(run: &NewRun, first_seq: u64) -> RunCommit {
    let usage = Usage::default();
    RunCommit {
        items: vec![
            Item::message(Role::Assistant, "hi"),
            Item::message(Role::Assistant, "there"),
        ],
        progress: Some(RunProgress {
            steps: 1,
            usage,
            cost: Money::from_nanos(9),
        }),
        charges: vec![Charge {
            id: ModelCallId::new(),
            model: "simulated".into(),
            provider: "simulated".into(),
            usage,
            cost: Money::from_nanos(9),
            call_time: Duration::from_millis(1),
            at: Timestamp::now(),
        }],
        change: Some(StateChange {
            to: RunState::Completed,
            error: None,
            waiting: None,
            at: Timestamp::now(),
        }),
        ..commit(run, first_seq, EventBody::RunCompleted { usage })
    }
}

#[tokio::test]
async fn a_run_of_one_model_call_costs_nine_statements_and_deltas_two_a_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let run = new_run();
    assert_eq!(store.create_run(run.clone()).await, Ok(Creation::Created));
    assert_eq!(store.usage().statements, 4);
    store.commit(delta(&run, 2)).await.expect("written");
    assert_eq!(store.usage().statements, 6);
    store.commit(ending(&run, 3)).await.expect("written");
    assert_eq!((store.usage().statements, store.usage().commits), (11, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_share_commits() {
    const RUNS: usize = 300;
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let runs: Vec<_> = (0..RUNS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let run = new_run();
                assert_eq!(store.create_run(run.clone()).await, Ok(Creation::Created));
                store.commit(ending(&run, 2)).await.expect("written");
            })
        })
        .collect();
    for run in runs {
        run.await.expect("no panic");
    }
    let usage = store.usage();
    assert_eq!(usage.statements, 9 * RUNS as u64);
    assert!(usage.commits < RUNS as u64, "{} commits", usage.commits);
}

#[tokio::test]
async fn statements_are_prepared_once() {
    use sqlx::Connection;
    let directory = tempfile::tempdir().expect("a directory");
    let options = super::options(directory.path());
    open(directory.path()).await.close().await;
    let mut connection = sqlx::ConnectOptions::connect(&super::super::open::writer_options(&options))
        .await
        .expect("opens");
    let activity = crate::store::activity::Activity::default();
    let mut prepared = Vec::new();
    for _ in 0..3 {
        let mut transaction = super::super::transaction::WriteTransaction::new(&mut connection, &activity);
        for _ in 0..5 {
            let run = new_run();
            super::super::writer::Write::apply(&run, &mut transaction)
                .await
                .expect("applied");
            for step in [delta(&run, 2), ending(&run, 3)] {
                super::super::writer::Write::apply(&step, &mut transaction)
                    .await
                    .expect("applied");
            }
        }
        prepared.push(connection.cached_statements_size());
    }
    assert_eq!(prepared, [4, 4, 4], "one for each kind of write, and one for charges");
}
