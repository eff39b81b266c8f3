//! How much one instance takes on, worked out from the size of its machine. Pure formulas; every constant is a parameter.
//!
//! The shipped constants are those of the system that Callboard succeeds: 10 runs per CPU, 200 MB per run, at most 2000 runs. Its
//! published figures (32 CPUs and 128 GB give 320 runs, and the memory would allow 640) hold with decimal units only: 128 GB is
//! 128,000,000,000 bytes and 200 MB is 200,000,000. With powers of 1024 the memory would allow 655. So sizes are decimal here.

use std::fmt;
use std::time::Duration;

/// What the formulas look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineSize {
    /// CPUs that this process may use at once.
    pub cpus: u32,
    /// Bytes of memory that this process may use.
    pub memory_bytes: u64,
}

/// The constants of the formulas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CapacityParameters {
    /// Concurrent runs per CPU.
    pub runs_per_cpu: u32,
    /// Bytes of memory per run; 0 means that memory decides nothing.
    pub memory_per_run: u64,
    /// Concurrent runs at most, as far as the formula goes.
    pub ceiling: u32,
    /// Concurrent runs, instead of the formula.
    pub max_concurrent_runs: Option<u32>,
    /// Threads for blocking work, at least.
    pub blocking_threads_minimum: u32,
    /// Database connections per concurrent run.
    pub connections_per_run: u32,
    /// What the product of runs and connections per run is multiplied with.
    pub connection_headroom: f64,
    /// Database connections at most, as far as the formula goes.
    pub connections_ceiling: u32,
    /// Database connections, instead of the formula.
    pub max_connections: Option<u32>,
}

/// What decided how many runs there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// CPUs × runs per CPU.
    Cpus,
    /// Memory / memory per run.
    Memory,
    /// The ceiling.
    Ceiling,
    /// The operator, by `max_concurrent_runs`.
    Override,
    /// The machine is too small for a single run by the formula; there is always one.
    Minimum,
}

impl DecidedBy {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpus => "cpus",
            Self::Memory => "memory",
            Self::Ceiling => "ceiling",
            Self::Override => "override",
            Self::Minimum => "minimum",
        }
    }
}

/// How many runs an instance takes at once, and how that came about. `Display` is one line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimit {
    /// Concurrent runs; at least 1.
    pub runs: u32,
    /// What decided.
    pub decided_by: DecidedBy,
    /// What the CPUs alone would allow.
    pub cpus_allow: u64,
    /// What the memory alone would allow; `u64::MAX` if memory decides nothing.
    pub memory_allows: u64,
    /// What the formula never passes.
    pub ceiling: u32,
    machine: MachineSize,
    runs_per_cpu: u32,
    memory_per_run: u64,
}

impl CapacityParameters {
    /// `min(cpus × runs_per_cpu, memory / memory_per_run, ceiling)`, at least 1, unless `max_concurrent_runs` says otherwise.
    pub fn concurrent_runs(&self, machine: MachineSize) -> RunLimit {
        let cpus_allow = u64::from(machine.cpus) * u64::from(self.runs_per_cpu);
        let memory_allows = machine
            .memory_bytes
            .checked_div(self.memory_per_run)
            .unwrap_or(u64::MAX);
        let by_formula = cpus_allow.min(memory_allows).min(u64::from(self.ceiling));
        let (runs, decided_by) = match self.max_concurrent_runs {
            Some(runs) => (u64::from(runs.max(1)), DecidedBy::Override),
            None if by_formula == 0 => (1, DecidedBy::Minimum),
            None if by_formula == cpus_allow => (by_formula, DecidedBy::Cpus),
            None if by_formula == memory_allows => (by_formula, DecidedBy::Memory),
            None => (by_formula, DecidedBy::Ceiling),
        };
        RunLimit {
            runs: saturated(runs),
            decided_by,
            cpus_allow,
            memory_allows,
            ceiling: self.ceiling,
            machine,
            runs_per_cpu: self.runs_per_cpu,
            memory_per_run: self.memory_per_run,
        }
    }

    /// `min(runs × connections_per_run × connection_headroom, connections_ceiling)`, at least 1, unless `max_connections` says
    /// otherwise.
    pub fn database_connections(&self, runs: u32) -> u32 {
        if let Some(connections) = self.max_connections {
            return connections.max(1);
        }
        let wanted = f64::from(runs) * f64::from(self.connections_per_run) * self.connection_headroom;
        let bounded = wanted.ceil().min(f64::from(self.connections_ceiling)).max(1.0);
        // Between 1 and a u32: the cast is exact.
        bounded as u32
    }

