//! Puts load on a Callboard server and measures what comes of it.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --example simulate_load -- --runs 5000 --concurrency 100
//! cargo run --release --example simulate_load -- --mix free=1,pro=3 --tokens-per-second 50
//! cargo run --release --example simulate_load -- --scenario all --json figures.json --chart figures.svg
//! ```
//!
//! | module | |
//! |---|---|
//! | `arguments` | the command line |
//! | `launch`, `site` | the processes under load, or the server of `--url` |
//! | `http`, `watch` | a client that costs next to nothing; one run seen with it |
//! | `load` | many of them in a closed loop |
//! | `probe`, `distribution` | measuring |
//! | `scenarios`, `waiting`, `answers` | what is done, and the targets |
//! | `report`, `chart`, `palette` | tables, JSON, SVG |

mod answers;
mod arguments;
mod chart;
mod distribution;
mod http;
mod launch;
mod load;
mod palette;
mod probe;
mod report;
mod scenarios;
mod site;
mod waiting;
mod watch;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde_json::json;

use arguments::{Arguments, Scenario};
use report::Report;

// One thread: the machine belongs to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: the figures say nothing about a release build, which the targets are for.");
    }
    let scenarios = match arguments.scenario {
        None => vec![None],
        Some(Scenario::All) => [
            Scenario::Latency,
            Scenario::Throughput,
            Scenario::Streaming,
            Scenario::Waiting,
            Scenario::Answers,
        ]
        .map(Some)
        .to_vec(),
        chosen => vec![chosen],
    };
    let mut reports = Vec::new();
    for scenario in scenarios {
        let report = run(scenario, &arguments).await?;
        report.print();
        reports.push(report);
    }
    if let Some(path) = &arguments.json {
        let document = json!({
            "debug_build": cfg!(debug_assertions),
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "scenarios": reports.iter().map(Report::to_json).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_string_pretty(&document)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.chart {
        chart::draw(path, &reports).with_context(|| format!("cannot draw {}", path.display()))?;
    }
    let missed = !reports.iter().all(Report::all_targets_met);
    Ok(ExitCode::from(u8::from(arguments.check && missed)))
}

async fn run(scenario: Option<Scenario>, arguments: &Arguments) -> anyhow::Result<Report> {
    match scenario {
        Some(Scenario::Latency) => scenarios::latency(arguments).await,
        Some(Scenario::Throughput) => scenarios::throughput(arguments).await,
        Some(Scenario::Streaming) => scenarios::streaming(arguments).await,
        Some(Scenario::Waiting) => waiting::waiting(arguments).await,
        Some(Scenario::Answers) => answers::answers(arguments).await,
        None | Some(Scenario::All) => scenarios::free_load(arguments).await,
    }
}
