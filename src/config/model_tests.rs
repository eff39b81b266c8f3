//! Providers, models and budgets: what is written short and long means the same, and what is wrong is said without repeating a secret.

use std::time::Duration;

use callboard_actors::llm::{Choice, WhenExhausted};
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::{BudgetLimits, BudgetPeriod};

use super::tests::{load_texts, mistakes};
use super::*;

const TWO_PROVIDERS: &str = r#"
[provider_defaults]
tokens_per_minute = 1000
[providers.openai]
dialect = "openai-responses"
base_url = "https://api.openai.com/v1"
key_envs = ["OPENAI_API_KEY", "OPENAI_API_KEY_2"]
key_files = "/run/secrets/openai_3"
requests_per_minute = 500
limits_per = "model"
circuit_rest = "1s"
[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:11434/v1"
output_limit_field = "max_completion_tokens"
tokens_per_minute = 0
"#;

#[test]
fn providers_are_their_own_tables_over_the_defaults() {
    let config = load_texts(TWO_PROVIDERS, &[])
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    let openai = &config.providers["openai"];
    assert_eq!(openai.limits.requests_per_minute, Some(500));
    assert_eq!(openai.limits.tokens_per_minute, Some(1000));
    assert_eq!(openai.limits.concurrent_calls, None);
    assert_eq!(openai.limits.limits_per, LimitsPer::Model);
    assert_eq!(openai.limits.circuit_rest, Duration::from_secs(1));
    assert_eq!(openai.limits.max_waiting, 10_000);
    let ProviderService::Remote { dialect, keys, .. } = &openai.service else {
        panic!("it asks somebody");
    };
    assert_eq!(*dialect, Dialect::OpenAiResponses);
    let places: Vec<&KeyPlace> = keys.iter().map(|key| &key.place).collect();
    assert_eq!(
        places,
        [
            &KeyPlace::Environment("OPENAI_API_KEY".into()),
            &KeyPlace::Environment("OPENAI_API_KEY_2".into()),
            &KeyPlace::File("/run/secrets/openai_3".into()),
        ]
    );
    let local = &config.providers["local"];
    assert_eq!(local.limits.tokens_per_minute, None);
    assert_eq!(local.output_limit_field, Some(OutputLimitName::MaxCompletionTokens));
    assert!(matches!(&local.service, ProviderService::Remote { keys, .. } if keys.is_empty()));
}

#[test]
fn a_model_may_have_several_targets_or_one_written_short() {
    let models = r#"
[models.smart]
choice = "weighted"
targets = [
  { provider = "openai", model = "gpt-5-mini", weight = 3, input_price = 0.25, output_price = 2 },
  { provider = "local" },
  { provider = "simulated" },
]
[models.fast]
provider = "local"
upstream_model = "qwen"
input_price = 0
[models.other]
provider = "anthropic"
base_url = "https://api.anthropic.com"
api_key_env = "ANTHROPIC_API_KEY"
input_price = 4
[models.hour]
provider = "anthropic"
base_url = "https://api.anthropic.com"
input_price = 4
cache_write_price = 8
"#;
    let config = load_texts(&format!("{TWO_PROVIDERS}{models}"), &[])
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    let smart = &config.models["smart"];
    assert_eq!(smart.choice, Choice::Weighted);
    let told: Vec<(&str, &str, u32)> = smart
        .targets
        .iter()
        .map(|target| (target.provider.as_str(), target.upstream_model.as_str(), target.weight))
        .collect();
    assert_eq!(
        told,
        [
            ("openai", "gpt-5-mini", 3),
            ("local", "smart", 1),
            ("simulated", "smart", 1)
        ]
    );
    let price = smart.targets[0].price.expect("it has a price");
    assert_eq!(price.input, Money::from_nanos(250_000_000));
    assert_eq!(price.cached_input, price.input);
    assert_eq!(price.output, Money::from_nanos(2_000_000_000));
    assert_eq!(price.cache_write, price.input);
    assert_eq!(smart.targets[1].price, None);

    let fast = &config.models["fast"];
    assert_eq!(fast.choice, Choice::Ordered);
    assert_eq!(fast.targets.len(), 1);
    assert_eq!(
        (
            fast.targets[0].provider.as_str(),
            fast.targets[0].upstream_model.as_str()
        ),
        ("local", "qwen")
    );
    assert!(fast.targets[0].price.is_some(), "0 is a price");

    assert_eq!(config.models["other"].targets[0].provider, "other");
    for (name, cache_write) in [("other", 5_000_000_000), ("hour", 8_000_000_000)] {
        let price = config.models[name].targets[0].price.expect("it has a price");
        assert_eq!(price.cache_write, Money::from_nanos(cache_write), "{name}");
    }
    assert_eq!(config.providers["other"].limits.tokens_per_minute, Some(1000));
}

#[test]
fn a_variable_may_hold_a_list_of_targets() {
    let variables = [(
        "CALLBOARD__MODELS__SMART__TARGETS",
        r#"[{provider = "local", model = "qwen"}, {provider = "openai"}]"#,
    )];
    let config = load_texts(TWO_PROVIDERS, &variables)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .config;
    assert_eq!(config.models["smart"].targets[0].upstream_model, "qwen");
    assert_eq!(config.models["smart"].targets.len(), 2);
}

#[test]
fn all_mistakes_of_providers_and_models_are_found_at_once_and_no_secret_is_repeated() {
    let file = r#"
[providers.a]
dialect = "opanai"
[providers.b]
dialect = "anthropic"
key_envs = ["sk-secret", "B_KEY", "B_KEY"]
[providers.c]
dialect = "simulated"
base_url = "http://me:sk-secret@127.0.0.1"
circuit_rest = "1h"
[providers.d]
dialect = "openai"
base_url = "https://me:sk-secret@example.com"
key_envs = "sk-secret"
key = "sk-secret"
tokens_per_minute = -1
[providers."e/f"]
dialect = "simulated"
[models.none]
targets = []
[models.unknown]
provider = "bb"
[models.mixed]
provider = "b"
targets = [{ provider = "b" }]
[models.elsewhere]
provider = "b"
base_url = "https://example.com"
[models.wrong]
choice = "weighted"
targets = [{ model = "x" }, { provider = "zzz" }, { provider = "c", weight = 0 }, { provider = "c", weight = 0 }]
[models.price]
provider = "c"
output_price = -1
[models.word]
targets = [{ provider = "c", modle = "x" }]
[models.simulated]
provider = "openai"
base_url = "http://127.0.0.1/v1"
"#;
    let found = mistakes(file, &[]);
    let starts = [
        "providers.a.dialect @ 3: must be \"openai\" or \"openai-responses\" or \"anthropic\" or \"simulated\", not \"opanai\"",
        "providers.d.key @ 15: there is no such key; did you mean \"key_envs\"?",
        "providers.d.tokens_per_minute @ 16: must be a whole number of at least 0",
        "models.price.output_price @ 34: an amount of dollars is a number from 0 to 9007199.25474099",
        "models.word.targets @ 36: target 1: modle: there is no such key; did you mean \"model\"?",
        "providers.b.key_envs @ 6: must be the name of an environment variable",
        "providers.b.key_envs @ 6: names B_KEY more than once",
        "providers.b.base_url @ 5: is missing",
        "providers.c.circuit_rest @ 10: circuit_rest must not be more than circuit_longest_rest",
        "providers.c.base_url @ 9: has no meaning for dialect = \"simulated\"",
        "providers.d.key_envs @ 14: must be the name of an environment variable",
        "providers.d.base_url @ 13: must not have a user name or a password in it; use key_envs",
        "providers.\"e/f\" @ 18: a provider's name is 1 to 64 letters",
        "models.elsewhere.base_url @ 28: belongs in providers.b",
        "models.mixed.provider @ 24: has no meaning beside targets",
        "models.none.targets @ 20: is empty",
        "models.simulated.base_url @ 39: would make a second provider of this name",
        "models.unknown.provider @ 22: there is no such provider under [providers]; did you mean \"b\"?",
        "models.wrong.targets @ 31: target 1: names no provider",
        "models.wrong.targets @ 31: target 2: there is no such provider under [providers]; there are b, c, d, e/f, simulated",
        "models.wrong.targets @ 31: names \"wrong\" of c twice",
        "models.wrong.targets @ 31: needs a target with a weight of more than 0",
    ];
    for line in &found {
        assert!(!line.contains("sk-secret"), "{line}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (line, start) in found.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\nshould begin with\n{start}");
    }
}

#[test]
fn each_mistake_of_each_target_is_told_with_its_number_and_nothing_that_follows_from_it() {
    let file = r#"
[models.m]
targets = [{ provider = "x" }, { provider = "x", model = "b", weight = -1 }, { provider = "x", model = 3, weight = "y" }, { provider = 4 }, { provider = "nobody" }]
[providers.x]
dialect = "simulated"
[model_defaults]
backoff_initial = "40s"
backoff_maximum = "soon"
"#;
    assert_eq!(
        mistakes(file, &[]),
        [
            "models.m.targets @ 3: target 2: weight: must be a whole number of at least 0 and not beyond reason, not -1",
            "models.m.targets @ 3: target 3: model: must be text, not 3",
            "models.m.targets @ 3: target 3: weight: must be a whole number, not the text \"y\"",
            "models.m.targets @ 3: target 4: provider: must be text, not 4",
            "model_defaults.backoff_maximum @ 8: \"soon\" is not a duration; write a number and a unit, such as \"200ms\", \"30s\" or \"10m\"",
            "models.m.targets @ 3: target 5: there is no such provider under [providers]; there are x, simulated",
        ]
    );
    let not_tables = "[models.m]\ntargets = [1, { provider = \"x\" }]\n";
    assert_eq!(mistakes(not_tables, &[]).len(), 1, "{:?}", mistakes(not_tables, &[]));
}

/// The model of this name, which is always there, must never ask anybody.
#[test]
fn the_simulated_provider_is_simulated() {
    for dialect in ["openai", "openai-responses", "anthropic"] {
        let file = format!("[providers.simulated]\ndialect = \"{dialect}\"\nbase_url = \"http://127.0.0.1/v1\"\n");
        let found = mistakes(&file, &[]);
        assert_eq!(
            found,
            [
                "providers.simulated.dialect @ 2: must be \"simulated\" for the provider of this name; call yours something else"
            ]
        );
    }
    let file = "[providers.simulated]\ndialect = \"simulated\"\nconcurrent_calls = 3\n";
    let config = load_texts(file, &[]).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(config.providers["simulated"].limits.concurrent_calls, Some(3));
}

#[test]
fn tiers_may_have_budgets() {
    let file = r#"
[tiers.pro.budget]
period = "month"
cost_usd = 100
tokens = 0
call_time = "1h"
when_exhausted = "wait"
"#;
    let config = load_texts(file, &[]).unwrap_or_else(|errors| panic!("{errors}")).config;
    let budget = config.tiers["pro"].budget.expect("it has one");
    assert_eq!(
        budget.limits,
        BudgetLimits {
            period: BudgetPeriod::Month,
            cost: Some(Money::from_nanos(100_000_000_000)),
            tokens: None,
            calls: None,
            call_time: Some(Duration::from_secs(3600)),
        }
    );
    assert_eq!(budget.when_exhausted, WhenExhausted::Wait);
    assert_eq!(config.tiers["free"].budget, None);

    let file = r#"
[tiers.pro.budget]
cost_usd = -1
calls = 10
[tiers.plus.budget]
period = "month"
[tiers.free.budget]
period = "year"
when_exhausted = "stop"
"#;
    assert_eq!(
        mistakes(file, &[]),
        [
            "tiers.pro.budget.cost_usd @ 3: an amount of dollars is a number from 0 to 9007199.25474099",
            "tiers.free.budget.period @ 8: must be \"day\" or \"month\" or \"forever\", not \"year\"",
            "tiers.free.budget.when_exhausted @ 9: must be \"fail\" or \"wait\", not \"stop\"",
            "tiers.plus.budget @ 6: limits nothing: set cost_usd, tokens, calls or call_time, or leave the table out",
            "tiers.pro.budget.period @ 4: is missing; it must be \"day\", \"month\" or \"forever\"",
        ]
    );
}