    /// `max(cpus, blocking_threads_minimum)`.
    pub fn blocking_threads(&self, machine: MachineSize) -> u32 {
        machine.cpus.max(self.blocking_threads_minimum).max(1)
    }
}

/// Concurrent runs of a fleet: `instances × runs per instance`.
pub fn fleet_runs(instances: u32, runs_per_instance: u32) -> u64 {
    u64::from(instances) * u64::from(runs_per_instance)
}

/// Runs that end per hour when all places are always taken: `concurrent × 1 h / duration`. A run of no duration counts as one
/// of a millisecond.
pub fn runs_per_hour(concurrent_runs: u64, run_duration: Duration) -> u64 {
    const HOUR_IN_MILLISECONDS: u128 = 3_600_000;
    let per_hour = u128::from(concurrent_runs) * HOUR_IN_MILLISECONDS / run_duration.as_millis().max(1);
    u64::try_from(per_hour).unwrap_or(u64::MAX)
}

impl fmt::Display for RunLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = counted(u64::from(self.runs), "run");
        let cpus = format!(
            "{} × {}",
            counted(u64::from(self.machine.cpus), "CPU"),
            self.runs_per_cpu
        );
        let memory = match self.memory_allows {
            u64::MAX => "memory is not counted".to_owned(),
            allows => format!("memory would allow {allows}"),
        };
        match self.decided_by {
            DecidedBy::Cpus => write!(formatter, "{runs}: {cpus}; {memory}; ceiling {}", self.ceiling),
            DecidedBy::Memory => write!(
                formatter,
                "{runs}: {} of memory / {}; CPUs would allow {}; ceiling {}",
                decimal_size(self.machine.memory_bytes),
                decimal_size(self.memory_per_run),
                self.cpus_allow,
                self.ceiling
            ),
            DecidedBy::Ceiling => write!(
                formatter,
                "{runs}: the ceiling; CPUs would allow {}; {memory}",
                self.cpus_allow
            ),
            DecidedBy::Override => write!(
                formatter,
                "{runs}: set by max_concurrent_runs; CPUs would allow {}; {memory}; ceiling {}",
                self.cpus_allow, self.ceiling
            ),
            DecidedBy::Minimum => write!(
                formatter,
                "{runs}: the least there can be; CPUs would allow {}; {memory}; ceiling {}",
                self.cpus_allow, self.ceiling
            ),
        }
    }
}

