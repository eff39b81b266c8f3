//! The composition root: the one place that names concrete adapters and puts a server together from its configuration.

mod joining;
mod parts;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use callboard_actors::capacity::{MachineSize, RunLimit};
use callboard_actors::ports::fleet::{FleetOverview, Notice};
use callboard_actors::ports::{EventLog, Fleet, Model, Store, Tool};
use callboard_actors::services::{ModelRoute, RunServices};
use callboard_actors::supervisor::{SupervisorHandle, SupervisorSettings};
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::app::parts::{OpenEventLog, OpenStore};
use crate::auth::{Authenticator, RateLimiters, RequestRate};
use crate::banner::Banner;
use crate::blocking::BlockingPool;
use crate::config::{Config, LOCAL_TIER, LogFormat, ModelConfig, ProviderConfig};
use crate::housekeeping::{Housekeeping, HousekeepingTimes};
use crate::http::{
    self, CapacityReport, Catalog, HttpOptions, HttpParts, HttpState, InstanceIdentity, RunRequestLimits,
};
use crate::llm::openai::{OpenAiModel, OpenAiOptions};
use crate::llm::simulated::SimulatedModel;
use crate::shutdown;
use crate::telemetry;

/// How long writes and open connections may take to end after the runs have.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Runs a server until it is told to stop.
pub fn serve(config: &Config, machine: MachineSize) -> anyhow::Result<()> {
    serve_with_tools(config, machine, Vec::new())
}

/// Runs a server that has these tools beside the built-in ones, until it is told to stop. An error if two tools have one name.
pub fn serve_with_tools(config: &Config, machine: MachineSize, extra: Vec<Arc<dyn Tool>>) -> anyhow::Result<()> {
    let format = match config.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::install_logging(&config.log.level, format)?;
    // Each run that streams takes two connections: its client's and its model's.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let cpus = machine.cpus as usize;
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(or_cpus(config.capacity.io_threads, cpus))
        .max_blocking_threads(config.capacity_parameters().blocking_threads(machine) as usize)
        .thread_name("callboard-io")
        .enable_all()
        .build()?;
    let served = actix_rt::System::new().block_on(serve_on(config, machine, extra, io.handle().clone()));
    io.shutdown_timeout(CLOSING_TIME);
    served
}

/// Opens the store for a command that works beside a server or without one, and closes it again.
///
/// # Errors
/// The store cannot be opened, or what `work` answers.
pub async fn with_store<T, F>(config: &Config, work: impl FnOnce(Arc<dyn Store>) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let opened = OpenStore::for_command(config).await?;
    let done = work(opened.store()).await;
    opened.close().await;
    done
}

/// The instances that share the configured store; `None` if it is one that serves a single server.
///
/// # Errors
/// The store cannot be opened or does not answer.
pub async fn fleet_overview(config: &Config) -> anyhow::Result<Option<FleetOverview>> {
    if config.store.postgres_url_env.is_none() {
        // To open a file that is not there would make it.
        return Ok(None);
    }
    let opened = OpenStore::for_command(config).await?;
    let overview = match opened.fleet() {
        Some(fleet) => fleet.overview().await.map(Some),
        None => Ok(None),
    };
    opened.close().await;
    Ok(overview?)
}

