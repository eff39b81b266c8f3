//! The models that the configuration names: routes to the adapters of their providers, with the keys and lines that these share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use callboard_actors::llm::circuit::{Circuit, CircuitSettings};
use callboard_actors::llm::{CallLine, ModelRoute, Provider, Target};
use callboard_actors::ports::rate_limits::{KeyLimits, LimitedKey};
use callboard_actors::ports::{Model, RateLimits};
use secrecy::SecretString;

use super::parts::own_rate_limits;
use super::provider_keys::{ProviderKey, read_provider_keys};
use crate::config::{
    Config, Dialect, LimitsPer, ModelCallConfig, ModelConfig, OutputLimitName, ProviderConfig, ProviderService,
    TargetConfig,
};
use crate::llm::anthropic::AnthropicModel;
use crate::llm::openai::{OpenAiModel, OutputLimitField};
use crate::llm::openai_responses::OpenAiResponsesModel;
use crate::llm::simulated::SimulatedModel;
use crate::llm::upstream::{ProviderClient, UpstreamOptions};
use crate::model_directory::{KeyPool, KeyProbe, ListedKey, ListedProvider, ModelDirectory, WatchedModel};

/// Models and their providers, ready to be asked.
pub(super) struct OpenModels {
    /// By the name that clients use.
    pub(super) routes: HashMap<String, Arc<ModelRoute>>,
    /// What is shown of the providers.
    pub(super) directory: ModelDirectory,
}

impl OpenModels {
    /// Reads the keys. What they allow is counted by `limits`.
    ///
    /// # Errors
    /// A key is missing or cannot be sent.
    pub(super) fn open(config: &Config, limits: &Arc<dyn RateLimits>) -> anyhow::Result<Self> {
        let mut opening = Opening {
            config,
            keys: read_provider_keys(config)?,
            limits: limits.clone(),
            own_limits: own_rate_limits(),
            providers: BTreeMap::new(),
            clients: HashMap::new(),
        };
        let mut routes = HashMap::new();
        for (name, model) in &config.models {
            let route = opening.route(name, model).with_context(|| format!("models.{name}"))?;
            routes.insert(name.clone(), Arc::new(route));
        }
        Ok(Self {
            routes,
            directory: ModelDirectory {
                providers: opening.providers.into_values().map(ListedProvider::from).collect(),
            },
        })
    }
}

/// The longest time that a key is tried.
const LONGEST_PROBE: Duration = Duration::from_secs(60);

impl OpenModels {
    /// One try of each key with each model that it is used for, by the names of the models; only of this one, if one is named.
    pub(super) fn probes(&self, only: Option<&str>) -> Vec<KeyProbe> {
        let by_name: BTreeMap<_, _> = self.routes.iter().collect();
        let mut probes: Vec<KeyProbe> = Vec::new();
        for (name, route) in by_name {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            for target in &route.targets {
                for (place, model) in target.models.iter().enumerate() {
                    let probe = KeyProbe {
                        routes: vec![name.clone()],
                        provider: target.provider.name.to_string(),
                        upstream_model: target.upstream_model.to_string(),
                        number: place + 1,
                        last_four: self.directory.last_four(&target.keys[place]),
                        model: model.clone(),
                        longest: route.calls.timeouts.call.min(LONGEST_PROBE),
                    };
                    match probes.iter_mut().find(|other| other.is_same_as(&probe)) {
                        Some(other) => other.routes.push(name.clone()),
                        None => probes.push(probe),
                    }
                }
            }
        }
        probes
    }
}

/// Models that are being opened.
struct Opening<'a> {
    config: &'a Config,
    keys: BTreeMap<String, Vec<ProviderKey>>,
    limits: Arc<dyn RateLimits>,
    /// For what has no limits.
    own_limits: Arc<dyn RateLimits>,
    providers: BTreeMap<&'a str, OpenProvider>,
    clients: HashMap<ClientKey<'a>, ProviderClient>,
}

/// Models of a provider share its connections, unless they want them otherwise.
type ClientKey<'a> = (&'a str, Duration, usize);

/// A provider that some model asks.
struct OpenProvider {
    provider: Arc<Provider>,
    dialect: &'static str,
    /// By model, if each has limits of its own.
    pools: BTreeMap<Option<Arc<str>>, Arc<KeyPool>>,
}

impl From<OpenProvider> for ListedProvider {
    fn from(open: OpenProvider) -> Self {
        Self {
            provider: open.provider,
            dialect: open.dialect,
            pools: open.pools.into_values().collect(),
        }
    }
}

impl<'a> Opening<'a> {
    fn route(&mut self, name: &str, model: &'a ModelConfig) -> anyhow::Result<ModelRoute> {
        let mut targets = Vec::new();
        for target in &model.targets {
            let opened = self.target(target, &model.calls);
            targets.push(Arc::new(
                opened.with_context(|| format!("provider {}", target.provider))?,
            ));
        }
        Ok(ModelRoute {
            name: name.into(),
            targets,
            choice: model.choice,
            calls: model.calls.settings(),
        })
    }

