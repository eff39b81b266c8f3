//! Models and the providers put together: whom each model may ask, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use callboard_actors::llm::Choice;

use super::layers::dotted;
use super::models::{ChoiceName, ModelConfig, ModelTable, TargetConfig, TargetTable};
use super::problem::closest;
use super::providers::{Dialect, KeyPlace, KeySource, ProviderConfig, ProviderService};
use super::resolve::{Contradictions, WrittenConfig, refuse};
use super::resolve_providers::{NOT_A_VARIABLE, Providers, SIMULATED, check_base_url, resolve_providers};
use super::variable_names::is_variable_name;

/// Providers and models by name. A model that says itself whom to ask brings a provider of its own name.
pub(super) fn resolve_models(
    written: &WrittenConfig,
    wrong: &mut Contradictions,
) -> (Providers, BTreeMap<String, ModelConfig>) {
    let mut providers = resolve_providers(written, wrong);
    let mut models = BTreeMap::new();
    for (name, table) in &written.models {
        let mut resolving = ResolvingModel {
            written,
            name,
            table,
            table_key: dotted(&["models".to_owned(), name.clone()]),
            providers: &mut providers,
            wrong,
        };
        if let Some(model) = resolving.resolve() {
            models.insert(name.clone(), model);
        }
    }
    (providers, models)
}

/// A model on its way from what is written to what counts.
struct ResolvingModel<'a> {
    written: &'a WrittenConfig,
    name: &'a str,
    table: &'a ModelTable,
    table_key: String,
    providers: &'a mut Providers,
    wrong: &'a mut Contradictions,
}

