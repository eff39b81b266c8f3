//! `callboard models list`.

use std::io::{self, Write};

use callboard_actors::llm::Choice;
use comfy_table::ContentArrangement;
use serde_json::{Value, json};

use super::WIDTH;
use crate::cli::text::table;
use crate::config::{Config, ModelConfig, ProviderService, TargetConfig};

/// Prints the configured models to `output`.
///
/// # Errors
/// Nobody reads it.
pub fn list(config: &Config, as_json: bool, output: &mut impl Write) -> io::Result<()> {
    if as_json {
        let models: Vec<Value> = config
            .models
            .iter()
            .map(|(name, model)| json_of(config, name, model))
            .collect();
        return writeln!(output, "{:#}", json!({ "data": models }));
    }
    let mut rows = Vec::new();
    for (name, model) in &config.models {
        let is_default = *name == config.runs.default_model;
        for (place, target) in model.targets.iter().enumerate() {
            let shown_name = match (place, is_default) {
                (0, true) => format!("{name} (default)"),
                (0, false) => name.clone(),
                _ => String::new(),
            };
            let order = match model.choice {
                Choice::Ordered => (place + 1).to_string(),
                Choice::Weighted => format!("× {}", target.weight),
            };
            let asked = format!("{} · {}", target.provider, target.upstream_model);
            rows.push([shown_name, order, asked, keys_of(config, target), price_of(target)]);
        }
    }
    let headings = ["model", "order", "provider · model", "keys", "$/1M in, out"];
    let mut table = table(headings, rows, &[3]);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    writeln!(output, "{table}")
}

fn keys_of(config: &Config, target: &TargetConfig) -> String {
    match config.providers.get(&target.provider).map(|provider| &provider.service) {
        Some(ProviderService::Remote { keys, .. }) => keys.len().to_string(),
        Some(ProviderService::Simulated) | None => "–".to_owned(),
    }
}

fn price_of(target: &TargetConfig) -> String {
    match target.price {
        Some(price) => format!("{}, {}", price.input.dollars(), price.output.dollars()),
        None => "–".to_owned(),
    }
}

fn json_of(config: &Config, name: &str, model: &ModelConfig) -> Value {
    let target = |target: &TargetConfig| {
        let service = config.providers.get(&target.provider).map(|provider| &provider.service);
        let (dialect, base_url, keys) = match service {
            Some(ProviderService::Remote {
                dialect,
                base_url,
                keys,
            }) => (dialect.as_str(), Some(base_url.as_str()), keys.len()),
            Some(ProviderService::Simulated) | None => ("simulated", None, 0),
        };
        json!({
            "provider": target.provider,
            "model": target.upstream_model,
            "dialect": dialect,
            "base_url": base_url,
            "keys": keys,
            "weight": target.weight,
            "price": target.price.map(|price| json!({
                "input": price.input,
                "cached_input": price.cached_input,
                "cache_write": price.cache_write,
                "output": price.output,
            })),
        })
    };
    json!({
        "name": name,
        "default": name == config.runs.default_model,
        "choice": match model.choice {
            Choice::Ordered => "ordered",
            Choice::Weighted => "weighted",
        },
        "targets": model.targets.iter().map(target).collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    const TARGETS: &str = r#"[{provider = "gpt", model = "gpt-5-mini", weight = 3, input_price = 0.25, output_price = 2}, {provider = "simulated"}]"#;

    fn config() -> Config {
        let environment = [
            ("CALLBOARD__MODELS__SMART__TARGETS", TARGETS),
            ("CALLBOARD__MODELS__SMART__CHOICE", "weighted"),
            ("CALLBOARD__PROVIDERS__GPT__DIALECT", "openai"),
            ("CALLBOARD__PROVIDERS__GPT__BASE_URL", "https://api.example.com/v1"),
            ("CALLBOARD__PROVIDERS__GPT__KEY_ENVS", "[\"ONE_KEY\", \"OTHER_KEY\"]"),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let loaded = load(Sources {
            file: None,
            environment: environment.to_vec(),
        });
        loaded.unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn printed(as_json: bool) -> String {
        let mut output = Vec::new();
        list(&config(), as_json, &mut output).expect("a vector takes it");
        String::from_utf8(output).expect("UTF-8")
    }

    #[test]
    fn models_are_listed_with_whom_they_ask() {
        let text = printed(false);
        let line = |word: &str| {
            let found = text.lines().find(|line| line.contains(word));
            found.unwrap_or_else(|| panic!("no {word} in\n{text}")).to_owned()
        };
        assert!(line("smart ").contains("× 3") && line("smart ").contains("gpt · gpt-5-mini"));
        assert!(line("smart ").contains(" 2 ") && line("smart ").contains("0.25, 2"));
        assert!(line("simulated · smart").contains("× 1"));
        assert!(line("simulated (default)").contains("simulated · simulated"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn json_names_no_variable() {
        let text = printed(true);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let smart = &json["data"][1];
        assert_eq!(smart["name"], "smart");
        assert_eq!(smart["targets"][0]["keys"], 2);
        assert_eq!(smart["targets"][0]["price"]["cached_input"], 0.25);
        assert_eq!(smart["targets"][0]["price"]["cache_write"], 0.25);
        assert_eq!(smart["targets"][1]["dialect"], "simulated");
        assert!(!text.contains("ONE_KEY"));
    }
}
