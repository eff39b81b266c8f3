//! A round of chaos: a fleet, runs, clients that read them, things that go wrong meanwhile; and afterwards a look at everything that was
//! seen and is left, which must keep to the rules.
//!
//! | module | |
//! |---|---|
//! | `runs`, `faults` | what is to happen, drawn from a seed |
//! | `site` | the instances and what they stand on |
//! | `clients`, `injection`, `samples` | what happens: runs are started, read and cancelled; faults; somebody looks on |
//! | `evidence`, `stored` | what was seen, and what is left in PostgreSQL, Redis and at the provider |
//! | `checks` | the rules against the evidence |
//! | `report`, `remains` | what came of it, for people; and what helps to find out why a rule was broken |
//!
//! A module, not an example: `examples/chaos` and `tests/it` include it, beside the rig.

#![allow(dead_code, reason = "each program that includes it uses a part of it")]

mod checks;
mod clients;
mod evidence;
mod faults;
mod injection;
mod remains;
mod report;
mod runs;
mod samples;
mod site;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use faults::FaultKind;
pub(crate) use report::Report;

use crate::rig::Binary;
use evidence::Evidence;
use runs::Pace;
use samples::Sampler;
use site::Site;

/// How long the provider may take to notice that nobody listens any more.
const LONGEST_HANGING_UP: Duration = Duration::from_secs(10);

/// What a round is to be.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Decides everything that is drawn.
    pub(crate) seed: u64,
    /// How many instances.
    pub(crate) instances: usize,
    /// How many runs.
    pub(crate) runs: usize,
    /// How many faults.
    pub(crate) faults: usize,
    /// Of which kinds.
    pub(crate) fault_kinds: Vec<FaultKind>,
    /// Permits of each instance. The load is a bit more than all instances have together.
    pub(crate) capacity: u32,
    /// How long an instance is believed to live without a sign of life.
    pub(crate) lease: Duration,
    /// Whether PostgreSQL waits for the disk.
    pub(crate) fsync: bool,
}

/// Plays a round. An error: it could not be played. What broke a rule is in the report.
pub(crate) async fn play(options: &Options, binary: &Binary) -> anyhow::Result<Report> {
    let accounts = runs::accounts();
    let pace = Pace::of(options);
    let planned_runs = runs::draw(options, &accounts, pace);
    let planned_faults = faults::draw(options, pace.span);
    let site = Arc::new(Site::start(options, binary, &accounts).await?);
    let sampler = Sampler::start(&site.database_url, &accounts)?;

    let start = Instant::now();
    let (mut stories, faults) = tokio::join!(
        clients::play_all(site.clone(), planned_runs, start),
        injection::inject_all(site.clone(), planned_faults, start),
    );
    let took = start.elapsed();

    let instances = evidence::look_at_instances(&site, options).await;
    let hanging_up = tokio::time::timeout(LONGEST_HANGING_UP, site.upstream.until_open(0)).await;
    clients::read_again(&site, &mut stories).await;
    let samples = sampler.stop().await?;
    let (stored, streams) = evidence::read_all(&site).await?;
    let probes = evidence::probe(&site, &stories, &stored).await?;
    let evidence = Evidence {
        accounts,
        stories,
        faults,
        samples,
        stored,
        streams,
        calls: site.upstream.calls().await?,
        calls_are_over: hanging_up.is_ok_and(|all| all.is_ok()),
        instances,
        probes,
    };
    let verdict = checks::check(&evidence);
    let remains = if verdict.findings.is_empty() {
        None
    } else {
        Some(remains::keep(&evidence, &verdict)?)
    };
    Ok(Report::new(options, took, &evidence, verdict, remains))
}