async fn serve_on(config: &Config, machine: MachineSize, extra: Vec<Arc<dyn Tool>>, io: Handle) -> anyhow::Result<()> {
    let started_at = Timestamp::now();
    let metrics = telemetry::install_metrics()?;
    metrics.spawn_upkeep(&io);
    // First of all: what cannot listen must not take on runs.
    let listener = http::listen(config.server.bind, config.server.backlog)
        .with_context(|| format!("cannot listen on {}", config.server.bind))?;
    let address = listener.local_addr()?;
    let opened = on(&io, {
        let (config, handle) = (config.clone(), io.clone());
        async move { OpenStore::for_server(&config, machine, &handle).await }
    })
    .await?;
    let store = opened.store();
    let has_keys = on(&io, {
        let store = store.clone();
        async move { Ok(store.has_keys().await?) }
    })
    .await?;
    if !has_keys && !config.server.is_loopback() {
        bail!(
            "server.bind is {}, which other machines can reach, and there are no API keys: create one with \
             `callboard keys create --account NAME --tier TIER`, or bind to loopback (127.0.0.1)",
            config.server.bind
        );
    }
    let events = Arc::new(OpenEventLog::over(&store, config, &io)?);
    let limit = config.capacity_parameters().concurrent_runs(machine);
    let services = run_services(config, extra, store.clone(), events.log.clone(), io.clone())?;
    let catalog = catalog(&services);
    let fleet = opened.fleet();
    let name = config.fleet.name.clone();
    let name = name.unwrap_or_else(|| joining::usual_name(address.port()));
    let beginning = on(&io, {
        let (config, store, fleet, is_shared) = (config.clone(), store.clone(), fleet.clone(), events.is_shared());
        let name = name.clone();
        async move {
            match fleet {
                Some(fleet) => joining::join(fleet, &config, name, address, is_shared).await,
                None => joining::begin_alone(store).await,
            }
        }
    })
    .await?;
    let settings = supervisor_settings(config, &limit, machine.cpus as usize);
    let supervisor = SupervisorHandle::start_supervisor(services, settings, beginning);
    let housekeeping = Housekeeping::start(&store, housekeeping_times(config), &io);
    let authenticator = Authenticator::new(store.clone(), io.clone(), LOCAL_TIER);
    if let Some(fleet) = &fleet {
        io.spawn(forget_changed_keys(fleet.clone(), authenticator.clone()));
    }

    let (close_streams, streams_closed) = watch::channel(false);
    let blocking_threads = config.capacity_parameters().blocking_threads(machine) as usize;
    let parts = HttpParts {
        runs: Arc::new(supervisor.clone()),
        store: store.clone(),
        event_log: events.log.clone(),
        fleet,
        instance: InstanceIdentity {
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
        },
        catalog,
        authenticator,
        rate_limiters: RateLimiters::new(request_rates(config)),
        capacity: capacity_report(config, machine, &limit),
        metrics: Some(metrics),
        blocking_pool: BlockingPool::new(io.clone(), blocking_threads),
        close_streams: streams_closed,
        io: io.clone(),
    };
    let state = HttpState::new(parts, http_options(config, machine.cpus as usize));
    let server = http::server(state, listener)?;
    let server_handle = server.handle();
    let serving = actix_rt::spawn(server);
    print_banner(config, address, &limit, has_keys);

    shutdown::first_signal().await?;
    shutdown::exit_at_once_on_second_signal()?;
    drain(&supervisor, config.server.shutdown_grace).await;
    on(&io, async move {
        events.flush(CLOSING_TIME).await;
        Ok(())
    })
    .await?;
    // The last events are out; whoever follows a run that goes on elsewhere comes again.
    let _ = close_streams.send(true);
    server_handle.stop(true).await;
    serving.await??;
    drop(housekeeping);
    on(&io, async move {
        opened.close().await;
        Ok(())
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Keys and tiers that another instance or a command has changed count here at once.
async fn forget_changed_keys(fleet: Arc<dyn Fleet>, authenticator: Authenticator) {
    let mut notices = fleet.notices();
    while let Some(notice) = notices.next().await {
        if matches!(notice, Notice::KeysChanged | Notice::Missed) {
            authenticator.forget_answers();
        }
    }
}

/// Lets running runs end, saying what it waits for. Runs that cannot even be handed over, because the store does not answer, are left as
/// they are: the next start takes them up like those of a server that was killed.
async fn drain(supervisor: &SupervisorHandle, grace: Duration) {
    let drained = supervisor.drain(grace);
    let last_moment = tokio::time::sleep(grace.saturating_add(CLOSING_TIME));
    tokio::pin!(last_moment);
    tokio::pin!(drained);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = &mut drained => return,
            () = &mut last_moment => {
                let running = supervisor.snapshot().await.permits_in_use;
                tracing::warn!(running, "the store does not take the running runs back; the next start goes on with them");
                return;
            }
            _ = ticks.tick() => {
                let running = supervisor.snapshot().await.permits_in_use;
                if running > 0 {
                    let runs = if running == 1 { "run" } else { "runs" };
                    shutdown::say(&format!("stopping: waiting for {running} {runs} (at most {grace:?}); once more to stop at once"));
                }
            }
        }
    }
}

/// Does this on the runtime that the store's connections belong to.
async fn on<T: Send + 'static>(
    io: &Handle,
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    io.spawn(work).await?
}

