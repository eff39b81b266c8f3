//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::trial::Options;

/// Measures how much of what its keys allow a fleet uses, how fairly, and how often it is told off.
///
/// Starts PostgreSQL, Redis, two regions of a simulated provider and the instances itself. Exits with 1 if a target was missed.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Runs of all accounts together
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..))]
    runs: u32,
    /// Instances of the fleet
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    instances: u16,
    /// Calls that each of the four keys allows in a minute
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(10..))]
    calls_per_minute: u32,
    /// Within how many seconds all runs are posted, one after the other; 0: all at once
    #[arg(long, default_value_t = 60)]
    post_seconds: u64,
    /// What goes wrong on the way
    #[arg(long, value_enum, default_value = "all")]
    disturb: Disturb,
    /// How long the region is down, seconds
    #[arg(long, default_value_t = 30)]
    outage_seconds: u64,
    /// Decides what is in the runs and in which order they come
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw the course of it as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Disturb {
    /// Nothing
    None,
    /// A key is revoked, a region is down for a while, an instance is killed: when 1/4, 2/4 and 3/4 of the runs have ended
    All,
}

impl Arguments {
    pub(crate) fn options(&self) -> Options {
        Options {
            seed: self.seed,
            runs: self.runs as usize,
            instances: self.instances.into(),
            calls_per_minute: self.calls_per_minute.into(),
            posted_within: Duration::from_secs(self.post_seconds),
            is_disturbed: self.disturb == Disturb::All,
            outage: Duration::from_secs(self.outage_seconds),
            lease: Duration::from_secs(5),
            fsync: true,
        }
    }
}
