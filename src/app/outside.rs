//! What the configuration names and is not in it: variables and files with addresses, keys and secrets. What is missing there or wrong is found
//! in one pass, before anything is started.

use secrecy::{ExposeSecret, SecretString};

use super::files::s3_credentials;
use super::key_places::{OutsideErrors, OutsideProblem, read_variable, wrong_variable};
use super::mcp::mcp_options;
use super::provider_keys::read_provider_keys;
use super::secrets::read_secrets;
use crate::config::{Config, DatabasePlaceConfig};
use crate::redis_client::{RedisAddress, RedisSetupError, check_setup};
use crate::store::postgres::{PostgresOpenError, check_url};

/// Reads all of it, and throws it away: what a server could not start with.
pub fn outside_problems(config: &Config) -> Vec<OutsideProblem> {
    let mut problems = Vec::new();
    let mut note = |errors: Option<OutsideErrors>| problems.extend(errors.into_iter().flat_map(|errors| errors.0));
    note(postgres_url(config).err());
    note(redis_address(config).err());
    note(s3_credentials(config).err());
    note(read_provider_keys(config).err());
    note(read_secrets(config).err());
    for (name, database) in &config.databases {
        if let DatabasePlaceConfig::PostgresUrlIn(variable) = &database.place {
            note(database_url(name, variable).err());
        }
    }
    note(mcp_options(config).err());
    problems
}

/// Of the store; `None` if that is a file.
pub(super) fn postgres_url(config: &Config) -> Result<Option<SecretString>, OutsideErrors> {
    let variable = config.store.postgres_url_env.as_deref();
    variable
        .map(|variable| read_postgres_url("store.postgres_url_env", variable))
        .transpose()
}

/// Of a database of `sql_query`.
pub(super) fn database_url(name: &str, variable: &str) -> Result<SecretString, OutsideErrors> {
    read_postgres_url(&format!("tools.databases.{name}.postgres_url_env"), variable)
}

fn read_postgres_url(key: &str, variable: &str) -> Result<SecretString, OutsideErrors> {
    let url = read_variable(key, variable)?;
    match check_url(url.expose_secret()) {
        Ok(()) => Ok(url),
        Err(PostgresOpenError::SslMode) => Err(wrong_variable(
            key,
            variable,
            "holds a URL whose sslmode is none of disable, allow, prefer, require, verify-ca and verify-full",
        )),
        Err(_) => Err(wrong_variable(
            key,
            variable,
            "holds no URL of the form postgres://user:password@host:port/database",
        )),
    }
}

/// Where Redis is; `None` if the configuration names none.
///
/// # Errors
/// Nobody could connect with what the configuration names, whether Redis is there or not.
pub(super) fn redis_address(config: &Config) -> Result<Option<RedisAddress>, OutsideErrors> {
    const KEY: &str = "events.redis_url_env";
    let events = &config.events;
    let Some(variable) = &events.redis_url_env else {
        return Ok(None);
    };
    let urls = read_variable(KEY, variable)?;
    let address = split(&urls, events.redis_cluster);
    match check_setup(address.clone(), events.redis_ca_file.clone()) {
        Ok(()) => Ok(Some(address)),
        Err(RedisSetupError::CaFile { path, error }) => Err(OutsideErrors::one(
            "events.redis_ca_file",
            format!("names the file {}, which cannot be read: {error}", path.display()),
        )),
        Err(RedisSetupError::Url) => Err(wrong_variable(
            KEY,
            variable,
            "holds no URL of the form redis://[user:password@]host:port[/db] or rediss://…",
        )),
        Err(error) => Err(wrong_variable(KEY, variable, &format!("does not do: {error}"))),
    }
}

/// Several URLs, separated by commas, are nodes of a Cluster.
fn split(urls: &SecretString, is_cluster: bool) -> RedisAddress {
    let urls = urls
        .expose_secret()
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty());
    let mut urls: Vec<SecretString> = urls.map(SecretString::from).collect();
    match urls.pop() {
        Some(single) if urls.is_empty() && !is_cluster => RedisAddress::Single(single),
        last => {
            urls.extend(last);
            RedisAddress::Cluster(urls)
        }
    }
}
