//! Kills a server with SIGKILL in the middle of tool calls, again and again, and counts at the other end what was done how often.
//!
//! ```sh
//! cargo run --release --example tool_crashes -- --kills 1000
//! ```
//!
//! Each run calls three web endpoints, two times each: `pay` must not be repeated, `book` acts once for one key, `look` changes nothing. The
//! endpoints count. After each kill the server is started again; a run that waits with `needs_review` is decided as a careful person would:
//! take the result if the endpoint has the payment, else try again. Exits with 1 if anything was done twice, not at all, or by nobody's order.
//! `docs/reliability.md` says what it shows.

#[path = "../rig/mod.rs"]
mod rig;
mod trial;

use std::process::ExitCode;

use clap::Parser;

use trial::Options;

#[derive(Parser)]
struct Arguments {
    /// How often to kill the server
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Runs that are under way when it dies
    #[arg(long, default_value_t = 8)]
    runs: u32,
    /// Decides when it dies
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options {
        kills: arguments.kills,
        runs_at_once: arguments.runs,
        seed: arguments.seed,
    };
    let binary = rig::Binary::built().await?;
    let report = trial::play(&options, &binary).await?;
    println!("{report}");
    for violation in &report.violations {
        println!("✗ {violation}");
    }
    Ok(ExitCode::from(u8::from(!report.violations.is_empty())))
}
