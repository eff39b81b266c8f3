//! The servers that the environment names, with a corner of their own for each caller; and what all services here need.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use anyhow::Context;
use reqwest::Url;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// Below the ports that systems give to outgoing connections: one that is free now stays free while its server is away, and nobody who
/// tries to connect to it meanwhile is given the same port and reaches himself.
const PORTS: std::ops::Range<u16> = 10_000..22_000;

/// The PostgreSQL that tests share, as `CALLBOARD_TEST_POSTGRES_URL` names it: for those that leave it running.
pub(crate) fn shared_postgres_url() -> anyhow::Result<String> {
    named_by("CALLBOARD_TEST_POSTGRES_URL")
}

/// The Redis that tests share, as `CALLBOARD_TEST_REDIS_URL` names it: for those that leave it running.
pub(crate) fn shared_redis_url() -> anyhow::Result<String> {
    named_by("CALLBOARD_TEST_REDIS_URL")
}

fn named_by(variable: &str) -> anyhow::Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set: run this with scripts/with-services"))
}

/// Makes an empty schema in a database and gives a URL under which nothing but that schema is seen.
pub(crate) async fn fresh_schema(database_url: &str) -> anyhow::Result<String> {
    let schema = format!("fleet_{}", uuid::Uuid::now_v7().simple());
    let options = sqlx::postgres::PgConnectOptions::from_str(database_url)?;
    let mut connection = options.connect().await.context("no connection to PostgreSQL")?;
    let create = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&mut connection).await?;
    connection.close().await?;
    let separator = if database_url.contains('?') { '&' } else { '?' };
    Ok(format!("{database_url}{separator}options=-csearch_path%3D{schema}"))
}

/// A prefix for keys in Redis that nobody else has.
pub(crate) fn fresh_key_prefix() -> String {
    format!("fleet-{}:", uuid::Uuid::now_v7().simple())
}

/// Where the service of a URL listens.
pub(crate) fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let parsed = Url::parse(url)?;
    let host = parsed.host_str().context("no host")?;
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let default = if parsed.scheme().starts_with("redis") {
        6379
    } else {
        5432
    };
    Ok(SocketAddr::new(host.parse()?, parsed.port().unwrap_or(default)))
}

/// The same service, reached by way of another address, such as that of a [`super::Proxy`].
pub(crate) fn through(url: &str, address: SocketAddr) -> anyhow::Result<String> {
    let mut changed = Url::parse(url)?;
    changed.set_host(Some(&address.ip().to_string()))?;
    let set = changed.set_port(Some(address.port()));
    set.ok().with_context(|| format!("{url} takes no port"))?;
    Ok(changed.into())
}

/// A port of this machine on which nobody listens. Whoever takes it may still find it taken a moment later.
pub(super) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..1000 {
        let port = rand::random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port of {PORTS:?} is free")
}
