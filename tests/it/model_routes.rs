//! Which provider answers a run, and what the run's log says of it: fallback, errors that end it, answers that are shared, limits of the
//! run itself.

use std::sync::Arc;

use callboard::llm::simulated::SimulatedModel;
use callboard_actors::error::RunErrorCode;
use callboard_actors::event::{Event, EventBody};
use callboard_actors::item::{ItemStatus, Usage};
use callboard_actors::llm::ModelRoute;
use callboard_actors::money::Money;
use callboard_actors::ports::ModelErrorKind::{Connection, Status, Timeout};
use callboard_actors::ports::store::RunRecord;
use callboard_actors::run_state::RunState;
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::supervisor::messages::StartRun;
use serde_json::json;

use crate::harness::{Answer, InProcess, ScriptedModel, USAGE, call_settings, route, start_of, start_on, started};

/// Runs it to its end on these routes, of which it asks for the first.
async fn run_on(routes: &[Arc<ModelRoute>], change: impl FnOnce(&mut RunSpec)) -> (RunRecord, Vec<Event>) {
    let server = InProcess::plain().await;
    let supervisor = server.supervisor_on(routes, 1).await;
    let mut start = start_on(&routes[0].name);
    change(Arc::make_mut(&mut start.spec));
    let run = started(&supervisor, start).await;
    let ended = (server.ended(run).await, server.events(run).await);
    server.finish(supervisor).await;
    ended
}

fn usages(events: &[Event]) -> Vec<Usage> {
    let completed = events.iter().filter_map(|event| match &event.body {
        EventBody::ModelCompleted { usage, .. } => Some(*usage),
        _ => None,
    });
    completed.collect()
}

fn kinds_of_models(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter_map(|event| match &event.body {
        EventBody::ModelRerouted { provider, .. } => Some(format!("rerouted to {provider}")),
        EventBody::ModelRetrying { attempt, .. } => Some(format!("retrying {attempt}")),
        EventBody::ModelCompleted { provider, .. } => Some(format!("answered by {provider}")),
        EventBody::ItemIncomplete { .. } => Some("void".to_owned()),
        _ => None,
    });
    told.collect()
}

#[actix_rt::test]
async fn a_provider_in_trouble_is_passed_over_and_the_log_says_who_answered() {
    for trouble in [
        Answer::Fails(Status(503)),
        Answer::Fails(Status(529)),
        Answer::Fails(Connection),
        Answer::Fails(Timeout),
    ] {
        let first = ScriptedModel::new([trouble]);
        let second = ScriptedModel::new([Answer::Says("hello")]);
        let both = route(
            "both",
            call_settings(1),
            &[("east", first.clone()), ("west", second.clone())],
        );
        let (run, events) = run_on(&[both], |_| {}).await;
        assert_eq!(run.state, RunState::Completed);
        assert_eq!(kinds_of_models(&events), ["rerouted to west", "answered by west"]);
        assert_eq!([first.asked(), second.asked()], [1, 1]);
    }
}

#[actix_rt::test]
async fn what_a_provider_had_said_before_it_broke_is_void() {
    let first = ScriptedModel::new([Answer::BreaksAfter("hel")]);
    let second = ScriptedModel::new([Answer::Says("hello")]);
    let both = route("both", call_settings(1), &[("east", first), ("west", second)]);
    let (run, events) = run_on(&[both], |_| {}).await;
    assert_eq!(run.state, RunState::Completed);
    assert_eq!(
        kinds_of_models(&events),
        ["void", "rerouted to west", "answered by west"]
    );
}

#[actix_rt::test]
async fn a_request_that_is_wrong_is_asked_of_nobody_else() {
    let first = ScriptedModel::new([Answer::Fails(Status(400))]);
    let second = ScriptedModel::new([Answer::Says("hello")]);
    let both = route(
        "both",
        call_settings(5),
        &[("east", first.clone()), ("west", second.clone())],
    );
    let (run, events) = run_on(&[both], |_| {}).await;
    assert_eq!(run.error.expect("it failed").code, RunErrorCode::ModelRejected);
    assert_eq!(kinds_of_models(&events), [""; 0]);
    assert_eq!([first.asked(), second.asked()], [1, 0]);
}

