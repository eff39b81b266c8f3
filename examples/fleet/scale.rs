//! Concurrent runs of 1, 2, 3, … instances: the formula says instances × runs per instance.

use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::arguments::Arguments;
use super::site::Site;
use super::{chart, print};

/// Runs that are started for each that can run: the fleet is to be more than full.
const LOAD: u32 = 2;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A fleet of one size under load.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) instances: u32,
    /// Instances × runs per instance.
    pub(crate) formula: u32,
    pub(crate) runs: u32,
    pub(crate) moments: Vec<Moment>,
}

/// A look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the first start.
    pub(crate) second: f64,
    /// Runs in `running`, in the database.
    pub(crate) running: u32,
    /// Calls that the provider is answering.
    pub(crate) open_calls: u32,
}

impl Stage {
    pub(crate) fn most_running(&self) -> u32 {
        self.moments.iter().map(|moment| moment.running).max().unwrap_or(0)
    }

    pub(crate) fn most_open_calls(&self) -> u32 {
        self.moments.iter().map(|moment| moment.open_calls).max().unwrap_or(0)
    }

    /// From the first start to the last end.
    fn took(&self) -> f64 {
        self.moments.last().map_or(0.0, |moment| moment.second)
    }
}

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let site = Site::start(arguments.capacity).await?;
    let mut database = site.database().await?;
    let mut instances = Vec::new();
    let mut stages = Vec::new();
    for count in 1..=arguments.instances {
        instances.push(site.fleet.start(&format!("instance-{count}")).await?);
        let stage = fill(&site, &mut database, count, arguments).await?;
        eprintln!("{count} instances: {} runs at once", stage.most_running());
        stages.push(stage);
    }
    let rows: Vec<[String; 6]> = stages.iter().map(row).collect();
    let title = format!(
        "{} concurrent runs for each instance, runs of {} s, {LOAD} started for each that can run",
        arguments.capacity, arguments.run_seconds
    );
    let header = [
        "instances",
        "instances × runs",
        "most in `running`",
        "most open model calls",
        "runs, all completed",
        "took",
    ];
    print(&title, &header, &rows);
    match &arguments.chart {
        Some(path) => chart::draw(path, &stages),
        None => Ok(()),
    }
}

fn row(stage: &Stage) -> [String; 6] {
    [
        stage.instances.to_string(),
        stage.formula.to_string(),
        stage.most_running().to_string(),
        stage.most_open_calls().to_string(),
        stage.runs.to_string(),
        format!("{:.1} s", stage.took()),
    ]
}

/// Starts more runs than can run, and looks on until all have ended.
async fn fill(
    site: &Site,
    database: &mut PgConnection,
    instances: u32,
    arguments: &Arguments,
) -> anyhow::Result<Stage> {
    let formula = instances * arguments.capacity;
    let runs = formula * LOAD;
    let client = site.fleet.client()?;
    // A token each 100 ms: runs that show something all the time.
    let simulate = json!({"tokens": arguments.run_seconds * 10, "tokens_per_second": 10});
    let start = Instant::now();
    let starting = (0..runs).map(|_| client.start_simulated(simulate.clone()));
    let running = async {
        let started = futures::future::try_join_all(starting).await?;
        let ending = started.iter().map(|run| client.run_when_ended(run));
        futures::future::try_join_all(ending).await
    };
    let mut stage = Stage {
        instances,
        formula,
        runs,
        moments: Vec::new(),
    };
    tokio::pin!(running);
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut running => {
                for run in ended? {
                    anyhow::ensure!(run["state"] == "completed", "a run did not complete: {run}");
                }
                return Ok(stage);
            }
            _ = ticks.tick() => stage.moments.push(look(site, database, start).await?),
        }
    }
}

async fn look(site: &Site, database: &mut PgConnection, start: Instant) -> anyhow::Result<Moment> {
    let count = "SELECT count(*) FROM runs WHERE state = 'running'";
    let running: i64 = sqlx::query_scalar(count).fetch_one(database).await?;
    Ok(Moment {
        second: start.elapsed().as_secs_f64(),
        running: u32::try_from(running)?,
        open_calls: u32::try_from(site.upstream.open_calls().await?)?,
    })
}
