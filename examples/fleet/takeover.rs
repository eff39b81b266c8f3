//! How long a run stands still when its instance is killed.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::arguments::Arguments;
use super::print;
use super::site::Site;
use crate::rig::{Following, Instance};

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let site = Site::start(arguments.runs * 2).await?;
    let [mut doomed, heir] = site.fleet.start_all(["doomed", "heir"]).await?;
    let mut times = Vec::new();
    for repetition in 1..=arguments.repetitions {
        let mut taken = kill_once(&site, &mut doomed, &heir, arguments.runs).await?;
        taken.sort_unstable();
        eprintln!("{repetition}: {:?} to {:?}", taken[0], taken[taken.len() - 1]);
        times.extend(taken);
        doomed.start().await?;
    }
    times.sort_unstable();
    let at = |part: f64| {
        let index = ((times.len() - 1) as f64 * part).round() as usize;
        format!("{:.2} s", times[index].as_secs_f64())
    };
    let title = format!(
        "from kill -9 to `run.recovered` at a client on another instance: {} kills, {} runs each, lease 5 s",
        arguments.repetitions, arguments.runs
    );
    print(
        &title,
        &["shortest", "p50", "p95", "longest"],
        &[[at(0.0), at(0.5), at(0.95), at(1.0)]],
    );
    Ok(())
}

/// Kills an instance whose runs are all read on the other one, and gives how long it took for each until it went on there.
async fn kill_once(site: &Site, doomed: &mut Instance, heir: &Instance, runs: u32) -> anyhow::Result<Vec<Duration>> {
    let owner = doomed.client()?;
    let client = site.fleet.client()?;
    // They speak all the time, for longer than this takes.
    let body = json!({"input": "Go.", "model_options": {"simulate": {"tokens": 1200, "tokens_per_second": 10}}});
    let mut followed = Vec::new();
    for _ in 0..runs {
        let run = owner.post_raw("/api/v1/runs", &body).await?.success()?;
        let run = run["id"].as_str().unwrap_or_default().to_owned();
        let mut following = client.follower(&run).beginning_with(heir.name()).start();
        following.until_seen("text.delta").await?;
        followed.push((run, following));
    }
    doomed.kill().await?;
    let killed_at = Instant::now();
    let waiting = followed
        .iter_mut()
        .map(|(_, following)| until_recovered(following, killed_at));
    let times = futures::future::try_join_all(waiting).await?;
    for (run, following) in followed {
        client.cancel(&run).await?;
        let seen = following.ended().await?;
        anyhow::ensure!(seen.violations.is_empty(), "{:?}", seen.violations);
    }
    Ok(times)
}

async fn until_recovered(following: &mut Following, killed_at: Instant) -> anyhow::Result<Duration> {
    following.until_seen("run.recovered").await?;
    Ok(killed_at.elapsed())
}