    fn target(&mut self, target: &'a TargetConfig, calls: &ModelCallConfig) -> anyhow::Result<Target> {
        let name = target.provider.as_str();
        let config = self.config;
        let provider_config = config.providers.get(name).context("there is no such provider")?;
        let upstream_model: Arc<str> = target.upstream_model.as_str().into();
        let pool = self.pool(name, provider_config, &upstream_model);
        let mut models = Vec::new();
        for (place, listed) in pool.listed.iter().enumerate() {
            let secret = self.keys[name].get(place).map(|key| key.secret.clone());
            let model = self.model(name, provider_config, target, calls, secret)?;
            models.push(Arc::new(WatchedModel::new(model, listed.calls.clone())) as Arc<dyn Model>);
        }
        Ok(Target {
            provider: self.providers[name].provider.clone(),
            upstream_model,
            keys: pool.keys.clone(),
            has_keys: !self.keys[name].is_empty(),
            models,
            line: pool.line.clone(),
            weight: target.weight,
            price: target.price.unwrap_or_default(),
        })
    }

    /// The keys that calls to this model choose from.
    fn pool(&mut self, name: &'a str, config: &ProviderConfig, upstream_model: &Arc<str>) -> Arc<KeyPool> {
        let open = self.providers.entry(name).or_insert_with(|| OpenProvider {
            provider: Arc::new(Provider {
                name: name.into(),
                circuit: Circuit::new(circuit_of(config)),
            }),
            dialect: dialect_name(config),
            pools: BTreeMap::new(),
        });
        let model = match config.limits.limits_per {
            LimitsPer::Key => None,
            LimitsPer::Model => Some(upstream_model.clone()),
        };
        let pool = open.pools.entry(model.clone()).or_insert_with(|| {
            let key_limits = config.limits.of_a_key();
            let asks_nobody = config.service == ProviderService::Simulated && key_limits == KeyLimits::default();
            // Nobody else counts these; nobody needs to be asked for them.
            let limits = if asks_nobody { &self.own_limits } else { &self.limits };
            let mut listed: Vec<ListedKey> = self.keys[name].iter().map(listed_key).collect();
            if listed.is_empty() {
                // For the limits that it has all the same.
                listed.push(ListedKey::default());
            }
            let key = |place: usize| LimitedKey {
                name: key_name(name, self.keys[name].get(place), model.as_deref()).into(),
                provider: name.into(),
                limits: key_limits,
            };
            Arc::new(KeyPool {
                keys: (0..listed.len()).map(key).collect(),
                model,
                listed,
                line: CallLine::new(limits.clone(), config.limits.max_waiting),
                limits: limits.clone(),
            })
        });
        pool.clone()
    }

    fn model(
        &mut self,
        name: &'a str,
        config: &ProviderConfig,
        target: &TargetConfig,
        calls: &ModelCallConfig,
        api_key: Option<SecretString>,
    ) -> anyhow::Result<Arc<dyn Model>> {
        let ProviderService::Remote { dialect, base_url, .. } = &config.service else {
            return Ok(Arc::new(SimulatedModel::default()));
        };
        let client_key = (name, calls.connect_timeout, calls.max_idle_connections);
        let client = match self.clients.get(&client_key) {
            Some(client) => client.clone(),
            None => {
                let client = ProviderClient::new(base_url.as_str(), calls.connect_timeout, calls.max_idle_connections)?;
                self.clients.insert(client_key, client.clone());
                client
            }
        };
        let options = UpstreamOptions {
            client,
            base_url: base_url.to_string(),
            api_key,
            upstream_model: target.upstream_model.clone(),
            max_event_size: calls.max_event_size,
        };
        Ok(match dialect {
            Dialect::OpenAi => {
                let model = OpenAiModel::new(options)?;
                match config.output_limit_field {
                    Some(field) => Arc::new(model.with_output_limit(output_limit_field(field))),
                    None => Arc::new(model),
                }
            }
            Dialect::OpenAiResponses => Arc::new(OpenAiResponsesModel::new(options)?),
            Dialect::Anthropic => Arc::new(AnthropicModel::new(options, calls.max_output_tokens)?),
        })
    }
}

fn output_limit_field(written: OutputLimitName) -> OutputLimitField {
    match written {
        OutputLimitName::MaxTokens => OutputLimitField::MaxTokens,
        OutputLimitName::MaxCompletionTokens => OutputLimitField::MaxCompletionTokens,
    }
}

fn dialect_name(config: &ProviderConfig) -> &'static str {
    match &config.service {
        ProviderService::Simulated => "simulated",
        ProviderService::Remote { dialect, .. } => dialect.as_str(),
    }
}

fn listed_key(key: &ProviderKey) -> ListedKey {
    ListedKey {
        last_four: key.last_four.clone(),
        ..ListedKey::default()
    }
}

/// By the secret and not by its place: a new key in the place of another starts anew, and the order of keys is no matter.
fn key_name(provider: &str, key: Option<&ProviderKey>, model: Option<&str>) -> String {
    // Without a key there is one set of limits: the first and only one.
    let key = key.map_or("1", |key| &key.fingerprint);
    match model {
        Some(model) => format!("{provider}/{key}/{model}"),
        None => format!("{provider}/{key}"),
    }
}

/// What asks nobody is never in trouble: what fails there was told to by one run, and is no business of the others.
fn circuit_of(config: &ProviderConfig) -> CircuitSettings {
    let settings = config.limits.circuit();
    match config.service {
        ProviderService::Simulated => CircuitSettings {
            failures: 0,
            ..settings
        },
        _ => settings,
    }
}