fn or_cpus(count: usize, cpus: usize) -> usize {
    if count == 0 { cpus.max(1) } else { count }
}

fn run_services(
    config: &Config,
    extra: Vec<Arc<dyn Tool>>,
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    io: Handle,
) -> anyhow::Result<RunServices> {
    let mut models = HashMap::new();
    for (name, model) in &config.models {
        let route = model_route(model).with_context(|| format!("models.{name}"))?;
        models.insert(name.clone(), Arc::new(route));
    }
    let mut tools: BTreeMap<String, Arc<dyn Tool>> = BTreeMap::new();
    for name in &config.tools.enabled {
        let tool = crate::tools::builtin(name).with_context(|| format!("tools.enabled: there is no tool {name:?}"))?;
        tools.insert(name.clone(), tool);
    }
    for tool in extra {
        let name = tool.definition().name;
        if tools.insert(name.clone(), tool).is_some() {
            bail!("there are two tools named {name:?}");
        }
    }
    Ok(RunServices {
        store,
        log,
        models,
        tools,
        io,
        settings: config.run_settings(),
    })
}

fn model_route(config: &ModelConfig) -> anyhow::Result<ModelRoute> {
    let calls = &config.calls;
    let model: Arc<dyn Model> = match &config.provider {
        ProviderConfig::Simulated => Arc::new(SimulatedModel::default()),
        ProviderConfig::OpenAi {
            base_url,
            api_key_env,
            upstream_model,
        } => Arc::new(OpenAiModel::new(OpenAiOptions {
            base_url: base_url.to_string(),
            api_key: api_key_env
                .as_deref()
                .map(|name| parts::secret_from_env("api_key_env", name))
                .transpose()?,
            upstream_model: upstream_model.clone(),
            connect_timeout: calls.connect_timeout,
            max_idle_connections: calls.max_idle_connections,
            max_event_size: calls.max_event_size,
        })?),
    };
    Ok(ModelRoute {
        model,
        timeouts: calls.timeouts(),
        retry: calls.retry_policy(),
    })
}

fn catalog(services: &RunServices) -> Catalog {
    let models = services
        .models
        .iter()
        .map(|(name, route)| (name.clone(), route.model.clone()))
        .collect();
    Catalog::new(models, services.tools.keys().cloned().collect())
}

fn supervisor_settings(config: &Config, limit: &RunLimit, cpus: usize) -> SupervisorSettings {
    SupervisorSettings {
        permits: limit.runs,
        queue_limit: config.queue.max_queued,
        queue_deadline: config.queue.deadline,
        position_interval: config.queue.position_interval,
        tiers: config
            .tiers
            .iter()
            .map(|(name, tier)| (name.clone(), tier.quota()))
            .collect(),
        arbiters: or_cpus(config.capacity.arbiters, cpus),
        mailbox: config.capacity.supervisor_mailbox,
    }
}

fn request_rates(config: &Config) -> impl Iterator<Item = (String, RequestRate)> {
    config.tiers.iter().filter_map(|(name, tier)| {
        let per_second = tier.requests_per_second?;
        Some((
            name.clone(),
            RequestRate {
                requests_per_second: per_second.try_into().ok()?,
                burst: tier.burst.try_into().ok()?,
            },
        ))
    })
}

