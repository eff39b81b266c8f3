//! Kills a server with SIGKILL in the middle of tool calls, again and again, and counts at the other end what was done how often.
//!
//! ```sh
//! cargo run --release --example tool_crashes -- --kills 1000
//! cargo run --release --example tool_crashes -- --kills 200 --instances 3
//! ```
//!
//! Each run calls three web endpoints, two times each: `pay` must not be repeated, `book` acts once for one key, `look` changes nothing. The
//! endpoints count. After each kill the server is started again; a run that waits with `needs_review` is decided as a careful person would:
//! take the result if the endpoint has the payment, else try again. Exits with 1 if anything was done twice, not at all, or by nobody's order.
//!
//! With `--instances` it is a fleet: its instances die in turn, and the others take their runs over. That needs PostgreSQL and Redis
//! installed, and starts its own. `docs/reliability.md` says what it shows.

#[path = "../rig/mod.rs"]
mod rig;
mod trial;

use std::process::ExitCode;

use clap::Parser;

use rig::{Postgres, PostgresOptions, Redis, RedisMemory};
use trial::{FleetServices, Options};

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
    /// Instances of a fleet on PostgreSQL and Redis, instead of one server on the store inside it
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    instances: Option<u32>,
}

/// A PostgreSQL and a Redis, and a fleet's place on them. They end with this value.
struct Services {
    fleet: FleetServices,
    _postgres: Postgres,
    _redis: Redis,
}

impl Services {
    async fn start(instances: u32) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions::default()).await?;
        let redis = Redis::start(RedisMemory::Forgets).await?;
        Ok(Self {
            fleet: FleetServices {
                instances,
                database_url: postgres.fresh_schema().await?,
                redis_url: redis.url(),
            },
            _postgres: postgres,
            _redis: redis,
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let services = match arguments.instances {
        Some(instances) => Some(Services::start(instances).await?),
        None => None,
    };
    let options = Options {
        kills: arguments.kills,
        runs_at_once: arguments.runs,
        seed: arguments.seed,
        services: services.as_ref().map(|services| services.fleet.clone()),
    };
    let binary = rig::Binary::built().await?;
    let report = trial::play(&options, &binary).await?;
    println!("{report}");
    for violation in &report.violations {
        println!("✗ {violation}");
    }
    Ok(ExitCode::from(u8::from(!report.violations.is_empty())))
}
