//! What a call makes of keys that are refused, forbidden to do something or at their limit, also in the middle of an answer.

use std::sync::Arc;

use callboard_actors::error::RunErrorCode;
use callboard_actors::event::{Event, EventBody};
use callboard_actors::llm::ModelRoute;
use callboard_actors::ports::ModelErrorKind::Status;
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::run_state::RunState;

use crate::harness::{
    Answer, InProcess, ScriptedModel, call_settings, keyed_route, route, start_on, started, until_some,
};

async fn run_on(route: &Arc<ModelRoute>) -> (RunRecord, Vec<Event>) {
    let server = InProcess::plain().await;
    let supervisor = server.supervisor_on(std::slice::from_ref(route), 1).await;
    let run = started(&supervisor, start_on(&route.name)).await;
    let ended = (server.ended(run).await, server.events(run).await);
    server.finish(supervisor).await;
    ended
}

/// Which of the route's keys are set aside.
async fn set_aside(route: &ModelRoute, limits: &Arc<dyn RateLimits>) -> Vec<bool> {
    let usage = limits.usage(&route.targets[0].keys).await;
    usage.iter().map(|key| key.refused_for.is_some()).collect()
}

fn said(events: &[Event]) -> Vec<String> {
    let whole = events.iter().filter_map(|event| match &event.body {
        EventBody::ItemCompleted { item, .. } => item.assistant_text(),
        _ => None,
    });
    whole.collect()
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    let of_models = |event: &&Event| event.body.kind().starts_with("model.") || event.body.kind() == "item.incomplete";
    events.iter().filter(of_models).map(|event| event.body.kind()).collect()
}

#[actix_rt::test]
async fn what_a_key_had_said_before_it_was_refused_is_void() {
    for refusal in [Status(401), Status(402)] {
        let first = ScriptedModel::new([Answer::FailsAfter("hel", refusal)]);
        let second = ScriptedModel::new([Answer::Says("hello")]);
        let (route, _) = keyed_route("keyed", call_settings(1), "east", &[&first, &second]);
        let (run, events) = run_on(&route).await;
        assert_eq!(run.state, RunState::Completed);
        assert_eq!(said(&events), ["hello"]);
        if first.asked() == 1 {
            assert_eq!(kinds(&events), ["item.incomplete", "model.retrying", "model.completed"]);
            assert!(
                run.progress.usage.output_tokens > 20,
                "what was said and thrown away counts too"
            );
        }
    }
}

#[actix_rt::test]
async fn a_key_that_may_not_do_what_another_may_is_set_aside() {
    let models = [(); 2].map(|()| ScriptedModel::new([Answer::Fails(Status(403)), Answer::Says("hello")]));
    let (route, limits) = keyed_route("keyed", call_settings(1), "east", &[&models[0], &models[1]]);
    // Whichever is asked first is refused, then the other one is.
    let (run, _) = run_on(&route).await;
    assert_eq!(run.error.expect("it failed").code, RunErrorCode::ModelRejected);
    assert_eq!([models[0].asked(), models[1].asked()], [1, 1]);
    assert_eq!(
        set_aside(&route, &limits).await,
        [false, false],
        "nobody may do this: no key's fault"
    );

    let forbidden = ScriptedModel::new([Answer::Fails(Status(403))]);
    let allowed = ScriptedModel::new([Answer::Says("hello")]);
    let (route, limits) = keyed_route("keyed", call_settings(1), "east", &[&forbidden, &allowed]);
    until_some("the forbidden key to be asked", || async {
        let (run, _) = run_on(&route).await;
        assert_eq!(run.state, RunState::Completed);
        (forbidden.asked() == 1).then_some(())
    })
    .await;
    until_some("the key to be set aside", || async {
        (set_aside(&route, &limits).await == [true, false]).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn keys_at_their_limits_cost_a_call_no_tries() {
    let full = [(); 5].map(|()| ScriptedModel::new([Answer::Fails(Status(429))]));
    let free = ScriptedModel::new([Answer::Says("hello")]);
    let keys: Vec<_> = full.iter().chain([&free]).collect();
    let (route, _) = keyed_route("keyed", call_settings(1), "east", &keys);
    let (run, events) = run_on(&route).await;
    assert_eq!(run.state, RunState::Completed, "{:?}", run.error);
    let met: usize = full.iter().map(|model| model.asked()).sum();
    let retried = events
        .iter()
        .filter(|event| matches!(event.body, EventBody::ModelRetrying { .. }));
    assert_eq!(retried.count(), met);
}

#[actix_rt::test]
async fn a_provider_without_keys_that_is_at_its_limit_is_passed_over() {
    let full = ScriptedModel::new([Answer::Fails(Status(429))]);
    let free = ScriptedModel::new([Answer::Says("hello")]);
    let both = route(
        "both",
        call_settings(1),
        &[("own", full.clone()), ("cloud", free.clone())],
    );
    let (run, _) = run_on(&both).await;
    assert_eq!(run.state, RunState::Completed);
    assert_eq!([full.asked(), free.asked()], [1, 1]);
}
