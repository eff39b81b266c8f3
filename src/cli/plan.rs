//! `callboard plan`: what the sizing formulas give for a machine and a fleet.

use std::io::{self, Write};
use std::time::Duration;

use callboard_actors::capacity::{CapacityParameters, MachineSize, RunLimit, decimal_size, fleet_runs, runs_per_hour};
use clap::Args;
use serde_json::{Value, json};

use super::text::{grouped, table};
use crate::config::{Config, parse_size};

/// The two run durations that the published figures are for, minutes.
const RUN_MINUTES: [u64; 2] = [2, 5];

/// The recommended sizes and the concurrent runs recommended for each, from the system that Callboard succeeds.
const RECOMMENDED: [(&str, u32, u64, &str); 4] = [
    ("small", 1, 2, "5–10"),
    ("medium", 2, 4, "10–20"),
    ("large", 4, 8, "20–50"),
    ("xlarge", 8, 16, "50–100"),
];

#[derive(Debug, Clone, Default, Args)]
pub(super) struct PlanArguments {
    /// CPUs of an instance [default: this machine's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    cpus: Option<u32>,
    /// Memory of an instance, such as 128GB (a power of 1000) or 128GiB [default: this machine's]
    #[arg(long, value_name = "SIZE", value_parser = memory_size)]
    memory: Option<u64>,
    /// Instances of the fleet
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    instances: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn memory_size(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("must be more than 0".to_owned()),
        size => Ok(size),
    }
}

pub(super) fn run(
    arguments: &PlanArguments,
    config: &Config,
    this_machine: MachineSize,
    output: &mut impl Write,
) -> io::Result<()> {
    let plan = Plan::new(arguments, config, this_machine);
    if arguments.json {
        return writeln!(output, "{:#}", plan.as_json());
    }
    plan.print(output)
}

/// Everything that is shown.
struct Plan {
    machine: MachineSize,
    is_this_machine: bool,
    instances: u32,
    parameters: CapacityParameters,
    measured_memory_per_run: u64,
    limit: RunLimit,
    database_connections: u32,
    blocking_threads: u32,
}

impl Plan {
    fn new(arguments: &PlanArguments, config: &Config, this_machine: MachineSize) -> Self {
        let machine = MachineSize {
            cpus: arguments.cpus.unwrap_or(this_machine.cpus),
            memory_bytes: arguments.memory.unwrap_or(this_machine.memory_bytes),
        };
        let parameters = config.capacity_parameters();
        let limit = parameters.concurrent_runs(machine);
        Self {
            machine,
            is_this_machine: arguments.cpus.is_none() && arguments.memory.is_none(),
            instances: arguments.instances,
            parameters,
            measured_memory_per_run: config.capacity.measured_memory_per_run,
            limit,
            database_connections: parameters.database_connections(limit.runs),
            blocking_threads: parameters.blocking_threads(machine),
        }
    }

    fn fleet(&self) -> u64 {
        fleet_runs(self.instances, self.limit.runs)
    }