/// A size as people write it: `24 GB`, `1.5 GB`, `200 MB`. Powers of 1000, at most one decimal, rounded to the nearest.
pub fn decimal_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "KB"),
    ];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        rest => format!("{}.{rest} {name}", tenths / 10),
    }
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHIPPED: CapacityParameters = CapacityParameters {
        runs_per_cpu: 10,
        memory_per_run: 200_000_000,
        ceiling: 2000,
        max_concurrent_runs: None,
        blocking_threads_minimum: 16,
        connections_per_run: 20,
        connection_headroom: 1.5,
        connections_ceiling: 500,
        max_connections: None,
    };

    const fn machine(cpus: u32, gigabytes: u64) -> MachineSize {
        MachineSize {
            cpus,
            memory_bytes: gigabytes * 1_000_000_000,
        }
    }

    #[test]
    fn the_published_figures_come_out() {
        let limit = SHIPPED.concurrent_runs(machine(32, 128));
        assert_eq!((limit.runs, limit.memory_allows), (320, 640));
        assert_eq!(limit.decided_by, DecidedBy::Cpus);
        let (two_minutes, five_minutes) = (Duration::from_secs(120), Duration::from_secs(300));
        assert_eq!(fleet_runs(5, 64), 320);
        assert_eq!(
            (runs_per_hour(320, five_minutes), runs_per_hour(320, two_minutes)),
            (3_840, 9_600)
        );
        assert_eq!(fleet_runs(10, 128), 1_280);
        assert_eq!(
            (runs_per_hour(1_280, five_minutes), runs_per_hour(1_280, two_minutes)),
            (15_360, 38_400)
        );
        assert_eq!(runs_per_hour(640, five_minutes), 7_680);
        assert_eq!(SHIPPED.database_connections(320), 500);
        assert_eq!(SHIPPED.database_connections(10), 300);
        assert_eq!(SHIPPED.blocking_threads(machine(2, 4)), 16);
        assert_eq!(SHIPPED.blocking_threads(machine(32, 128)), 32);
    }

    #[test]
    fn the_recommended_sizes_lie_within_what_was_recommended() {
        for (cpus, gigabytes, least, most) in [(1, 2, 5, 10), (2, 4, 10, 20), (4, 8, 20, 50), (8, 16, 50, 100)] {
            let runs = SHIPPED.concurrent_runs(machine(cpus, gigabytes)).runs;
            assert!((least..=most).contains(&runs), "{cpus} CPUs, {gigabytes} GB: {runs}");
        }
    }

    #[test]
    fn one_line_says_how_it_came_about() {
        let said = |parameters: CapacityParameters, machine| parameters.concurrent_runs(machine).to_string();
        assert_eq!(
            said(SHIPPED, machine(2, 24)),
            "20 runs: 2 CPUs × 10; memory would allow 120; ceiling 2000"
        );
        assert_eq!(
            said(SHIPPED, machine(4, 2)),
            "10 runs: 2 GB of memory / 200 MB; CPUs would allow 40; ceiling 2000"
        );
        assert_eq!(
            said(SHIPPED, machine(256, 1024)),
            "2000 runs: the ceiling; CPUs would allow 2560; memory would allow 5120"
        );
        assert_eq!(
            said(SHIPPED, machine(1, 0)),
            "1 run: the least there can be; CPUs would allow 10; memory would allow 0; ceiling 2000"
        );
        let overridden = CapacityParameters {
            max_concurrent_runs: Some(64),
            memory_per_run: 0,
            ..SHIPPED
        };
        assert_eq!(
            said(overridden, machine(1, 2)),
            "64 runs: set by max_concurrent_runs; CPUs would allow 10; memory is not counted; ceiling 2000"
        );
    }

    #[test]
    fn overrides_win_and_are_never_zero() {
        let overridden = CapacityParameters {
            max_concurrent_runs: Some(5_000),
            max_connections: Some(0),
            ..SHIPPED
        };
        assert_eq!(overridden.concurrent_runs(machine(1, 1)).runs, 5_000);
        assert_eq!(overridden.database_connections(5_000), 1);
    }

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (200_000_000, "200 MB"),
            (1_500_000_000, "1.5 GB"),
            (25_252_000_000, "25.3 GB"),
        ] {
            assert_eq!(decimal_size(bytes), text);
        }
    }

    prop_compose! {
        fn any_parameters()(
            runs_per_cpu in 0u32.., memory_per_run in 0u64.., ceiling in 0u32..,
            max_concurrent_runs in proptest::option::of(0u32..), max_connections in proptest::option::of(0u32..),
            blocking_threads_minimum in 0u32.., connections_per_run in 0u32..,
            connection_headroom in 0.0f64..1e12, connections_ceiling in 0u32..,
        ) -> CapacityParameters {
            CapacityParameters {
                runs_per_cpu, memory_per_run, ceiling, max_concurrent_runs, blocking_threads_minimum,
                connections_per_run, connection_headroom, connections_ceiling, max_connections,
            }
        }
    }

    proptest! {
        #[test]
        fn there_is_always_one_and_never_more_than_each_bound(
            parameters in any_parameters(), cpus in 0u32.., memory_bytes in 0u64..,
        ) {
            let machine = MachineSize { cpus, memory_bytes };
            let limit = parameters.concurrent_runs(machine);
            prop_assert!(limit.runs >= 1);
            prop_assert!(parameters.database_connections(limit.runs) >= 1);
            prop_assert!(parameters.blocking_threads(machine) >= 1);
            let runs = u64::from(limit.runs);
            match limit.decided_by {
                DecidedBy::Override => prop_assert_eq!(Some(limit.runs), parameters.max_concurrent_runs.map(|runs| runs.max(1))),
                DecidedBy::Minimum => prop_assert_eq!(limit.cpus_allow.min(limit.memory_allows).min(u64::from(limit.ceiling)), 0),
                _ => prop_assert!(runs <= limit.cpus_allow && runs <= limit.memory_allows && limit.runs <= limit.ceiling),
            }
        }

        #[test]
        fn a_bigger_machine_never_takes_fewer(
            parameters in any_parameters(), cpus in 0u32..u32::MAX, memory_bytes in 0u64..u64::MAX, more in 0u32..1000,
        ) {
            let small = parameters.concurrent_runs(MachineSize { cpus, memory_bytes });
            let big = MachineSize {
                cpus: cpus.saturating_add(more),
                memory_bytes: memory_bytes.saturating_add(u64::from(more)),
            };
            prop_assert!(parameters.concurrent_runs(big).runs >= small.runs);
        }

        #[test]
        fn longer_runs_are_fewer_runs(concurrent in 0u64.., seconds in 1u64..100_000) {
            let of = |seconds| runs_per_hour(concurrent, Duration::from_secs(seconds));
            prop_assert!(of(seconds + 1) <= of(seconds));
            prop_assert_eq!(of(3600), concurrent);
        }
    }
}
