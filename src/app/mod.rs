//! The composition root: the one place that names concrete adapters and puts a server together from its configuration.

mod files;
mod joining;
mod key_places;
mod mcp;
mod models;
mod outside;
mod parts;
mod provider_keys;
mod secrets;
mod services;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, bail};
use callboard_actors::capacity::{MachineSize, RunLimit};
use callboard_actors::ports::fleet::{FleetOverview, Notice};
use callboard_actors::ports::{Budgets, Fleet, Store, Tool};
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::agent_directory::AgentDirectory;
pub use crate::app::key_places::{OutsideErrors, OutsideProblem};
use crate::app::models::OpenModels;
pub use crate::app::outside::outside_problems;
use crate::app::parts::{OpenEventLog, OpenStore};
use crate::app::services::{OpenParts, catalog, run_services};
use crate::app::settings::{
    capacity_report, housekeeping_times, http_options, or_cpus, request_rates, supervisor_settings, tier_budgets,
};
use crate::auth::{Authenticator, RateLimiters};
use crate::banner::Banner;
use crate::blocking::BlockingPool;
use crate::budget_watch::BudgetWatch;
use crate::call_watch::CallWatch;
use crate::config::{Config, LOCAL_TIER, LogFormat};
use crate::housekeeping::Housekeeping;
use crate::http::{self, HttpParts, HttpState, InstanceIdentity};
use crate::model_directory::KeyProbe;
use crate::outbound;
use crate::shutdown;
use crate::store::migrate::StoreMigration;
use crate::telemetry;
use crate::tools::parse_file::worker;

/// How long writes and open connections may take to end after the runs have.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Runs a server until it is told to stop.
pub fn serve(config: &Config, machine: MachineSize) -> anyhow::Result<()> {
    serve_with_tools(config, machine, Vec::new())
}

/// Runs a server that has these tools beside the built-in ones, until it is told to stop. An error if two tools have one name.
///
/// A server reads documents in processes of its own program with the one argument `parse-document`: one of those does that here instead, and
/// returns. So a program of yours should come here before it does much else.
pub fn serve_with_tools(config: &Config, machine: MachineSize, extra: Vec<Arc<dyn Tool>>) -> anyhow::Result<()> {
    if worker::is_wanted() {
        return Ok(worker::run()?);
    }
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
        .max_blocking_threads(
            config.capacity_parameters().blocking_threads(machine) as usize + outbound::LOOKUP_THREADS,
        )
        .thread_name("callboard-io")
        .enable_all()
        .build()?;
    let served = actix_rt::System::new().block_on(serve_on(config, machine, extra, io.handle().clone()));
    io.shutdown_timeout(CLOSING_TIME);
    served
}

/// There is no store where the configuration says.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no store at {} (store.path): no server has run with this configuration here; \
     is it another folder, or another --config?",
    path.display()
)]
pub struct NoStore {
    /// Where it should be.
    pub path: PathBuf,
}

/// As [`with_store`], for a command that has nothing to do in a store that is not there: a file that is missing is not made.
///
/// # Errors
/// [`NoStore`], the store cannot be opened, or what `work` answers.
pub async fn with_existing_store<T, F>(
    config: &Config,
    work: impl FnOnce(Arc<dyn Store>, Arc<dyn Budgets>) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let path = &config.store.path;
    if config.store.postgres_url_env.is_none() && !path.exists() {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        return Err(NoStore { path }.into());
    }
    with_store(config, work).await
}

/// Opens the store, and what accounts have used, for a command that works beside a server or without one, and closes it again. A store that
/// is a file is made if it is missing.
///
/// # Errors
/// The store cannot be opened, or what `work` answers.
pub async fn with_store<T, F>(
    config: &Config,
    work: impl FnOnce(Arc<dyn Store>, Arc<dyn Budgets>) -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let opened = OpenStore::for_command(config).await?;
    let done = work(opened.store(), opened.budgets()).await;
    opened.close().await;
    done
}

/// A try of each key of the configured models, or of this one.
///
/// # Errors
/// A key is missing or cannot be sent.
pub fn key_probes(config: &Config, model: Option<&str>) -> anyhow::Result<Vec<KeyProbe>> {
    Ok(OpenModels::open(config, &parts::own_rate_limits())?.probes(model))
}

