//! `[providers]` as they are written, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::layers::dotted;
use super::providers::{Dialect, KeyPlace, KeySource, ProviderConfig, ProviderService, ProviderTable};
use super::resolve::{Contradictions, WrittenConfig, refuse};
use super::variable_names::is_variable_name;

pub(super) const NOT_A_VARIABLE: &str = "must be the name of an environment variable that holds the key, such as \"OPENAI_API_KEY\"; \
                                         the key itself never stands in the configuration";

/// The provider that is always there.
pub(super) const SIMULATED: &str = "simulated";

pub(super) type Providers = BTreeMap<String, ProviderConfig>;

/// Those of `[providers]`, by name.
pub(super) fn resolve_providers(written: &WrittenConfig, wrong: &mut Contradictions) -> Providers {
    let mut providers = Providers::new();
    for (name, table) in &written.providers {
        if let Some(provider) = resolve_provider(written, name, table, wrong) {
            providers.insert(name.clone(), provider);
        }
    }
    providers
}

fn resolve_provider(
    written: &WrittenConfig,
    name: &str,
    table: &ProviderTable,
    wrong: &mut Contradictions,
) -> Option<ProviderConfig> {
    let table_key = dotted(&["providers".to_owned(), name.to_owned()]);
    let key = |name: &str| format!("{table_key}.{name}");
    // It stands in front of a '/' in the names of its keys.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        let message = "a provider's name is 1 to 64 letters, digits, '-', '_' or '.'";
        refuse(wrong, &[&table_key], message);
    }
    let defaults = &written.provider_defaults;
    let limits = table.limits_over(defaults);
    if limits.circuit_rest > limits.circuit_longest_rest && defaults.circuit_rest <= defaults.circuit_longest_rest {
        let message = "circuit_rest must not be more than circuit_longest_rest";
        refuse(wrong, &[&key("circuit_rest"), &key("circuit_longest_rest")], message);
    }
    let Some(dialect) = table.dialect else {
        let message = "is missing; it must be \"openai\", \"openai-responses\", \"anthropic\" or \"simulated\"";
        refuse(wrong, &[&key("dialect")], message);
        return None;
    };
    let Some(dialect) = dialect.over_http() else {
        let meaningless = [
            ("base_url", table.base_url.is_some()),
            ("key_envs", !table.key_envs.is_empty()),
            ("key_files", !table.key_files.is_empty()),
            ("output_limit_field", table.output_limit_field.is_some()),
        ];
        for (name, _) in meaningless.into_iter().filter(|(_, is_set)| *is_set) {
            refuse(wrong, &[&key(name)], "has no meaning for dialect = \"simulated\"");
        }
        let service = ProviderService::Simulated;
        return Some(ProviderConfig {
            service,
            limits,
            output_limit_field: None,
        });
    };
    if name == SIMULATED {
        // The shipped model of this name asks it, and promises to ask nobody.
        let message = "must be \"simulated\" for the provider of this name; call yours something else";
        refuse(wrong, &[&key("dialect")], message);
        return None;
    }
    if table.output_limit_field.is_some() && dialect != Dialect::OpenAi {
        let message = "has a meaning for dialect = \"openai\" only";
        refuse(wrong, &[&key("output_limit_field")], message);
    }
    let keys = key_sources(table, &key, wrong);
    let Some(url) = &table.base_url else {
        refuse(wrong, &[&key("base_url")], "is missing: where is the provider?");
        return None;
    };
    match check_base_url(url, "key_envs") {
        Ok(base_url) => Some(ProviderConfig {
            service: ProviderService::Remote {
                dialect,
                base_url,
                keys,
            },
            limits,
            output_limit_field: table.output_limit_field,
        }),
        Err(problem) => {
            refuse(wrong, &[&key("base_url")], problem);
            None
        }
    }
}

fn key_sources(table: &ProviderTable, key: &dyn Fn(&str) -> String, wrong: &mut Contradictions) -> Vec<KeySource> {
    let mut keys = Vec::new();
    let mut variables = BTreeSet::new();
    for variable in &table.key_envs {
        if !is_variable_name(variable) {
            // The text is not repeated: it may be the key itself.
            refuse(wrong, &[&key("key_envs")], NOT_A_VARIABLE);
            continue;
        }
        if !variables.insert(variable) {
            let message = format!("names {variable} more than once; each key counts once");
            refuse(wrong, &[&key("key_envs")], message);
        }
        keys.push(KeySource {
            named_by: key("key_envs"),
            place: KeyPlace::Environment(variable.clone()),
        });
    }
    let mut files = BTreeSet::new();
    for path in &table.key_files {
        if path.as_os_str().is_empty() || !files.insert(path) {
            let message = "must name files that hold one key each, none of them twice";
            refuse(wrong, &[&key("key_files")], message);
        }
        keys.push(KeySource {
            named_by: key("key_files"),
            place: KeyPlace::File(path.clone()),
        });
    }
    keys
}

/// An address to which paths are appended.
pub(super) fn check_base_url(text: &str, instead_of_password: &str) -> Result<reqwest::Url, String> {
    let url = check_url(text, instead_of_password)?;
    if url.query().is_some() {
        return Err("must not have a '?' part: a path is appended to it".to_owned());
    }
    Ok(url)
}

/// Messages do not repeat the URL: it may have a password in it.
pub(super) fn check_url(text: &str, instead_of_password: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|_| "must be a URL, such as \"https://api.openai.com/v1\"")?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "must not have a user name or a password in it; use {instead_of_password}"
        ));
    }
    if url.fragment().is_some() {
        return Err("must not have a '#' part".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_have_no_secrets_in_them() {
        assert!(check_base_url("http://127.0.0.1:9000/v1", "key_envs").is_ok());
        for wrong in [
            "",
            "example.com",
            "file:///etc",
            "https://me:secret@host/v1",
            "https://host/v1?key=1",
            "mailto:a@b",
        ] {
            let problem = check_base_url(wrong, "key_envs").expect_err(wrong);
            assert!(!problem.contains("secret"));
        }
    }
}
