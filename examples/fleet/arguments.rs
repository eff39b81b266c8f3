//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures a fleet that it starts itself, with a PostgreSQL, a Redis and a simulated provider.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(long, value_enum, default_value = "scale")]
    pub(crate) what: What,
    /// scale: up to how many instances
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) instances: u32,
    /// scale: concurrent runs of each instance
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: u32,
    /// scale: how long a run takes, seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) run_seconds: u64,
    /// scale: draw the figures as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) chart: Option<PathBuf>,
    /// takeover: how often an instance is killed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repetitions: u32,
    /// takeover: runs that the killed instance has
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// viewers: how many, each of a run of its own
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// viewers: how long the CPU is watched, seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch_seconds: u64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Concurrent runs of 1, 2, 3, … instances, against instances × runs per instance
    Scale,
    /// From kill -9 of an instance to the first event under the next epoch
    Takeover,
    /// Redis connections and CPU of an instance on which many read runs of another
    Viewers,
}
