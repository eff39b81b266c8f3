//! What the runs of this server work with, as the configuration names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use callboard_actors::capacity::MachineSize;
use callboard_actors::llm::{AccountBudgets, AnswerSharing, Flights, Pictures};
use callboard_actors::ports::{EventLog, Tool};
use callboard_actors::services::RunServices;
use tokio::runtime::Handle;

use super::models::OpenModels;
use super::parts::OpenStore;
use super::settings::tier_budgets;
use crate::config::{Config, ProviderService};
use crate::files::FileService;
use crate::http::Catalog;
use crate::llm::answer_cache::MemoryAnswerCache;
use crate::tools::parse_file::{DocumentLimits, DocumentReader, ParseFile};

pub(super) fn run_services(
    config: &Config,
    machine: MachineSize,
    models: &OpenModels,
    opened: &OpenStore,
    files: &FileService,
    extra: Vec<Arc<dyn Tool>>,
    log: Arc<dyn EventLog>,
    io: Handle,
) -> anyhow::Result<RunServices> {
    let mut tools: BTreeMap<String, Arc<dyn Tool>> = BTreeMap::new();
    for name in &config.tools.enabled {
        let tool = match name.as_str() {
            "parse_file" => Some(parse_file(config, machine, files)?),
            name => crate::tools::builtin(name),
        };
        let tool = tool.with_context(|| format!("tools.enabled: there is no tool {name:?}"))?;
        tools.insert(name.clone(), tool);
    }
    for tool in extra {
        let name = tool.definition().name;
        if tools.insert(name.clone(), tool).is_some() {
            bail!("there are two tools named {name:?}");
        }
    }
    let shared_answers = config.shares_answers().then(|| AnswerSharing {
        answers: Arc::new(MemoryAnswerCache::new(config.answer_cache.max_size)),
        flights: Flights::default(),
    });
    Ok(RunServices {
        store: opened.store(),
        log,
        models: models.routes.clone(),
        account_budgets: account_budgets(config, opened),
        shared_answers,
        pictures: Some(Pictures {
            files: Arc::new(files.clone()),
            max_bytes_per_call: config.files.max_images_per_call,
        }),
        tools,
        io,
        settings: config.run_settings(),
    })
}

fn parse_file(config: &Config, machine: MachineSize, files: &FileService) -> anyhow::Result<Arc<dyn Tool>> {
    let program =
        std::env::current_exe().context("documents are read by this program, and it is not known where that is")?;
    let section = &config.documents;
    let limits = DocumentLimits {
        max_bytes: section.max_size,
        max_memory: section.max_memory,
        timeout: section.timeout,
        max_parallel: match section.max_parallel {
            0 => config.capacity_parameters().blocking_threads(machine) as usize,
            count => count,
        },
    };
    let documents = DocumentReader::new(program, limits);
    Ok(Arc::new(ParseFile::new(
        files.clone(),
        documents,
        config.tools.max_output,
    )))
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
    Catalog::new(models, services.tools.keys().cloned().collect())
}
