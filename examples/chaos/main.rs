//! Breaks a fleet in every way there is while it works, and checks that nobody lost anything.
//!
//! ```sh
//! cargo run --release --example chaos -- --instances 3 --runs 200 --faults 10 --seed 7
//! cargo run --release --example chaos -- --runs 1000 --faults 20 --faults-of kill --report report.md
//! ```
//!
//! Needs PostgreSQL and Redis installed, and starts its own. `round` is what happens; `docs/reliability.md` says what it shows.

mod arguments;
#[path = "../rig/mod.rs"]
mod rig;
mod round;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use arguments::Arguments;

// One thread: the machine belongs to the fleet.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
    let options = arguments.options();
    eprintln!("seed {}", options.seed);
    let binary = rig::Binary::built().await?;
    let report = round::play(&options, &binary).await?;
    report.print();
    if options.faults > 0 && report.figures().recovered_runs == 0 {
        eprintln!("no run was in the way of a fault: this tried little");
    }
    if let Some(remains) = report.remains() {
        eprintln!("what helps to find out why is kept in {}", remains.display());
    }
    if let Some(path) = &arguments.report {
        let text = report.to_markdown();
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::from(u8::from(!report.findings().is_empty())))
}