fn capacity_report(config: &Config, machine: MachineSize, limit: &RunLimit) -> CapacityReport {
    let parameters = config.capacity_parameters();
    CapacityReport {
        inputs: json!({
            "cpus": machine.cpus,
            "memory_bytes": machine.memory_bytes,
            "runs_per_cpu": parameters.runs_per_cpu,
            "memory_per_run_bytes": parameters.memory_per_run,
            "ceiling": parameters.ceiling,
            "max_concurrent_runs": parameters.max_concurrent_runs,
        }),
        limits: json!({
            "concurrent_runs": limit.runs,
            "decided_by": limit.decided_by.as_str(),
            "explanation": limit.to_string(),
            "cpus_allow": limit.cpus_allow,
            "memory_allows": limit.memory_allows,
            "database_connections": parameters.database_connections(limit.runs),
            "blocking_threads": parameters.blocking_threads(machine),
        }),
        tiers: config
            .tiers
            .iter()
            .map(|(name, tier)| {
                let quota = json!({
                    "concurrent_runs": tier.concurrent_runs,
                    "queued_runs": tier.queued_runs,
                    "requests_per_second": tier.requests_per_second,
                });
                (name.clone(), quota)
            })
            .collect(),
    }
}

fn http_options(config: &Config, cpus: usize) -> HttpOptions {
    let (server, runs) = (&config.server, &config.runs);
    let workers = or_cpus(server.workers, cpus);
    HttpOptions {
        workers,
        max_connections: server.max_connections,
        keep_alive: server.keep_alive,
        request_timeout: server.client_request_timeout,
        shutdown_timeout: CLOSING_TIME,
        max_body_bytes: server.max_body,
        max_header_bytes: server.max_headers,
        max_long_poll: server.max_long_poll,
        cancel_timeout: server.cancel_timeout,
        heartbeat: server.heartbeat_interval,
        default_page_size: server.page_default,
        max_page_size: server.page_maximum,
        max_event_page_bytes: server.max_event_page,
        runs: RunRequestLimits {
            default_model: runs.default_model.clone(),
            max_input_items: runs.max_input_items,
            max_input_bytes: runs.max_input,
            max_instructions_bytes: runs.max_instructions,
            max_tools: runs.max_tools,
            max_metadata_entries: runs.max_metadata_entries,
            max_metadata_key_bytes: runs.max_metadata_key,
            max_metadata_value_bytes: runs.max_metadata_value,
            default_max_steps: runs.max_steps_default,
            max_steps_ceiling: runs.max_steps_maximum,
            default_max_output_tokens: runs.max_output_tokens_default,
            max_output_tokens_ceiling: runs.max_output_tokens_maximum.unwrap_or(u64::MAX),
            default_deadline: runs.deadline_default,
            deadline_ceiling: runs.deadline_maximum,
        },
    }
}

fn housekeeping_times(config: &Config) -> HousekeepingTimes {
    HousekeepingTimes {
        idempotency_retention: config.server.idempotency_retention,
        archive_after: config.events.archive_after,
        history_retention: config.events.history_retention,
    }
}

fn print_banner(config: &Config, address: SocketAddr, limit: &RunLimit, has_keys: bool) {
    let tiers = config.tiers.iter().filter(|(name, _)| name.as_str() != LOCAL_TIER);
    let banner = Banner {
        address,
        capacity: limit.to_string(),
        tiers: tiers.map(|(name, tier)| (name.clone(), tier.concurrent_runs)).collect(),
        store: parts::shown(config),
        has_keys,
        model: config.runs.default_model.clone(),
        simulated: config
            .models
            .get(&config.runs.default_model)
            .is_some_and(|model| model.provider == ProviderConfig::Simulated),
    };
    shutdown::say(&banner.to_string());
}
