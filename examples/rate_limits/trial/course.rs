//! What happens: runs are posted, and meanwhile things go wrong.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::stream;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::runs::PlannedRun;
use super::site::{Key, Site};
use super::{Options, now_us};
use crate::rig::FleetClient;

/// Requests under way at once.
const AT_ONCE: usize = 50;
/// Between two looks at the database.
const PAUSE: Duration = Duration::from_millis(100);
/// Without one more run that ends, it has come to a standstill. Longer than a minute, which is how long all keys may be used up.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(300);

/// What happened.
#[derive(Debug)]
pub(crate) struct Course {
    /// Microseconds since 1970.
    pub(crate) began_us: i64,
    /// Runs that were taken.
    pub(super) posted: Vec<PostedRun>,
    pub(crate) disturbances: Vec<Disturbance>,
}

/// A run that was taken.
#[derive(Debug, Clone)]
pub(super) struct PostedRun {
    pub(super) id: String,
    /// Whose it is.
    pub(super) account: usize,
}

/// Something that went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Disturbance {
    pub(crate) kind: DisturbanceKind,
    /// Microseconds since 1970.
    pub(crate) from_us: i64,
    /// Likewise; `None` if it is not over.
    pub(crate) until_us: Option<i64>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DisturbanceKind {
    /// The provider does not take this key any more.
    KeyRevoked(&'static str),
    /// All calls to this region get an error.
    RegionDown(&'static str),
    /// SIGKILL.
    InstanceKilled(String),
}

impl Disturbance {
    /// One that begins.
    fn now(kind: DisturbanceKind) -> Self {
        Self {
            kind,
            from_us: now_us(),
            until_us: None,
        }
    }

    /// Whether it keeps a key from being used, at this moment.
    pub(super) fn stops(&self, key: &Key, at_us: i64) -> bool {
        let is_hit = match &self.kind {
            DisturbanceKind::KeyRevoked(ending) => *ending == key.ending,
            DisturbanceKind::RegionDown(region) => *region == key.region,
            DisturbanceKind::InstanceKilled(_) => false,
        };
        is_hit && at_us >= self.from_us && self.until_us.is_none_or(|until| at_us < until)
    }
}

impl fmt::Display for DisturbanceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyRevoked(ending) => write!(formatter, "key …{ending} revoked"),
            Self::RegionDown(name) => write!(formatter, "{name} down"),
            Self::InstanceKilled(name) => write!(formatter, "{name} killed"),
        }
    }
}

/// Plays it to the end of all runs.
pub(super) async fn play(options: &Options, site: &mut Site, planned: Vec<PlannedRun>) -> anyhow::Result<Course> {
    let began_us = now_us();
    let clients = site.clients.clone();
    let progress = Progress {
        database: PgConnectOptions::from_str(&site.database_url)?.connect().await?,
    };
    let (posted, disturbances) = tokio::try_join!(post_all(&clients, planned), look_on(options, site, progress))?;
    Ok(Course {
        began_us,
        posted,
        disturbances,
    })
}

async fn post_all(clients: &[FleetClient], planned: Vec<PlannedRun>) -> anyhow::Result<Vec<PostedRun>> {
    let start = Instant::now();
    let posting = stream::iter(planned).map(|run| async move {
        sleep_until(start + run.at).await;
        anyhow::Ok(PostedRun {
            id: clients[run.account].start(&run.body).await?,
            account: run.account,
        })
    });
    posting.buffered(AT_ONCE).try_collect().await
}

/// Waits until all runs have ended, and has things go wrong on the way.
async fn look_on(options: &Options, site: &mut Site, mut progress: Progress) -> anyhow::Result<Vec<Disturbance>> {
    let mut disturbances = Vec::new();
    if options.is_disturbed {
        let [first, second] = &site.regions;
        progress.until_ended(options.runs / 4).await?;
        let revoked = second.keys[0].ending;
        second.upstream.refuse_key(revoked).await?;
        disturbances.push(Disturbance::now(DisturbanceKind::KeyRevoked(revoked)));

        progress.until_ended(options.runs / 2).await?;
        let mut down = Disturbance::now(DisturbanceKind::RegionDown(first.name));
        first
            .upstream
            .set_troubles(&json!({"outages": [{"status": 503}]}))
            .await?;
        sleep(options.outage).await;
        first.upstream.set_troubles(&json!({})).await?;
        down.until_us = Some(now_us());
        disturbances.push(down);

        progress.until_ended(options.runs / 4 * 3).await?;
        let victim = site.instances.last_mut().context("no instance")?;
        disturbances.push(Disturbance::now(DisturbanceKind::InstanceKilled(
            victim.name().to_owned(),
        )));
        victim.kill().await?;
    }
    progress.until_ended(options.runs).await?;
    Ok(disturbances)
}

/// How far the runs are, as the database knows.
struct Progress {
    database: PgConnection,
}

impl Progress {
    /// Waits until so many runs have ended, however they did.
    async fn until_ended(&mut self, wanted: usize) -> anyhow::Result<()> {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut known, mut since) = (0, Instant::now());
        loop {
            ticks.tick().await;
            let ended = self.ended().await?;
            if ended >= wanted {
                return Ok(());
            }
            if ended > known {
                (known, since) = (ended, Instant::now());
            }
            if since.elapsed() > LONGEST_STANDSTILL {
                bail!("for {LONGEST_STANDSTILL:?} no run has ended, after {ended} that have");
            }
        }
    }

    async fn ended(&mut self) -> anyhow::Result<usize> {
        let count = "SELECT count(*) FROM runs WHERE state IN ('completed', 'failed', 'cancelled')";
        let ended: i64 = sqlx::query_scalar(count).fetch_one(&mut self.database).await?;
        Ok(usize::try_from(ended)?)
    }
}