/// Where the store is, for people; without a secret.
pub fn shown_store(config: &Config) -> String {
    if config.store.postgres_url_env.is_some() {
        return parts::shown(config);
    }
    let path = std::path::absolute(&config.store.path);
    path.map_or_else(|_| parts::shown(config), |path| path.display().to_string())
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

/// The move of an installation from its SQLite file, or the one named here, to a PostgreSQL database.
pub fn store_migration(config: &Config, from_path: Option<PathBuf>, target_url: String) -> StoreMigration {
    let mut source = parts::sqlite_options(config);
    source.path = from_path.unwrap_or(source.path);
    StoreMigration { source, target_url }
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
    let live_instances = Arc::new(AtomicU32::new(1));
    let rate_limits = parts::open_rate_limits(config, live_instances.clone(), &io)?;
    let models = OpenModels::open(config, &rate_limits)?;
    let files = files::open_files(config, opened.files(), &io)?;
    let blocking_threads = config.capacity_parameters().blocking_threads(machine) as usize;
    let blocking_pool = BlockingPool::new(io.clone(), blocking_threads);
    let open = OpenParts {
        models: &models,
        store: &opened,
        files: &files,
        log: events.log.clone(),
        blocking_pool: blocking_pool.clone(),
        io: io.clone(),
    };
    let (services, mcp) = run_services(config, machine, open, extra)?;
    let catalog = catalog(&services);
    let asks_nobody = models.routes[&config.runs.default_model].is_simulated();
    let fleet = opened.fleet();
    let name = config.fleet.name.clone();
    let name = name.unwrap_or_else(|| joining::usual_name(address.port()));
    let beginning = on(&io, {
        let (config, store, fleet, is_shared) = (config.clone(), store.clone(), fleet.clone(), events.is_shared());
        let name = name.clone();
        async move {
            match fleet {
                Some(fleet) => joining::join(fleet, &config, name, address, is_shared, live_instances).await,
                None => joining::begin_alone(store).await,
            }
        }
    })
    .await?;
    let settings = supervisor_settings(config, &limit, machine.cpus as usize);
    let account_budgets = services.account_budgets.clone();
    let supervisor = SupervisorHandle::start_supervisor(services, settings, beginning);
    let budget_watch = BudgetWatch::start(&store, account_budgets.as_ref(), &supervisor, &io);
    let call_watch = CallWatch::start(&store, &supervisor, &io);
    let housekeeping = Housekeeping::start(&store, opened.budgets(), &files, housekeeping_times(config), &io);
    let agents = AgentDirectory::new(opened.agents());
    let authenticator = Authenticator::new(store.clone(), io.clone(), LOCAL_TIER);
    if let Some(fleet) = &fleet {
        io.spawn(forget_what_changed(
            fleet.clone(),
            authenticator.clone(),
            agents.clone(),
        ));
    }

    let (close_streams, streams_closed) = watch::channel(false);
    let parts = HttpParts {
        runs: Arc::new(supervisor.clone()),
        store: store.clone(),
        agents,
        threads: opened.threads(),
        budgets: opened.budgets(),
        files: files.clone(),
        event_log: events.log.clone(),
        fleet,
        instance: InstanceIdentity {
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
        },
        catalog,
        model_directory: models.directory,
        tier_budgets: tier_budgets(config),
        authenticator,
        rate_limiters: RateLimiters::new(request_rates(config)),
        capacity: capacity_report(config, machine, &limit),
        metrics: Some(metrics),
        blocking_pool,
        close_streams: streams_closed,
        io: io.clone(),
    };
    let state = HttpState::new(parts, http_options(config, machine.cpus as usize));
    let server = http::server(state, listener)?;
    let server_handle = server.handle();
    let serving = actix_rt::spawn(server);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, store = parts::shown(config), "listening");
    // A log for programs has nothing for people in between.
    if config.log.format == LogFormat::Text {
        print_banner(config, address, &limit, has_keys, asks_nobody);
    }

    shutdown::first_signal().await?;
    shutdown::exit_at_once_on_second_signal()?;
    drain(&supervisor, config.server.shutdown_grace).await;
    on(&io, async move {
        events.flush(CLOSING_TIME).await;
        Ok(())
    })
    .await?;
    on(&io, async move {
        mcp.close(CLOSING_TIME).await;
        Ok(())
    })
    .await?;
    // The last events are out; whoever follows a run that goes on elsewhere comes again.
    let _ = close_streams.send(true);
    server_handle.stop(true).await;
    serving.await??;
    drop((housekeeping, budget_watch, call_watch));
    on(&io, async move {
        opened.close().await;
        Ok(())
    })
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// Keys, tiers and agents that another instance or a command has changed count here at once.
async fn forget_what_changed(fleet: Arc<dyn Fleet>, authenticator: Authenticator, agents: AgentDirectory) {
    let mut notices = fleet.notices();
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::KeysChanged => authenticator.forget_answers(),
            Notice::AgentChanged(agent) => agents.forget(agent),
            Notice::Missed => {
                authenticator.forget_answers();
                agents.forget_all();
            }
            Notice::Claimable | Notice::CancelAsked { .. } => {}
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

fn print_banner(config: &Config, address: SocketAddr, limit: &RunLimit, has_keys: bool, simulated: bool) {
    let tiers = config.tiers.iter().filter(|(name, _)| name.as_str() != LOCAL_TIER);
    let banner = Banner {
        address,
        capacity: limit.to_string(),
        tiers: tiers.map(|(name, tier)| (name.clone(), tier.concurrent_runs)).collect(),
        store: parts::shown(config),
        has_keys,
        model: config.runs.default_model.clone(),
        simulated,
    };
    shutdown::say(&banner.to_string());
}