    /// Runs whose memory would fit, by what a run of Callboard was measured to need.
    fn memory_would_hold(&self, memory_bytes: u64) -> u64 {
        memory_bytes
            .checked_div(self.measured_memory_per_run)
            .unwrap_or(u64::MAX)
    }

    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let whose = if self.is_this_machine {
            "this machine"
        } else {
            "an instance"
        };
        let cpus = match self.machine.cpus {
            1 => "1 CPU".to_owned(),
            cpus => format!("{cpus} CPUs"),
        };
        writeln!(
            output,
            "{whose}: {cpus}, {} of memory",
            decimal_size(self.machine.memory_bytes)
        )?;
        writeln!(output, "{}", self.limit)?;
        writeln!(output)?;
        self.print_limits(output)?;
        writeln!(output)?;
        self.print_sizes(output)?;
        let measured = decimal_size(self.measured_memory_per_run);
        writeln!(
            output,
            "formula: min(CPUs × {}, memory / {}, {}), from [capacity] in config.toml", //
            self.parameters.runs_per_cpu,
            decimal_size(self.parameters.memory_per_run),
            self.parameters.ceiling
        )?;
        writeln!(
            output,
            "memory holds: runs of Callboard itself, {measured} each (docs/performance.md);"
        )?;
        writeln!(output, "  CPU time, quotas and providers bound them first")
    }

    fn print_limits(&self, output: &mut impl Write) -> io::Result<()> {
        let (one, fleet) = (u64::from(self.limit.runs), self.fleet());
        let instances = u64::from(self.instances);
        let row = |name: &str, one: u64, fleet: u64| [name.to_owned(), grouped(one), grouped(fleet)];
        let mut rows = vec![row("concurrent runs", one, fleet)];
        for minutes in RUN_MINUTES {
            let duration = Duration::from_secs(60 * minutes);
            let name = format!("runs per hour, {minutes} minutes each");
            rows.push(row(&name, runs_per_hour(one, duration), runs_per_hour(fleet, duration)));
        }
        let connections = u64::from(self.database_connections);
        let threads = u64::from(self.blocking_threads);
        rows.push(row(
            "database connections, if it is a server",
            connections,
            connections * instances,
        ));
        rows.push(row("threads for blocking work", threads, threads * instances));
        let held = self.memory_would_hold(self.machine.memory_bytes);
        rows.push(row(
            "runs that the memory holds, as measured",
            held,
            held.saturating_mul(instances),
        ));
        let fleet_heading = match self.instances {
            1 => "1 instance".to_owned(),
            count => format!("{} instances", grouped(u64::from(count))),
        };
        if self.instances == 1 {
            let rows = rows.into_iter().map(|[name, one, _]| [name, one]).collect();
            return writeln!(output, "{}", table(["", &fleet_heading], rows, &[1]));
        }
        writeln!(output, "{}", table(["", "1 instance", &fleet_heading], rows, &[1, 2]))
    }

    fn print_sizes(&self, output: &mut impl Write) -> io::Result<()> {
        let row = |(name, cpus, gigabytes, recommended): (&str, u32, u64, &str)| {
            let machine = size_in_gigabytes(cpus, gigabytes);
            [
                name.to_owned(),
                cpus.to_string(),
                decimal_size(machine.memory_bytes),
                recommended.to_owned(),
                grouped(u64::from(self.parameters.concurrent_runs(machine).runs)),
                grouped(self.memory_would_hold(machine.memory_bytes)),
            ]
        };
        let rows = RECOMMENDED.into_iter().map(row).collect();
        let headings = ["size", "CPUs", "memory", "recommended runs", "formula", "memory holds"];
        writeln!(output, "{}", table(headings, rows, &[1, 2, 3, 4, 5]))
    }

    fn as_json(&self) -> Value {
        let per_hour = |concurrent: u64| {
            json!({
                "2_minutes": runs_per_hour(concurrent, Duration::from_secs(120)),
                "5_minutes": runs_per_hour(concurrent, Duration::from_secs(300)),
            })
        };
        let size = |(name, cpus, gigabytes, recommended): (&str, u32, u64, &str)| {
            let machine = size_in_gigabytes(cpus, gigabytes);
            json!({
                "size": name,
                "cpus": cpus,
                "memory_bytes": machine.memory_bytes,
                "recommended_runs": recommended,
                "formula_runs": self.parameters.concurrent_runs(machine).runs,
                "memory_holds_runs": self.memory_would_hold(machine.memory_bytes),
            })
        };
        let memory_allows = Some(self.limit.memory_allows).filter(|allows| *allows < u64::MAX);
        json!({
            "machine": {
                "cpus": self.machine.cpus,
                "memory_bytes": self.machine.memory_bytes,
                "is_this_machine": self.is_this_machine,
            },
            "instance": {
                "concurrent_runs": self.limit.runs,
                "decided_by": self.limit.decided_by.as_str(),
                "explanation": self.limit.to_string(),
                "cpus_allow": self.limit.cpus_allow,
                "memory_allows": memory_allows,
                "ceiling": self.limit.ceiling,
                "database_connections": self.database_connections,
                "blocking_threads": self.blocking_threads,
                "memory_holds_runs": self.memory_would_hold(self.machine.memory_bytes),
                "runs_per_hour": per_hour(u64::from(self.limit.runs)),
            },
            "fleet": {
                "instances": self.instances,
                "concurrent_runs": self.fleet(),
                "database_connections": u64::from(self.database_connections) * u64::from(self.instances),
                "runs_per_hour": per_hour(self.fleet()),
            },
            "sizes": RECOMMENDED.into_iter().map(size).collect::<Vec<Value>>(),
        })
    }
}

