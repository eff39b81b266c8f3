//! What the server says about itself, as the document describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

/// The limits of this instance, how they came about, and how much of them is used.
#[derive(Deserialize, ToSchema)]
pub(super) struct Capacity {
    /// Always `capacity`.
    object: String,
    inputs: CapacityInputs,
    limits: CapacityLimits,
    /// The quotas of each tier's accounts; `null` is no limit of the tier's own.
    tiers: BTreeMap<String, TierQuota>,
    /// The instance is leaving and takes no runs.
    draining: bool,
    permits: PermitUse,
    queue: QueueUse,
    /// Runs on each arbiter.
    arbiters: Vec<u64>,
    database: DatabaseUse,
    blocking_pool: BlockingPoolUse,
    process: ProcessUse,
}

/// What goes into the formula of concurrent runs.
#[derive(Deserialize, ToSchema)]
pub(super) struct CapacityInputs {
    cpus: u32,
    memory_bytes: u64,
    runs_per_cpu: u32,
    memory_per_run_bytes: u64,
    ceiling: u32,
    /// Overrides the formula.
    #[schema(required)]
    max_concurrent_runs: Option<u32>,
}

/// What comes out of it.
#[derive(Deserialize, ToSchema)]
pub(super) struct CapacityLimits {
    concurrent_runs: u32,
    /// The bound that decided.
    decided_by: String,
    /// The formula in words.
    explanation: String,
    cpus_allow: u64,
    memory_allows: u64,
    database_connections: u32,
    blocking_threads: u32,
}

/// What one account of a tier may do.
#[derive(Deserialize, ToSchema)]
pub(super) struct TierQuota {
    #[schema(required)]
    concurrent_runs: Option<u32>,
    #[schema(required)]
    queued_runs: Option<u64>,
    #[schema(required)]
    requests_per_second: Option<u32>,
}

/// Runs at work.
#[derive(Deserialize, ToSchema)]
pub(super) struct PermitUse {
    limit: u32,
    in_use: u32,
    free: u32,
}

/// Runs that wait. In a fleet those of all instances, as the last heartbeat found them.
#[derive(Deserialize, ToSchema)]
pub(super) struct QueueUse {
    limit: u64,
    length: u64,
    by_tier: BTreeMap<String, u64>,
}

/// The database.
#[derive(Deserialize, ToSchema)]
pub(super) struct DatabaseUse {
    connections_limit: u32,
    connections_open: u32,
    connections_busy: u32,
    writes_waiting: u64,
    /// Statements since the start.
    statements: u64,
    /// Commits since the start.
    commits: u64,
}

/// The pool for blocking work.
#[derive(Deserialize, ToSchema)]
pub(super) struct BlockingPoolUse {
    threads_limit: u64,
    busy: u64,
    waiting: u64,
}

/// This process.
#[derive(Deserialize, ToSchema)]
pub(super) struct ProcessUse {
    /// CPUs kept busy: 1.0 is one whole CPU.
    cpu_cores: f64,
    /// CPU time since the start, seconds.
    cpu_seconds: f64,
    /// Resident memory, bytes.
    rss_bytes: u64,
}

/// The instances of this installation, and what they come to together.
#[derive(Deserialize, ToSchema)]
pub(super) struct Cluster {
    /// Always `cluster`.
    object: String,
    mode: ClusterMode,
    /// Oldest first: those that are alive and those that were lost lately.
    instances: Vec<ClusterInstance>,
    totals: ClusterTotals,
}

/// `alone`: the store serves this one instance. `fleet`: any number of instances share it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterMode {
    Alone,
    Fleet,
}

/// An instance.
#[derive(Deserialize, ToSchema)]
pub(super) struct ClusterInstance {
    /// `inst_…`: another one after each start, and after each lost lease.
    id: String,
    name: String,
    version: String,
    #[schema(format = DateTime)]
    started_at: String,
    state: InstanceState,
    /// It is the one that answers this request.
    answering: bool,
    /// Since its last sign of life.
    heartbeat_age_ms: u64,
    /// `null` if the lease is over; always on an instance that is alone, which needs none.
    #[schema(required)]
    lease_left_ms: Option<u64>,
    permits: InstancePermits,
    /// Runs in `running` that are its.
    runs: u64,
}

/// `live`: takes runs. `draining`: takes no more, because it leaves. `lost`: its lease is over; the others take its runs over.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum InstanceState {
    Live,
    Draining,
    Lost,
}

/// Runs that may be at work, and those that are.
#[derive(Deserialize, ToSchema)]
pub(super) struct InstancePermits {
    limit: u64,
    in_use: u64,
}

/// What the instances come to together.
#[derive(Deserialize, ToSchema)]
pub(super) struct ClusterTotals {
    instances: InstanceCounts,
    /// Of the live instances.
    permits: InstancePermits,
    runs: RunCounts,
    /// By version, the instances that have it and are not lost.
    versions: BTreeMap<String, u64>,
}

/// Instances by state.
#[derive(Deserialize, ToSchema)]
pub(super) struct InstanceCounts {
    live: u64,
    draining: u64,
    lost: u64,
}

/// Runs by state, of all accounts.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunCounts {
    running: u64,
    queued: u64,
    /// `null` on an instance that is alone, which does not count them.
    #[schema(required)]
    waiting: Option<u64>,
}

/// The process runs and answers.
#[derive(Deserialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    status: String,
}

/// Whether new runs would be taken.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReadinessAnswer {
    /// `ready`, `degraded` or `not_ready`.
    status: String,
    /// Why it is not ready: `shutting_down`, `lease_lost`, `supervisor_unresponsive`, `store_unavailable`. Why it is degraded:
    /// `event_stream_unavailable`.
    reasons: Vec<String>,
}
