//! What can go wrong, and when: drawn from the seed.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::Options;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum FaultKind {
    /// SIGKILL for one instance; it comes back after a while
    Kill,
    /// SIGSTOP for one instance for longer than its lease, then SIGCONT
    Freeze,
    /// SIGTERM for one instance; it is started again when it has left
    Leave,
    /// SIGTERM for each instance in turn, each started again before the next
    RollingRestart,
    /// The connections of one instance to PostgreSQL are reset, and new ones too
    Cut,
    /// What one instance and PostgreSQL say to each other is swallowed
    BlackHole,
    /// PostgreSQL is stopped and started again
    PostgresRestart,
    /// Redis is killed and started again with nothing in it
    RedisRestart,
    /// Redis is killed and stays away for a while
    RedisGone,
    /// SIGKILL for all instances at once; never drawn unless it is asked for
    KillAll,
}

impl FaultKind {
    /// Those that are drawn unless others are asked for.
    pub(crate) const USUAL: [Self; 9] = [
        Self::Kill,
        Self::Freeze,
        Self::Leave,
        Self::RollingRestart,
        Self::Cut,
        Self::BlackHole,
        Self::PostgresRestart,
        Self::RedisRestart,
        Self::RedisGone,
    ];

    /// How long it lasts, in leases: at least and at most.
    const fn leases(self) -> (f64, f64) {
        match self {
            Self::Kill | Self::KillAll => (0.1, 3.0),
            // Longer than the lease: the instance must come back as a stranger.
            Self::Freeze => (1.2, 2.5),
            // Some end before the lease does: then nobody is to notice but the clients that wait.
            Self::Cut | Self::BlackHole => (0.3, 2.5),
            Self::RedisGone => (0.5, 5.0),
            Self::Leave | Self::RollingRestart | Self::PostgresRestart | Self::RedisRestart => (0.0, 0.0),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "kill -9",
            Self::Freeze => "SIGSTOP beyond the lease, SIGCONT",
            Self::Leave => "SIGTERM and start",
            Self::RollingRestart => "rolling restart",
            Self::Cut => "network to PostgreSQL cut",
            Self::BlackHole => "network to PostgreSQL a black hole",
            Self::PostgresRestart => "PostgreSQL restart",
            Self::RedisRestart => "Redis restart, empty",
            Self::RedisGone => "Redis gone",
            Self::KillAll => "kill -9, all at once",
        })
    }
}

/// A fault that is to be.
#[derive(Debug, Clone)]
pub(super) struct PlannedFault {
    pub(super) kind: FaultKind,
    /// Of those that concern one instance: which.
    pub(super) instance: usize,
    /// After the first start of a run.
    pub(super) at: Duration,
    /// How long it lasts: the instance is away, the network is broken.
    pub(super) lasts: Duration,
    /// PostgreSQL: whether it has to recover when it comes back.
    pub(super) is_crash: bool,
}

/// Draws as many faults as asked for, in the order of their moments, spread over `span`. Each kind comes once before one comes again.
pub(super) fn draw(options: &Options, span: Duration) -> Vec<PlannedFault> {
    // A stream of its own: the same faults, whatever the runs are.
    let mut dice = StdRng::seed_from_u64(options.seed ^ 0xFA17);
    let mut faults: Vec<PlannedFault> = Vec::new();
    let mut unused: Vec<FaultKind> = Vec::new();
    // Each has a part of the span to itself, and begins somewhere in it.
    let part = span.div_f64(options.faults.max(1) as f64);
    for index in 0..options.faults {
        if unused.is_empty() {
            unused.clone_from(&options.fault_kinds);
        }
        let Some(kind) = unused.choose(&mut dice).copied() else {
            break;
        };
        unused.retain(|other| *other != kind);
        let (least, most) = kind.leases();
        faults.push(PlannedFault {
            kind,
            instance: dice.random_range(0..options.instances),
            at: part.mul_f64(index as f64 + dice.random_range(0.1..0.9)),
            lasts: options.lease.mul_f64(dice.random_range(least..=most)),
            is_crash: dice.random_bool(0.5),
        });
    }
    faults
}