fn size_in_gigabytes(cpus: u32, gigabytes: u64) -> MachineSize {
    MachineSize {
        cpus,
        memory_bytes: gigabytes * 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output_of(cpus: u32, memory: &str, instances: u32, json: bool) -> String {
        let arguments = PlanArguments {
            cpus: Some(cpus),
            memory: Some(memory_size(memory).expect("a size")),
            instances,
            json,
        };
        let mut output = Vec::new();
        let nobody = size_in_gigabytes(0, 0);
        run(&arguments, &Config::default(), nobody, &mut output).expect("a vector takes it");
        String::from_utf8(output).expect("UTF-8")
    }

    #[test]
    fn the_published_figures_are_shown() {
        let text = output_of(32, "128GB", 5, false);
        let expected = "\
an instance: 32 CPUs, 128 GB of memory
320 runs: 32 CPUs × 10; memory would allow 640; ceiling 2000

┌────────────────────────────────────────────────────────────────────┐
│                                           1 instance   5 instances │
╞════════════════════════════════════════════════════════════════════╡
│ concurrent runs                                  320         1,600 │
│ runs per hour, 2 minutes each                  9,600        48,000 │
│ runs per hour, 5 minutes each                  3,840        19,200 │
│ database connections, if it is a server          500         2,500 │
│ threads for blocking work                         32           160 │
│ runs that the memory holds, as measured    2,976,744    14,883,720 │
└────────────────────────────────────────────────────────────────────┘

┌────────────────────────────────────────────────────────────────────┐
│ size     CPUs   memory   recommended runs   formula   memory holds │
╞════════════════════════════════════════════════════════════════════╡
│ small       1     2 GB               5–10        10         46,511 │
│ medium      2     4 GB              10–20        20         93,023 │
│ large       4     8 GB              20–50        40        186,046 │
│ xlarge      8    16 GB             50–100        80        372,093 │
└────────────────────────────────────────────────────────────────────┘
formula: min(CPUs × 10, memory / 200 MB, 2000), from [capacity] in config.toml
memory holds: runs of Callboard itself, 43 KB each (docs/performance.md);
  CPU time, quotas and providers bound them first
";
        assert_eq!(text, expected);
    }

    #[test]
    fn it_fits_into_80_columns() {
        for text in [output_of(1024, "24TB", 10_000, false), output_of(1, "2GB", 1, false)] {
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(80), "{text}");
        }
    }

    #[test]
    fn json_has_the_figures_as_numbers() {
        let json: Value = serde_json::from_str(&output_of(32, "128GB", 5, true)).expect("JSON");
        let instance = &json["instance"];
        assert_eq!(instance["concurrent_runs"], 320);
        assert_eq!(instance["decided_by"], "cpus");
        assert_eq!(instance["memory_allows"], 640);
        assert_eq!(instance["database_connections"], 500);
        assert_eq!(instance["blocking_threads"], 32);
        assert_eq!(
            instance["runs_per_hour"],
            json!({"2_minutes": 9_600, "5_minutes": 3_840})
        );
        assert_eq!(json["fleet"]["concurrent_runs"], 1_600);
        assert_eq!(
            json["fleet"]["runs_per_hour"],
            json!({"2_minutes": 48_000, "5_minutes": 19_200})
        );
        let formula: Vec<&Value> = json["sizes"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|size| &size["formula_runs"])
            .collect();
        assert_eq!(formula, [10, 20, 40, 80]);
        assert_eq!(json["sizes"][0]["memory_holds_runs"], 46_511);
    }

    #[test]
    fn without_arguments_it_is_about_this_machine() {
        let mut output = Vec::new();
        let arguments = PlanArguments {
            instances: 1,
            ..PlanArguments::default()
        };
        run(&arguments, &Config::default(), size_in_gigabytes(2, 24), &mut output).expect("a vector takes it");
        let text = String::from_utf8(output).expect("UTF-8");
        let expected =
            "this machine: 2 CPUs, 24 GB of memory\n20 runs: 2 CPUs × 10; memory would allow 120; ceiling 2000\n";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn sizes_without_a_unit_are_refused() {
        assert!(memory_size("128").is_err());
        assert!(memory_size("0GB").is_err());
    }
}
