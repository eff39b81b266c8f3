//! `callboard cluster`: the instances of an installation as their store sees them. It asks the store itself, so it answers also when no
//! instance does.

use std::io::{self, Write};

use callboard_actors::ports::fleet::FleetOverview;
use clap::Args;
use comfy_table::ContentArrangement;

use super::text::{grouped, rounded, table, to_the_minute};
use crate::cluster_view::{ClusterInstance, ClusterTotals, ClusterView, InstanceState};

/// Columns of a terminal. An instance may have a long name: it is broken, not the table.
const WIDTH: u16 = 80;

/// How to show the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ClusterArguments {
    /// As JSON, in the form of `GET /api/v1/cluster`
    #[arg(long)]
    json: bool,
}

/// Why the cluster was not shown. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no fleet.
    #[error(
        "the store is an SQLite file, which serves one instance alone: ask that instance for GET /api/v1/cluster (several need \
         store.postgres_url_env)"
    )]
    Alone,
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Prints to `output` what the store says; `None`: it serves one instance alone.
///
/// # Errors
/// See [`ClusterError`].
pub fn run(
    arguments: &ClusterArguments,
    overview: Option<&FleetOverview>,
    output: &mut impl Write,
) -> Result<(), ClusterError> {
    let view = ClusterView::of_fleet(overview.ok_or(ClusterError::Alone)?, None);
    if arguments.json {
        serde_json::to_writer_pretty(&mut *output, &view).map_err(io::Error::from)?;
        return Ok(writeln!(output)?);
    }
    Ok(print(&view, output)?)
}

fn print(view: &ClusterView, output: &mut impl Write) -> io::Result<()> {
    if view.instances.is_empty() {
        writeln!(output, "No instance serves this database, and none has lately.")?;
    } else {
        let rows = view.instances.iter().map(row).collect();
        let mut table = table(["instance", "state", "heartbeat", "runs"], rows, &[3]);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH);
        writeln!(output, "{table}")?;
    }
    print_totals(&view.totals, output)
}

/// Three lines an instance: all that there is to say does not fit into 80 columns side by side.
fn row(instance: &ClusterInstance) -> [String; 4] {
    let lease = match instance.lease_left {
        Some(left) => format!("lease {}", rounded(left)),
        None => "lease over".to_owned(),
    };
    let bound = match instance.state {
        InstanceState::Live | InstanceState::Draining => format!("of {}", grouped(instance.permits.limit)),
        // What it could bear counts no more.
        InstanceState::Lost => String::new(),
    };
    [
        format!(
            "{}\n  {}, since {} UTC\n  {}",
            instance.name,
            instance.version,
            to_the_minute(instance.started_at),
            instance.id
        ),
        instance.state.as_str().to_owned(),
        format!("{} ago\n{lease}", rounded(instance.heartbeat_age)),
        format!("{}\n{bound}", grouped(instance.runs)),
    ]
}

fn print_totals(totals: &ClusterTotals, output: &mut impl Write) -> io::Result<()> {
    let instances = totals.instances;
    let mut states = vec![format!("{} live", grouped(instances.live))];
    let others = [("draining", instances.draining), ("lost", instances.lost)];
    for (state, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        states.push(format!("{} {state}", grouped(count)));
    }
    writeln!(
        output,
        "instances: {}; {} of {} permits in use",
        states.join(", "),
        grouped(totals.permits.in_use),
        grouped(totals.permits.limit)
    )?;
    let mut runs = vec![
        format!("{} running", grouped(totals.runs.running)),
        format!("{} queued", grouped(totals.runs.queued)),
    ];
    runs.extend(
        totals
            .runs
            .waiting
            .map(|waiting| format!("{} waiting", grouped(waiting))),
    );
    writeln!(output, "runs: {}", runs.join(", "))?;
    if totals.versions.len() > 1 {
        let versions: Vec<String> = totals
            .versions
            .iter()
            .map(|(version, instances)| format!("{version} on {}", grouped(*instances)))
            .collect();
        writeln!(output, "versions differ: {}", versions.join(", "))?;
        writeln!(output, "  (right during a rolling restart, and only then)")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
