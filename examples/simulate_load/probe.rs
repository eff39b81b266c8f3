//! What the server spends: memory and CPU time, watched from outside if its process is ours, else as it tells itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::task::JoinHandle;

use crate::http::get_json;

/// A server under load.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// For the server's own account of itself.
    pub(crate) key: Option<String>,
    /// Known if this program started it.
    pub(crate) process_id: Option<u32>,
}

/// What a process spends.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spending {
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_seconds: f64,
}

/// What the server's store has done since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreWork {
    pub(crate) statements: u64,
    pub(crate) commits: u64,
}

impl Target {
    /// Measures now.
    pub(crate) async fn spending(&self) -> anyhow::Result<Spending> {
        match self.process_id {
            Some(id) => spending_of(id).context("the server's process is gone"),
            None => {
                let capacity = self.capacity().await?;
                Ok(Spending {
                    rss_bytes: capacity["process"]["rss_bytes"].as_u64().unwrap_or_default(),
                    cpu_seconds: capacity["process"]["cpu_seconds"].as_f64().unwrap_or_default(),
                })
            }
        }
    }

    pub(crate) async fn store_work(&self) -> anyhow::Result<StoreWork> {
        let capacity = self.capacity().await?;
        let count = |name: &str| capacity["database"][name].as_u64().context("no store figures");
        Ok(StoreWork {
            statements: count("statements")?,
            commits: count("commits")?,
        })
    }

    pub(crate) async fn capacity(&self) -> anyhow::Result<serde_json::Value> {
        get_json(self.address, self.key.as_deref(), "/api/v1/capacity").await
    }
}

fn spending_of(process_id: u32) -> Option<Spending> {
    let process_id = Pid::from_u32(process_id);
    let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process_id]), false, wanted);
    let process = system.process(process_id)?;
    Some(Spending {
        rss_bytes: process.memory(),
        cpu_seconds: process.accumulated_cpu_time() as f64 / 1000.0,
    })
}

/// A moment of a load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Moment {
    /// Since the load began.
    pub(crate) second: f64,
    /// Runs that had ended by then.
    pub(crate) finished: u64,
    #[serde(flatten)]
    pub(crate) spending: Spending,
}

/// Takes a [`Moment`] again and again until it is stopped.
pub(crate) struct Sampler {
    task: JoinHandle<()>,
    moments: Arc<std::sync::Mutex<Vec<Moment>>>,
}

impl Sampler {
    pub(crate) fn start(target: Target, interval: Duration, finished: Arc<AtomicU64>) -> Self {
        let moments = Arc::new(std::sync::Mutex::new(Vec::new()));
        let taken = moments.clone();
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let Ok(spending) = target.spending().await else {
                    return;
                };
                let moment = Moment {
                    second: began.elapsed().as_secs_f64(),
                    finished: finished.load(Ordering::Relaxed),
                    spending,
                };
                taken
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner())
                    .push(moment);
            }
        });
        Self { task, moments }
    }

    pub(crate) fn stop(self) -> Vec<Moment> {
        self.task.abort();
        std::mem::take(&mut *self.moments.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