#[actix_rt::test]
async fn when_all_have_failed_all_are_asked_again_until_the_tries_are_used_up() {
    let first = ScriptedModel::new([Answer::Fails(Status(500)), Answer::Says("hello")]);
    let second = ScriptedModel::new([Answer::Fails(Status(502))]);
    let both = route(
        "both",
        call_settings(2),
        &[("east", first.clone()), ("west", second.clone())],
    );
    let (run, events) = run_on(&[both], |_| {}).await;
    assert_eq!(run.state, RunState::Completed);
    let told = ["rerouted to west", "retrying 3", "answered by east"];
    assert_eq!(kinds_of_models(&events), told);

    let down = ScriptedModel::new([Answer::Fails(Status(500))]);
    let alone = route("alone", call_settings(3), &[("east", down.clone())]);
    let (run, _) = run_on(&[alone], |_| {}).await;
    assert_eq!(run.error.expect("it failed").code, RunErrorCode::ModelUnavailable);
    assert_eq!(down.asked(), 3);
}

#[actix_rt::test]
async fn a_runs_own_fallback_models_come_after_its_model() {
    let down = ScriptedModel::new([Answer::Fails(Status(503))]);
    let up = ScriptedModel::new([Answer::Says("hello")]);
    let never = ScriptedModel::new([Answer::Says("never")]);
    let routes = [
        route("wanted", call_settings(1), &[("east", down)]),
        route("other", call_settings(1), &[("west", up)]),
        route("unasked", call_settings(1), &[("north", never.clone())]),
    ];
    let fall_back = |spec: &mut RunSpec| spec.fallback_models = vec!["gone".into(), "other".into()];
    let (run, events) = run_on(&routes, fall_back).await;
    assert_eq!(run.state, RunState::Completed);
    assert_eq!(kinds_of_models(&events), ["rerouted to west", "answered by west"]);
    assert_eq!(never.asked(), 0);
}

#[actix_rt::test]
async fn a_cancel_while_a_provider_answers_ends_the_run_with_what_was_said() {
    let stalls = ScriptedModel::new([Answer::StallsAfter("hel")]);
    let route = route("one", call_settings(1), &[("east", stalls)]);
    let server = InProcess::plain().await;
    let supervisor = server.supervisor_on(&[route], 1).await;
    let run = started(&supervisor, start_on("one")).await;
    server.run_after(run, "text.delta").await;
    supervisor.cancel(run).await.expect("it answers");
    assert_eq!(server.ended(run).await.state, RunState::Cancelled);
    let items = server.items(run).await;
    assert_eq!(items.last().expect("an item").status, ItemStatus::Incomplete);
    server.finish(supervisor).await;
}

/// A run whose model wants a tool that is not there, again and again.
fn limited(limits: impl FnOnce(&mut RunLimits)) -> StartRun {
    let simulate = json!({"tool_calls": [{"name": "unknown"}], "tool_rounds": 100});
    let mut start = start_of(simulate, &[]);
    let spec = Arc::make_mut(&mut start.spec);
    spec.limits.max_steps = 100;
    limits(&mut spec.limits);
    start
}

#[actix_rt::test]
async fn a_run_ends_once_it_has_used_what_it_may() {
    let server = InProcess::plain().await;
    let model = Arc::new(SimulatedModel::default());
    let supervisor = server.supervisor(model, Vec::new()).await;
    let run = started(&supervisor, limited(|limits| limits.max_total_tokens = Some(60))).await;
    let ended = server.ended(run).await;
    assert_eq!(ended.error.expect("it failed").code, RunErrorCode::BudgetExceeded);
    let mut used: Vec<u64> = usages(&server.events(run).await).iter().map(Usage::total).collect();
    assert!(used.iter().sum::<u64>() >= 60, "{used:?}");
    used.pop();
    assert!(used.iter().sum::<u64>() < 60, "one call over it at most: {used:?}");
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn a_run_whose_calls_cost_nothing_has_no_use_for_a_limit_of_cost() {
    let answers = ScriptedModel::new([Answer::Says("hello")]);
    let free = route("free", call_settings(1), &[("east", answers)]);
    let (run, events) = run_on(&[free], |spec| spec.limits.max_cost_usd = Some(Money::from_nanos(1))).await;
    assert_eq!(run.state, RunState::Completed);
    assert_eq!((run.progress.usage, run.progress.cost), (USAGE, Money::ZERO));
    let costs = events
        .iter()
        .any(|event| matches!(&event.body, EventBody::ModelCompleted { cost_usd, .. } if !cost_usd.is_zero()));
    assert!(!costs);
}
