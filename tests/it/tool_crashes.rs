//! SIGKILL in the middle of tool calls, with endpoints that count: a few of what `examples/tool_crashes` does a thousand times.

use crate::rig::{Binary, fresh_schema, shared_postgres_url, shared_redis_url};
use crate::tool_crash_trial::{FleetServices, Options, play};

async fn nothing_is_repeated_that_must_not_be(options: Options) {
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

#[tokio::test]
async fn what_must_not_be_repeated_is_done_once_whenever_the_server_dies() {
    nothing_is_repeated_that_must_not_be(Options {
        kills: 12,
        runs_at_once: 6,
        seed: 3,
        services: None,
    })
    .await;
}

#[tokio::test]
async fn what_must_not_be_repeated_is_done_once_whichever_instance_dies() {
    let database_url = fresh_schema(&shared_postgres_url().unwrap()).await.unwrap();
    nothing_is_repeated_that_must_not_be(Options {
        kills: 8,
        runs_at_once: 8,
        seed: 3,
        services: Some(FleetServices {
            instances: 2,
            database_url,
            redis_url: shared_redis_url().unwrap(),
        }),
    })
    .await;
}
