//! SIGKILL in the middle of tool calls, with endpoints that count: a few of what `examples/tool_crashes` does a thousand times.

use crate::rig::Binary;
use crate::tool_crash_trial::{Options, play};

#[tokio::test]
async fn what_must_not_be_repeated_is_done_once_whenever_the_server_dies() {
    let options = Options {
        kills: 12,
        runs_at_once: 6,
        seed: 3,
    };
    let report = play(&options, &Binary::at(env!("CARGO_BIN_EXE_callboard")))
        .await
        .unwrap();
    println!("{report}");
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(
        report.reviews > 0,
        "no call was in the way of a kill: this tried nothing"
    );
}
