//! What the runs of this server work with: models and tools, as the configuration names them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail};
use callboard_actors::llm::ModelRoute;
use callboard_actors::ports::{EventLog, Model, Store, Tool};
use callboard_actors::services::RunServices;
use tokio::runtime::Handle;

use super::parts;
use crate::config::{Config, ModelConfig, ProviderConfig};
use crate::http::Catalog;
use crate::llm::openai::OpenAiModel;
use crate::llm::simulated::SimulatedModel;
use crate::llm::upstream::{ProviderClient, UpstreamOptions};

pub(super) fn run_services(
    config: &Config,
    extra: Vec<Arc<dyn Tool>>,
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    io: Handle,
) -> anyhow::Result<RunServices> {
    let mut models = HashMap::new();
    for (name, model) in &config.models {
        let route = model_route(name, model).with_context(|| format!("models.{name}"))?;
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
        account_budgets: None,
        shared_answers: None,
        tools,
        io,
        settings: config.run_settings(),
    })
}

fn model_route(name: &str, config: &ModelConfig) -> anyhow::Result<ModelRoute> {
    let calls = &config.calls;
    let model: Arc<dyn Model> = match &config.provider {
        ProviderConfig::Simulated => Arc::new(SimulatedModel::default()),
        ProviderConfig::OpenAi {
            base_url,
            api_key_env,
            upstream_model,
        } => {
            let options = UpstreamOptions {
                client: ProviderClient::new(base_url.as_str(), calls.connect_timeout, calls.max_idle_connections)?,
                base_url: base_url.to_string(),
                api_key: api_key_env
                    .as_deref()
                    .map(|name| parts::secret_from_env("api_key_env", name))
                    .transpose()?,
                upstream_model: upstream_model.clone(),
                max_event_size: calls.max_event_size,
            };
            Arc::new(OpenAiModel::new(options)?)
        }
    };
    Ok(ModelRoute::to(name, model, calls.settings()))
}

pub(super) fn catalog(services: &RunServices) -> Catalog {
    let models = services.models.clone().into_iter().collect();
    Catalog::new(models, services.tools.keys().cloned().collect())
}
