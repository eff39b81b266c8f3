//! Looks into the database all the while: what holds at every moment must hold in every snapshot.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, Row};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::runs::PlannedAccount;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// One statement, so one snapshot: what the account's row counts, and what there is to count.
const COUNTS: &str = "SELECT account, running::bigint, queued, \
     (SELECT count(*) FROM runs WHERE runs.account = accounts.account AND state = 'running') AS runs_running, \
     (SELECT count(*) FROM runs WHERE runs.account = accounts.account AND state = 'queued') AS runs_queued \
     FROM accounts";

const PERMITS: &str = "SELECT name, permits_limit, permits_in_use FROM instances WHERE permits_in_use > permits_limit";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// How often the database was looked into.
    pub(super) snapshots: u64,
    /// In how many of them some account had all the runs that it may have.
    pub(super) full: u64,
    /// Accounts with more in `running` than their tier allows, or whose row counts something else than there is.
    pub(super) quota_problems: BTreeSet<String>,
    /// Instances with more runs than Permits.
    pub(super) capacity_problems: BTreeSet<String>,
}

/// Somebody who looks.
pub(super) struct Sampler {
    looking: JoinHandle<Samples>,
    over: watch::Sender<bool>,
}

impl Sampler {
    pub(super) fn start(database_url: &str, accounts: &[PlannedAccount]) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(database_url)?;
        let (over, is_over) = watch::channel(false);
        Ok(Self {
            looking: tokio::spawn(look(options, accounts.to_vec(), is_over)),
            over,
        })
    }

    pub(super) async fn stop(self) -> anyhow::Result<Samples> {
        self.over.send_replace(true);
        Ok(self.looking.await?)
    }
}

async fn look(options: PgConnectOptions, accounts: Vec<PlannedAccount>, is_over: watch::Receiver<bool>) -> Samples {
    let mut samples = Samples::default();
    let mut connection = None;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !*is_over.borrow() {
        ticks.tick().await;
        let open: &mut PgConnection = match &mut connection {
            Some(open) => open,
            // It may be away: that is what this is about.
            None => match options.connect().await {
                Ok(opened) => connection.insert(opened),
                Err(_) => continue,
            },
        };
        if look_once(open, &accounts, &mut samples).await.is_err() {
            connection = None;
        }
    }
    samples
}

async fn look_once(
    connection: &mut PgConnection,
    accounts: &[PlannedAccount],
    samples: &mut Samples,
) -> sqlx::Result<()> {
    let counted = sqlx::query(COUNTS).fetch_all(&mut *connection).await?;
    let mut is_full = false;
    for row in counted {
        let name: String = row.try_get("account")?;
        let (running, runs_running): (i64, i64) = (row.try_get("running")?, row.try_get("runs_running")?);
        let (queued, runs_queued): (i64, i64) = (row.try_get("queued")?, row.try_get("runs_queued")?);
        if (running, queued) != (runs_running, runs_queued) {
            samples.quota_problems.insert(format!(
                "{name} counts {running} running and {queued} queued, there are {runs_running} and {runs_queued}"
            ));
        }
        let account = accounts.iter().find(|account| account.name == name);
        if let Some(limit) = account.and_then(|account| account.limit) {
            is_full |= runs_running == i64::from(limit);
            if runs_running > i64::from(limit) {
                let text = format!("{name} has {runs_running} running at once, its tier allows {limit}");
                samples.quota_problems.insert(text);
            }
        }
    }
    for row in sqlx::query(PERMITS).fetch_all(connection).await? {
        let (name, limit, in_use): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let text = format!("{name} has {in_use} runs with {limit} Permits");
        samples.capacity_problems.insert(text);
    }
    samples.snapshots += 1;
    samples.full += u64::from(is_full);
    Ok(())
}
