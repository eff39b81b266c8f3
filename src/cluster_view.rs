//! The installation as `GET /api/v1/cluster` and `callboard cluster` show it: its instances, how busy each is, and what they come to
//! together. It tells of no account's runs.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_actors::ids::InstanceId;
use callboard_actors::ports::fleet::{FleetOverview, InstanceView};
use callboard_actors::supervisor::messages::Snapshot;
use callboard_actors::time::Timestamp;
use serde::Serialize;

use crate::json_durations::{whole_milliseconds, whole_milliseconds_or_null};

/// The installation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ClusterView {
    object: &'static str,
    mode: ClusterMode,
    /// Oldest first.
    pub(crate) instances: Vec<ClusterInstance>,
    pub(crate) totals: ClusterTotals,
}

/// Whether the store serves one instance or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ClusterMode {
    Alone,
    Fleet,
}

/// An instance. Durations are in whole milliseconds, by the store's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ClusterInstance {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) started_at: Timestamp,
    pub(crate) state: InstanceState,
    /// Whether it is the one that answers the request.
    answering: bool,
    #[serde(rename = "heartbeat_age_ms", serialize_with = "whole_milliseconds")]
    pub(crate) heartbeat_age: Duration,
    /// `None` if the lease is over, and on an instance that is alone: it needs none.
    #[serde(rename = "lease_left_ms", serialize_with = "whole_milliseconds_or_null")]
    pub(crate) lease_left: Option<Duration>,
    pub(crate) permits: PermitUse,
    /// Runs in `running` that are its.
    pub(crate) runs: u64,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum InstanceState {
    /// It takes runs.
    Live,
    /// It takes no more runs, because it leaves.
    Draining,
    /// Its lease is over: the others take its runs over.
    Lost,
}

/// Permits, taken and in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PermitUse {
    pub(crate) limit: u64,
    pub(crate) in_use: u64,
}

/// What the instances come to together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ClusterTotals {
    pub(crate) instances: InstanceCounts,
    /// Of instances that are live: what the installation can bear, and how much of it is used.
    pub(crate) permits: PermitUse,
    pub(crate) runs: RunCounts,
    /// How many instances that are not lost have each version.
    pub(crate) versions: BTreeMap<String, u64>,
}

/// How many instances are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct InstanceCounts {
    pub(crate) live: u64,
    pub(crate) draining: u64,
    pub(crate) lost: u64,
}

/// How many runs are in each state that is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct RunCounts {
    pub(crate) running: u64,
    pub(crate) queued: u64,
    /// `None` on an instance that is alone: it does not count them.
    pub(crate) waiting: Option<u64>,
}

/// What an instance knows of itself without asking anyone.
#[derive(Debug, Clone)]
pub struct InstanceIdentity {
    /// What people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
}

impl ClusterView {
    /// The fleet as its store sees it; `answering` is the instance that was asked, if one was.
    pub(crate) fn of_fleet(overview: &FleetOverview, answering: Option<InstanceId>) -> Self {
        let shown = |instance| ClusterInstance::of_fleet(instance, answering);
        let runs = RunCounts {
            running: overview.running,
            queued: overview.queued,
            waiting: Some(overview.waiting),
        };
        Self::new(ClusterMode::Fleet, overview.instances.iter().map(shown).collect(), runs)
    }

    /// The one instance of an installation without a fleet, as it sees itself.
    pub(crate) fn of_lone_instance(id: InstanceId, identity: &InstanceIdentity, snapshot: &Snapshot) -> Self {
        let running = u64::from(snapshot.permits_in_use);
        let instance = ClusterInstance {
            id,
            name: identity.name.clone(),
            version: identity.version.clone(),
            started_at: identity.started_at,
            state: if snapshot.draining {
                InstanceState::Draining
            } else {
                InstanceState::Live
            },
            answering: true,
            heartbeat_age: Duration::ZERO,
            lease_left: None,
            permits: PermitUse {
                limit: u64::from(snapshot.permits_limit),
                in_use: running,
            },
            runs: running,
        };
        let runs = RunCounts {
            running,
            queued: snapshot.queued_by_tier.values().sum(),
            waiting: None,
        };
        Self::new(ClusterMode::Alone, vec![instance], runs)
    }

    fn new(mode: ClusterMode, instances: Vec<ClusterInstance>, runs: RunCounts) -> Self {
        Self {
            object: "cluster",
            mode,
            totals: ClusterTotals::of(&instances, runs),
            instances,
        }
    }
}

impl ClusterInstance {
    fn of_fleet(instance: &InstanceView, answering: Option<InstanceId>) -> Self {
        let state = match instance.lease_left {
            None => InstanceState::Lost,
            Some(_) if instance.load.draining => InstanceState::Draining,
            Some(_) => InstanceState::Live,
        };
        Self {
            id: instance.id,
            name: instance.name.clone(),
            version: instance.version.clone(),
            started_at: instance.started_at,
            state,
            answering: answering == Some(instance.id),
            heartbeat_age: instance.heartbeat_age,
            lease_left: instance.lease_left,
            permits: PermitUse {
                limit: u64::from(instance.load.permits_limit),
                in_use: u64::from(instance.load.permits_in_use),
            },
            runs: instance.runs,
        }
    }
}

impl ClusterTotals {
    fn of(instances: &[ClusterInstance], runs: RunCounts) -> Self {
        let mut counts = InstanceCounts::default();
        let mut permits = PermitUse::default();
        let mut versions = BTreeMap::new();
        for instance in instances {
            match instance.state {
                InstanceState::Live => {
                    counts.live += 1;
                    permits.limit += instance.permits.limit;
                    permits.in_use += instance.permits.in_use;
                }
                InstanceState::Draining => counts.draining += 1,
                InstanceState::Lost => {
                    counts.lost += 1;
                    continue;
                }
            }
            *versions.entry(instance.version.clone()).or_insert(0) += 1;
        }
        Self {
            instances: counts,
            permits,
            runs,
            versions,
        }
    }
}

impl InstanceState {
    /// The name in JSON and in lists.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Lost => "lost",
        }
    }
}
