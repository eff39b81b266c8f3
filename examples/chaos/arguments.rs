//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::round::{FaultKind, Options};

/// Plays a round of chaos on a fleet of its own and checks that every rule held.
///
/// Starts PostgreSQL, Redis, a simulated provider and the instances itself. Exits with 1 if a rule was broken, and keeps what helps to
/// find out why.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Instances of the fleet
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    instances: u16,
    /// Runs that clients start
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Things that go wrong meanwhile
    #[arg(long, default_value_t = 10)]
    faults: usize,
    /// Decides which faults, runs and moments are drawn [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Kinds of faults to draw from, separated by commas [default: all but kill-all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    faults_of: Vec<FaultKind>,
    /// Concurrent runs of each instance; the load is a bit more than all have together
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    capacity: u32,
    /// How long an instance is believed to live without a sign of life, milliseconds
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(500..))]
    lease_ms: u64,
    /// Let PostgreSQL not wait for the disk: quicker, and no difference to what is checked
    #[arg(long)]
    no_fsync: bool,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn options(&self) -> Options {
        let fault_kinds = if self.faults_of.is_empty() {
            FaultKind::USUAL.to_vec()
        } else {
            self.faults_of.clone()
        };
        Options {
            seed: self.seed.unwrap_or_else(|| rand::random_range(0..1_000_000)),
            instances: self.instances.into(),
            runs: self.runs,
            faults: self.faults,
            fault_kinds,
            capacity: self.capacity,
            lease: Duration::from_millis(self.lease_ms),
            fsync: !self.no_fsync,
        }
    }
}
