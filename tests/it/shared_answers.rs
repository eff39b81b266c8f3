//! Answers that are given again, on routes that say so: to the same account, for calls of temperature 0.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::llm::simulated::SimulatedModel;
use callboard_actors::event::{Event, EventBody};
use callboard_actors::item::Usage;
use callboard_actors::llm::{AnswerSharing, CallSettings, Flights};
use callboard_actors::ports::AnswerCache;
use callboard_actors::ports::ModelErrorKind::Status;
use callboard_actors::ports::answer_cache::{CachedAnswer, CallFingerprint};
use callboard_actors::run_state::RunState;
use callboard_actors::services::RunServices;
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::supervisor::messages::StartRun;
use serde_json::json;

use crate::harness::{Answer, InProcess, ScriptedModel, call_settings, route, start_on, started, until_some};

/// Keeps everything.
#[derive(Default)]
struct KeptAnswers(Mutex<HashMap<CallFingerprint, Arc<CachedAnswer>>>);

impl AnswerCache for KeptAnswers {
    fn get(&self, call: &CallFingerprint) -> Option<Arc<CachedAnswer>> {
        self.0.lock().unwrap().get(call).cloned()
    }

    fn put(&self, call: CallFingerprint, answer: Arc<CachedAnswer>, _time_to_live: Duration) {
        self.0.lock().unwrap().insert(call, answer);
    }
}

async fn sharing_supervisor(server: &InProcess, model: &Arc<ScriptedModel>) -> SupervisorHandle {
    let calls = CallSettings {
        cache_for: Some(Duration::from_secs(60)),
        ..call_settings(1)
    };
    let route = route("shared", calls, &[("east", model.clone())]);
    let services = RunServices {
        models: HashMap::from([("shared".to_owned(), route)]),
        shared_answers: Some(AnswerSharing {
            answers: Arc::new(KeptAnswers::default()),
            flights: Flights::default(),
        }),
        ..server.services(Arc::new(SimulatedModel::default()), Vec::new())
    };
    server.supervisor_with(services, 10).await
}

fn start_at(temperature: f64, account: &str) -> StartRun {
    let mut start = start_on("shared");
    start.account = account.parse().expect("a good name");
    Arc::make_mut(&mut start.spec).model_options =
        serde_json::Map::from_iter([("temperature".to_owned(), json!(temperature))]);
    start
}

/// Whether each call of the run was answered from memory.
fn cached(events: &[Event]) -> Vec<bool> {
    let completed = events.iter().filter_map(|event| match &event.body {
        EventBody::ModelCompleted { cached, usage, .. } => {
            assert_eq!(
                *cached,
                *usage == Usage::default(),
                "what nobody was asked for uses nothing"
            );
            Some(*cached)
        }
        _ => None,
    });
    completed.collect()
}

#[actix_rt::test]
async fn an_exact_call_is_answered_once_for_each_account() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::new([Answer::Says("hello")]);
    let supervisor = sharing_supervisor(&server, &model).await;
    let mut outputs = Vec::new();
    for (start, from_memory) in [
        (start_at(0.0, "acme"), false),
        (start_at(0.0, "acme"), true),
        (start_at(0.0, "other"), false),
        (start_at(0.7, "acme"), false),
        (start_at(0.7, "acme"), false),
    ] {
        let run = started(&supervisor, start).await;
        assert_eq!(server.ended(run).await.state, RunState::Completed);
        assert_eq!(cached(&server.events(run).await), [from_memory]);
        outputs.push(server.items(run).await.last().expect("an item").assistant_text());
    }
    assert!(outputs.iter().all(|output| output.as_deref() == Some("hello")));
    assert_eq!(model.asked(), 4);
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn exact_calls_at_the_same_moment_are_one() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::behind_a_turnstile([Answer::Says("hello")]);
    let supervisor = sharing_supervisor(&server, &model).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(started(&supervisor, start_at(0.0, "acme")).await);
    }
    model.turnstile.add_permits(1);
    let mut asked = 0;
    for run in runs {
        assert_eq!(server.ended(run).await.state, RunState::Completed);
        asked += cached(&server.events(run).await)
            .iter()
            .filter(|cached| !**cached)
            .count();
    }
    assert_eq!((asked, model.asked()), (1, 1));
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn whoever_waited_for_an_answer_that_failed_fails_with_it() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::behind_a_turnstile([Answer::Fails(Status(400)), Answer::Says("hello")]);
    let supervisor = sharing_supervisor(&server, &model).await;
    let first = started(&supervisor, start_at(0.0, "acme")).await;
    until_some("the first call", || async { (model.asked() == 1).then_some(()) }).await;
    let second = started(&supervisor, start_at(0.0, "acme")).await;
    model.turnstile.add_permits(2);
    assert_eq!(server.ended(first).await.state, RunState::Failed);
    // One that came when the first had failed asks anew.
    let shared = server.ended(second).await.state == RunState::Failed;
    assert_eq!(model.asked(), if shared { 1 } else { 2 });
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn when_the_one_that_asks_is_cancelled_one_of_those_that_wait_asks_for_all_of_them() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::behind_a_turnstile([Answer::Says("hello")]);
    let supervisor = sharing_supervisor(&server, &model).await;
    let first = started(&supervisor, start_at(0.0, "acme")).await;
    until_some("the first call", || async { (model.asked() == 1).then_some(()) }).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(started(&supervisor, start_at(0.0, "acme")).await);
    }
    supervisor.cancel(first).await.expect("the store answers");
    model.turnstile.add_permits(1);
    for run in others {
        assert_eq!(server.ended(run).await.state, RunState::Completed);
    }
    assert_eq!(model.asked(), 2);
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn an_answer_that_was_cut_off_is_not_given_again() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::new([Answer::CutOffAfter("hel"), Answer::Says("hello")]);
    let supervisor = sharing_supervisor(&server, &model).await;
    let run = started(&supervisor, start_at(0.0, "acme")).await;
    assert_eq!(server.ended(run).await.state, RunState::Failed);
    let run = started(&supervisor, start_at(0.0, "acme")).await;
    assert_eq!(server.ended(run).await.state, RunState::Completed);
    assert_eq!(model.asked(), 2);
    server.finish(supervisor).await;
}
