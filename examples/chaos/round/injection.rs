//! Makes faults happen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::faults::{FaultKind, PlannedFault};
use super::site::{Member, Site};
use crate::rig::{Instance, Network, PATIENCE, PostgresStop};

/// A fault that was.
#[derive(Debug, Clone)]
pub(super) struct InjectedFault {
    pub(super) kind: FaultKind,
    /// Which instance or service.
    pub(super) whom: String,
    /// After the first start of a run.
    pub(super) began: Duration,
    /// Until everything was back.
    pub(super) lasted: Duration,
    /// Of each instance that was told to leave: its exit code (`None` if a signal ended it) and how long it took.
    pub(super) departures: Vec<Departure>,
    /// Why it could not be brought about, or what did not come back.
    pub(super) error: Option<String>,
}

/// An instance that left because it was told to.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) instance: String,
    pub(super) exit_code: Option<i32>,
    pub(super) took: Duration,
}

/// Makes all of them happen, each at its moment after `start`, and gives them when everything is back. At any moment one instance at least
/// has nothing done to it, unless all are meant: a fault waits until there is one to spare.
pub(super) async fn inject_all(site: Arc<Site>, faults: Vec<PlannedFault>, start: Instant) -> Vec<InjectedFault> {
    let to_spare = Arc::new(Semaphore::new(site.members.len().saturating_sub(1).max(1)));
    let mut injecting = JoinSet::new();
    for fault in faults {
        injecting.spawn(inject(site.clone(), to_spare.clone(), fault, start));
    }
    let mut injected = injecting.join_all().await;
    injected.sort_by_key(|fault| fault.began);
    injected
}

async fn inject(site: Arc<Site>, to_spare: Arc<Semaphore>, fault: PlannedFault, start: Instant) -> InjectedFault {
    sleep_until(start + fault.at).await;
    // Always this before an instance's lock, or two faults would wait for each other.
    let taken = match fault.kind {
        FaultKind::PostgresRestart | FaultKind::RedisRestart | FaultKind::RedisGone => 0,
        FaultKind::KillAll => to_spare
            .available_permits()
            .max(site.members.len().saturating_sub(1).max(1)),
        _ => 1,
    };
    // Never closed.
    let _taken = to_spare.acquire_many(u32::try_from(taken).unwrap_or(1)).await;
    let began = Instant::now();
    let mut departures = Vec::new();
    let happened = happen(&site, &fault, &mut departures).await;
    InjectedFault {
        kind: fault.kind,
        whom: whom(&site, &fault),
        began: began - start,
        lasted: began.elapsed(),
        departures,
        error: happened.err().map(|error| format!("{error:#}")),
    }
}

fn whom(site: &Site, fault: &PlannedFault) -> String {
    match fault.kind {
        FaultKind::PostgresRestart if fault.is_crash => "PostgreSQL, immediate".to_owned(),
        FaultKind::PostgresRestart => "PostgreSQL, fast".to_owned(),
        FaultKind::RedisRestart | FaultKind::RedisGone => "Redis".to_owned(),
        FaultKind::RollingRestart | FaultKind::KillAll => "all".to_owned(),
        _ => site.members[fault.instance].name.clone(),
    }
}

/// From its beginning until everything is back.
async fn happen(site: &Site, fault: &PlannedFault, departures: &mut Vec<Departure>) -> anyhow::Result<()> {
    let member = &site.members[fault.instance];
    match fault.kind {
        FaultKind::Kill => {
            let mut instance = member.instance.lock().await;
            instance.kill().await?;
            sleep(fault.lasts).await;
            bring_back(&mut instance).await
        }
        FaultKind::Freeze => {
            let instance = member.instance.lock().await;
            instance.pause()?;
            sleep(fault.lasts).await;
            instance.go_on()
        }
        FaultKind::Leave => leave(member, departures).await,
        FaultKind::RollingRestart => {
            for member in &site.members {
                leave(member, departures).await?;
            }
            Ok(())
        }
        FaultKind::Cut => break_network(member, Network::Cut, fault.lasts).await,
        FaultKind::BlackHole => break_network(member, Network::BlackHole, fault.lasts).await,
        FaultKind::PostgresRestart => {
            let how = if fault.is_crash {
                PostgresStop::Immediate
            } else {
                PostgresStop::Fast
            };
            site.postgres.lock().await.restart(how).await
        }
        FaultKind::RedisRestart | FaultKind::RedisGone => {
            let mut redis = site.redis.lock().await;
            redis.kill().await?;
            sleep(fault.lasts).await;
            redis.run().await
        }
        FaultKind::KillAll => {
            let mut instances = Vec::new();
            for member in &site.members {
                instances.push(member.instance.lock().await);
            }
            for instance in &mut instances {
                instance.kill().await?;
            }
            sleep(fault.lasts).await;
            futures::future::try_join_all(instances.iter_mut().map(|instance| bring_back(instance))).await?;
            Ok(())
        }
    }
}

async fn break_network(member: &Member, how: Network, lasts: Duration) -> anyhow::Result<()> {
    let _instance = member.instance.lock().await;
    member.proxy.set(how);
    sleep(lasts).await;
    member.proxy.set(Network::Healthy);
    Ok(())
}

async fn leave(member: &Member, departures: &mut Vec<Departure>) -> anyhow::Result<()> {
    let mut instance = member.instance.lock().await;
    let asked = Instant::now();
    instance.ask_to_leave()?;
    let exit_code = instance.ended().await?;
    departures.push(Departure {
        instance: member.name.clone(),
        exit_code,
        took: asked.elapsed(),
    });
    bring_back(&mut instance).await
}

/// Starts an instance as whatever looks after processes does: again if it could not start, because PostgreSQL is away at that moment.
async fn bring_back(instance: &mut Instance) -> anyhow::Result<()> {
    let first_try = Instant::now();
    loop {
        let Err(error) = instance.start().await else {
            return Ok(());
        };
        // One that runs and does not become ready is not started a second time.
        if instance.is_running() || first_try.elapsed() >= PATIENCE {
            return Err(error).with_context(|| format!("{} does not come back", instance.name()));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