impl ResolvingModel<'_> {
    fn resolve(&mut self) -> Option<ModelConfig> {
        if self.name.is_empty()
            || self.name.len() > 128
            || self
                .name
                .chars()
                .any(|letter| letter.is_control() || letter.is_whitespace())
        {
            let message = "a model's name has 1 to 128 characters, and no spaces";
            refuse(self.wrong, &[&self.table_key], message);
        }
        let defaults = &self.written.model_defaults;
        let calls = self.table.calls_over(defaults);
        let default_order_holds = defaults.backoff_initial <= defaults.backoff_maximum;
        if calls.backoff_initial > calls.backoff_maximum && default_order_holds {
            let keys = [self.key("backoff_initial"), self.key("backoff_maximum")];
            let message = "backoff_initial must not be more than backoff_maximum";
            refuse(self.wrong, &[&keys[0], &keys[1]], message);
        }
        let choice = match self.table.choice {
            Some(ChoiceName::Weighted) => Choice::Weighted,
            Some(ChoiceName::Ordered) | None => Choice::Ordered,
        };
        let targets = match &self.table.targets {
            Some(tables) => self.targets(tables, choice),
            None => self.own_target().map(|target| vec![target]),
        };
        Some(ModelConfig {
            targets: targets?,
            choice,
            calls,
        })
    }

    /// `targets = […]`.
    fn targets(&mut self, tables: &[TargetTable], choice: Choice) -> Option<Vec<TargetConfig>> {
        let own = &self.table.own_target();
        let beside = [
            ("provider", own.provider.is_some()),
            ("base_url", self.table.base_url.is_some()),
            ("api_key_env", self.table.api_key_env.is_some()),
            ("upstream_model", own.model.is_some()),
            ("input_price", own.has_price()),
        ];
        for (name, _) in beside.into_iter().filter(|(_, is_set)| *is_set) {
            let message = "has no meaning beside targets: each target has its own";
            refuse(self.wrong, &[&self.key(name)], message);
        }
        let targets_key = self.key("targets");
        if tables.is_empty() {
            refuse(self.wrong, &[&targets_key], "is empty: somebody must answer");
            return None;
        }
        let mut targets = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, table) in tables.iter().enumerate() {
            // What is missing because it was refused has been said, under these keys.
            let own_key = |name: &str| format!("{targets_key}.{}.{name}", index + 1);
            let Some(provider) = &table.provider else {
                let message = format!("target {}: names no provider", index + 1);
                refuse(self.wrong, &[&targets_key, &own_key("provider")], message);
                continue;
            };
            if let Err(problem) = self.find_provider(provider) {
                let message = format!("target {}: {problem}", index + 1);
                refuse(self.wrong, &[&targets_key], message);
                continue;
            }
            let target = self.target_of(provider, table);
            if !seen.insert((target.provider.clone(), target.upstream_model.clone())) {
                let message = format!("names {:?} of {} twice", target.upstream_model, target.provider);
                refuse(self.wrong, &[&targets_key, &own_key("model")], message);
            }
            targets.push(target);
        }
        if choice == Choice::Weighted && targets.iter().all(|target| target.weight == 0) && !targets.is_empty() {
            let message = "needs a target with a weight of more than 0, as choice is \"weighted\"";
            refuse(self.wrong, &[&targets_key], message);
        }
        Some(targets).filter(|targets| !targets.is_empty())
    }

    fn target_of(&self, provider: &str, table: &TargetTable) -> TargetConfig {
        TargetConfig {
            provider: provider.to_owned(),
            upstream_model: table.model.clone().unwrap_or_else(|| self.name.to_owned()),
            weight: table.weight.unwrap_or(1),
            price: table.price(self.providers.get(provider).and_then(ProviderConfig::dialect)),
        }
    }

    /// `provider = …` in the model's own table: one of `[providers]`, or a dialect, with the address beside it.
    fn own_target(&mut self) -> Option<TargetConfig> {
        let own = self.table.own_target();
        let provider_key = self.key("provider");
        let Some(provider) = &own.provider else {
            let message = "is missing; name one of [providers], or several in targets";
            refuse(self.wrong, &[&provider_key], message);
            return None;
        };
        let is_listed = self.written.providers.contains_key(provider);
        if let Some(dialect) = Dialect::named(provider).filter(|_| !is_listed) {
            return self.own_provider(dialect, &own);
        }
        if let Err(problem) = self.find_provider(provider) {
            refuse(self.wrong, &[&provider_key], problem);
            return None;
        }
        let message = if is_listed {
            format!("belongs in {}", dotted(&["providers".to_owned(), provider.clone()]))
        } else {
            "has no meaning for provider = \"simulated\"; did you mean provider = \"openai\"?".to_owned()
        };
        let elsewhere = [
            ("base_url", self.table.base_url.is_some()),
            ("api_key_env", self.table.api_key_env.is_some()),
            ("upstream_model", own.model.is_some() && !is_listed),
        ];
        for (name, _) in elsewhere.into_iter().filter(|(_, is_set)| *is_set) {
            refuse(self.wrong, &[&self.key(name)], message.clone());
        }
        Some(self.target_of(provider, &own))
    }

    /// A provider that only this model asks; it has the model's name.
    fn own_provider(&mut self, dialect: Dialect, own: &TargetTable) -> Option<TargetConfig> {
        let variable = self.table.api_key_env.as_ref();
        if variable.is_some_and(|variable| !is_variable_name(variable)) {
            refuse(self.wrong, &[&self.key("api_key_env")], NOT_A_VARIABLE);
        }
        let url_key = self.key("base_url");
        let Some(url) = &self.table.base_url else {
            let message = format!(
                "is missing; provider = \"{}\" needs it, or a table of this name under [providers]",
                dialect.as_str()
            );
            refuse(self.wrong, &[&url_key], message);
            return None;
        };
        let base_url = match check_base_url(url, "api_key_env") {
            Ok(base_url) => base_url,
            Err(problem) => {
                refuse(self.wrong, &[&url_key], problem);
                return None;
            }
        };
        if self.name == SIMULATED || self.written.providers.contains_key(self.name) {
            let message =
                "would make a second provider of this name; call the model something else, or name a provider";
            refuse(self.wrong, &[&url_key], message);
            return None;
        }
        let key = variable.map(|variable| KeySource {
            named_by: self.key("api_key_env"),
            place: KeyPlace::Environment(variable.clone()),
        });
        let provider = ProviderConfig {
            service: ProviderService::Remote {
                dialect,
                base_url,
                keys: key.into_iter().collect(),
            },
            limits: self.written.provider_defaults.clone(),
            output_limit_field: None,
        };
        self.providers.insert(self.name.to_owned(), provider);
        Some(self.target_of(self.name, own))
    }

    /// One of `[providers]`, or the simulated one, which comes to be when somebody asks it.
    fn find_provider(&mut self, name: &str) -> Result<(), String> {
        let listed = &self.written.providers;
        if listed.contains_key(name) {
            return Ok(());
        }
        if name == SIMULATED {
            self.providers.entry(name.to_owned()).or_insert(ProviderConfig {
                service: ProviderService::Simulated,
                limits: self.written.provider_defaults.clone(),
                output_limit_field: None,
            });
            return Ok(());
        }
        let mut known: Vec<&str> = listed.keys().map(String::as_str).collect();
        if !listed.contains_key(SIMULATED) {
            known.push(SIMULATED);
        }
        // Who wrote it may have meant it for a name or for a secret; only what is like a name is repeated.
        let advice = match closest(name, &known) {
            Some(name) => format!("did you mean {name:?}?"),
            None => format!("there are {}", known.join(", ")),
        };
        Err(format!("there is no such provider under [providers]; {advice}"))
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.table_key)
    }
}
