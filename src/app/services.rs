//! What the runs of this server work with, as the configuration names it.

use std::sync::Arc;

use callboard_actors::capacity::MachineSize;
use callboard_actors::llm::{AccountBudgets, AnswerSharing, Flights, Pictures};
use callboard_actors::ports::{EventLog, Tool};
use callboard_actors::services::RunServices;
use callboard_actors::thread_lines::ThreadLines;
use tokio::runtime::Handle;

use super::mcp::mcp_options;
use super::models::OpenModels;
use super::outside::database_url;
use super::parts::OpenStore;
use super::secrets::read_secrets;
use super::settings::{configured_endpoint_options, document_limits, outbound_options, tier_budgets, toolbox_options};
use crate::blocking::BlockingPool;
use crate::config::{Config, DatabasePlaceConfig, ProviderService};
use crate::files::FileService;
use crate::http::Catalog;
use crate::llm::answer_cache::MemoryAnswerCache;
use crate::outbound::Outbound;
use crate::tools::mcp::McpServers;
use crate::tools::{BuiltinParts, DatabaseOptions, DatabasePlace, ServerToolbox, ToolReach};

/// What is open already when the services of runs are put together.
pub(super) struct OpenParts<'opened> {
    pub(super) models: &'opened OpenModels,
    pub(super) store: &'opened OpenStore,
    pub(super) files: &'opened FileService,
    pub(super) log: Arc<dyn EventLog>,
    pub(super) blocking_pool: BlockingPool,
    pub(super) io: Handle,
}

/// `extra` are tools beside the built-in ones.
pub(super) fn run_services(
    config: &Config,
    machine: MachineSize,
    open: OpenParts<'_>,
    extra: Vec<Arc<dyn Tool>>,
) -> anyhow::Result<(RunServices, McpServers)> {
    let OpenParts {
        models,
        store,
        files,
        log,
        blocking_pool,
        io,
    } = open;
    let reach = ToolReach {
        outbound: Outbound::new(outbound_options(config))?,
        secrets: Arc::new(read_secrets(config)?),
        blocking_pool,
    };
    let parts = builtin_parts(config, machine, files, &reach)?;
    let builtin = |name: &String| crate::tools::builtin(name, &parts);
    let builtin = config.tools.enabled.iter().map(builtin);
    let mut tools: Vec<Arc<dyn Tool>> = builtin.collect::<anyhow::Result<_>>()?;
    tools.extend(extra);
    let mcp = McpServers::new(mcp_options(config)?, reach.clone(), io.clone())?;
    let toolbox = ServerToolbox::new(tools, reach, mcp.clone(), toolbox_options(config))?;
    let shared_answers = config.shares_answers().then(|| AnswerSharing {
        answers: Arc::new(MemoryAnswerCache::new(config.answer_cache.max_size)),
        flights: Flights::default(),
    });
    let services = RunServices {
        store: store.store(),
        threads: store.threads(),
        thread_lines: ThreadLines::default(),
        log,
        models: models.routes.clone(),
        account_budgets: account_budgets(config, store),
        shared_answers,
        pictures: Some(Pictures {
            files: Arc::new(files.clone()),
            max_bytes_per_call: config.files.max_images_per_call,
            max_count_per_call: config.files.max_image_count,
        }),
        toolbox: Arc::new(toolbox),
        io,
        settings: config.run_settings(),
    };
    Ok((services, mcp))
}

fn builtin_parts(
    config: &Config,
    machine: MachineSize,
    files: &FileService,
    reach: &ToolReach,
) -> anyhow::Result<BuiltinParts> {
    let search = config.search.clone().map(|options| {
        let reach = ToolReach {
            outbound: Outbound::new(configured_endpoint_options(config))?,
            ..reach.clone()
        };
        anyhow::Ok((options, reach))
    });
    let databases = config.databases.iter().map(|(name, database)| {
        let place = match &database.place {
            DatabasePlaceConfig::Sqlite(path) => DatabasePlace::Sqlite(path.clone()),
            DatabasePlaceConfig::PostgresUrlIn(variable) => DatabasePlace::Postgres(database_url(name, variable)?),
        };
        let options = DatabaseOptions {
            place,
            max_rows: database.max_rows,
            timeout: database.timeout,
            max_concurrent: database.max_concurrent,
        };
        anyhow::Ok((name.clone(), options))
    });
    Ok(BuiltinParts {
        reach: reach.clone(),
        files: files.clone(),
        documents: document_limits(config, machine),
        search: search.transpose()?,
        databases: databases.collect::<anyhow::Result<_>>()?,
        max_output: config.tools.max_output,
    })
}

/// `None` if no tier has a budget: then nobody asks the store before a call.
fn account_budgets(config: &Config, opened: &OpenStore) -> Option<AccountBudgets> {
    let by_tier = tier_budgets(config);
    if by_tier.values().any(|budget| budget.limits.cost.is_some()) {
        warn_of_missing_prices(config);
    }
    (!by_tier.is_empty()).then(|| AccountBudgets {
        budgets: opened.budgets(),
        by_tier,
    })
}

/// A budget of dollars does not bound what has no price.
fn warn_of_missing_prices(config: &Config) {
    for (model, targets) in config.models.iter().map(|(name, model)| (name, &model.targets)) {
        for target in targets.iter().filter(|target| target.price.is_none()) {
            let provider = &config.providers[&target.provider];
            if provider.service != ProviderService::Simulated {
                let (provider, upstream_model) = (&target.provider, &target.upstream_model);
                tracing::warn!(
                    model,
                    provider,
                    upstream_model,
                    "a tier's budget limits cost, and this has no price: it counts as free"
                );
            }
        }
    }
}

pub(super) fn catalog(services: &RunServices) -> Catalog {
    let models = services.models.clone().into_iter().collect();
    Catalog::new(models, services.toolbox.clone())
}
