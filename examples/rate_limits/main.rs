//! Uses the keys of a provider to their limits and shows that it does: many runs of several accounts, four keys in two regions that really
//! enforce their limits, two instances that share them.
//!
//! ```sh
//! cargo run --release --example rate_limits -- --chart docs/rate_limits.svg        # a key, a region and an instance die on the way
//! cargo run --release --example rate_limits -- --disturb none
//! ```
//!
//! Needs PostgreSQL and Redis installed, and starts its own. `trial` is what happens; `docs/models.md` says what it shows.

mod arguments;
mod chart;
#[path = "../simulate_load/palette.rs"]
mod palette;
#[path = "../rig/mod.rs"]
mod rig;
mod trial;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use arguments::Arguments;

// One thread: the machine belongs to the fleet.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("the limit of open files cannot be raised")?;
    let binary = rig::Binary::built().await?;
    let report = trial::play(&arguments.options(), &binary).await?;
    report.print();
    if let Some(path) = &arguments.chart {
        chart::draw(path, &report)?;
    }
    Ok(ExitCode::from(u8::from(!report.is_as_wanted())))
}
