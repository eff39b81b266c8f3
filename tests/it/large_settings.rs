//! What a run is to do may be megabytes. It is in memory once.

use std::sync::Arc;

use callboard_actors::run_state::RunState;
use serde_json::json;

use crate::harness::{Answer, InProcess, ScriptedModel, start_of};

#[actix_rt::test]
async fn the_settings_of_a_run_are_not_copied_on_its_way_in() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::behind_a_turnstile([Answer::Says("done")]);
    let supervisor = server.supervisor(model.clone(), Vec::new()).await;
    let mut runs = Vec::new();
    for state in [RunState::Running, RunState::Queued] {
        let start = start_of(json!({}), &[]);
        let spec = start.spec.clone();
        let run = supervisor.start(start).await.expect("it comes in").run;
        assert_eq!(run.state, state);
        assert!(Arc::ptr_eq(&run.spec, &spec));
        runs.push(run.id);
    }
    model.turnstile.add_permits(2);
    for run in runs {
        assert_eq!(server.ended(run).await.state, RunState::Completed);
    }
    server.finish(supervisor).await;
}
