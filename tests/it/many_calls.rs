//! An answer that asks for more tool calls than anybody would make.

use callboard_actors::item::ItemContent;
use callboard_actors::run_state::RunState;
use callboard_actors::services::{RunServices, RunSettings};
use serde_json::json;

use crate::harness::{Answer, InProcess, ScriptedModel, start_of, started};

#[actix_rt::test]
async fn each_call_beyond_the_limit_is_answered_with_an_error_and_the_run_goes_on() {
    const CALLS: u32 = 1500;
    let server = InProcess::plain().await;
    let model = ScriptedModel::new([Answer::Calls(CALLS), Answer::Says("done")]);
    let services = server.services(model, Vec::new());
    let services = RunServices {
        settings: RunSettings {
            max_answer_bytes: 1_000_000,
            ..services.settings
        },
        ..services
    };
    let supervisor = server.supervisor_with(services, 1).await;
    let run = started(&supervisor, start_of(json!({}), &[])).await;
    let ended = server.ended(run).await;
    assert_eq!((ended.state, ended.error), (RunState::Completed, None));
    let (mut calls, mut results, mut too_many) = (0, 0, 0);
    for item in server.items(run).await {
        match item.content {
            ItemContent::ToolCall { .. } => calls += 1,
            ItemContent::ToolResult { output, is_error, .. } => {
                assert!(is_error, "{output}");
                results += 1;
                too_many += u32::from(output.starts_with("too many tool calls"));
            }
            _ => {}
        }
    }
    assert_eq!((calls, results, too_many), (CALLS, CALLS, CALLS - 4));
    server.finish(supervisor).await;
}
