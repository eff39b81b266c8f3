//! A trial of the rate limits: more runs than the keys have room for, and afterwards a look into the journals of those who enforced them.
//!
//! | module | |
//! |---|---|
//! | `runs` | who starts which runs: drawn from a seed |
//! | `site` | the two regions with their keys, the instances and what they stand on |
//! | `course` | what happens: runs are posted, and things go wrong |
//! | `evidence` | what the regions and the database have of it when it is over |
//! | `windows` | use of a key within a minute |
//! | `waits` | who waited when, and who got what there was |
//! | `report` | what came of it, for people |
//!
//! A module, not an example: `examples/rate_limits` and `tests/it` include it, beside the rig.

#![allow(dead_code, reason = "each program that includes it uses a part of it")]

mod course;
mod evidence;
mod report;
mod runs;
mod site;
mod waits;
mod windows;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use report::Report;

use crate::rig::Binary;
use site::Site;

/// What the limits are for: "a minute" of Callboard's and of the regions'.
pub(crate) const WINDOW_US: i64 = 60_000_000;

/// What a trial is to be.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Decides everything that is drawn.
    pub(crate) seed: u64,
    /// How many runs.
    pub(crate) runs: usize,
    /// How many instances.
    pub(crate) instances: usize,
    /// Calls in a minute that each key has room for, about: by its calls per minute, or by its tokens per minute.
    pub(crate) calls_per_minute: u64,
    /// How long it takes to post all runs; zero: all at once.
    pub(crate) posted_within: Duration,
    /// Whether a key, a region and an instance die.
    pub(crate) is_disturbed: bool,
    /// How long the region is down.
    pub(crate) outage: Duration,
    /// How long an instance is believed to live without a sign of life.
    pub(crate) lease: Duration,
    /// Whether PostgreSQL waits for the disk.
    pub(crate) fsync: bool,
}

/// Plays a trial. An error: it could not be played. Whether the targets were met is in the report.
pub(crate) async fn play(options: &Options, binary: &Binary) -> anyhow::Result<Report> {
    let accounts = runs::accounts();
    let planned = runs::draw(options, &accounts);
    let mut site = Site::start(options, binary, &accounts).await?;
    let course = course::play(options, &mut site, planned).await?;
    let evidence = evidence::gather(&site).await?;
    Ok(Report::new(options, &accounts, &site.keys(), course, evidence))
}

/// Microseconds since 1970, as the regions' journals have them.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
