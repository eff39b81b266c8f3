//! The fleet under test and all it stands on.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::Options;
use super::runs::PlannedAccount;
use crate::rig::{
    Binary, Fleet, FleetClient, Instance, Postgres, PostgresOptions, Proxy, Redis, RedisMemory, Upstream, address_of,
    through,
};

/// An instance, and its way to PostgreSQL.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) proxy: Proxy,
    /// Whoever does something to it has it to himself.
    pub(super) instance: Mutex<Instance>,
}

/// Everything that runs. It ends with this value.
pub(super) struct Site {
    pub(super) members: Vec<Arc<Member>>,
    /// One client for each account, in their order.
    pub(super) clients: Vec<FleetClient>,
    /// The API keys of the accounts, in their order.
    pub(super) keys: Vec<String>,
    pub(super) upstream: Upstream,
    /// Direct, by no proxy.
    pub(super) database_url: String,
    pub(super) postgres: Mutex<Postgres>,
    pub(super) redis_url: String,
    pub(super) redis: Mutex<Redis>,
}

impl Site {
    pub(super) async fn start(options: &Options, binary: &Binary, accounts: &[PlannedAccount]) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            fsync: options.fsync,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisMemory::Forgets).await?;
        let upstream = Upstream::start(binary).await?;
        let database_url = postgres.fresh_schema().await?;
        let settings = settings(options, accounts, &upstream);
        let fleet = Fleet::new(binary.clone(), &database_url, &redis.url(), &settings)?;
        let mut members = Vec::new();
        for number in 1..=options.instances {
            let name = format!("instance-{number}");
            let proxy = Proxy::start(address_of(&postgres.url())?).await?;
            let mut instance = fleet.instance(&name)?;
            instance.options_mut().database_url = through(&database_url, proxy.address())?;
            members.push(Arc::new(Member {
                name,
                proxy,
                instance: Mutex::new(instance),
            }));
        }
        let mut keys = Vec::new();
        let mut clients = Vec::new();
        for account in accounts {
            // The first of these makes the tables.
            let instance = members[0].instance.lock().await;
            let key = instance.create_key(&account.name, &account.tier).await?;
            clients.push(fleet.client_with(&key)?);
            keys.push(key);
        }
        // All at once: each finds a database without instances.
        let starting = members
            .iter()
            .map(|member| async { member.instance.lock().await.start().await });
        futures::future::try_join_all(starting).await?;
        Ok(Self {
            members,
            clients,
            keys,
            upstream,
            database_url,
            postgres: Mutex::new(postgres),
            redis_url: redis.url(),
            redis: Mutex::new(redis),
        })
    }
}

/// Of all instances, over those of the rig.
fn settings(options: &Options, accounts: &[PlannedAccount], upstream: &Upstream) -> String {
    let (lease, heartbeat) = (options.lease.as_millis(), options.lease.as_millis() / 5);
    // Readers come back to runs that are archived already; but no fault lasts so long that a writer would.
    let archive_after = (options.lease * 6).as_millis();
    let mut settings = upstream.settings();
    settings += &format!(
        "[fleet]\nlease = \"{lease}ms\"\nheartbeat = \"{heartbeat}ms\"\n\
         [capacity]\nmax_concurrent_runs = {}\n\
         [server]\nshutdown_grace = \"500ms\"\n\
         [events]\narchive_after = \"{archive_after}ms\"\n",
        options.capacity
    );
    for account in accounts {
        // A tier may stand here twice in the list of accounts, but only once in the file.
        let table = format!("[tiers.{}]\n", account.tier);
        if !settings.contains(&table) {
            let limit = account.limit.unwrap_or(0);
            settings +=
                &format!("{table}concurrent_runs = {limit}\nqueued_runs = 0\nrequests_per_second = 0\nburst = 0\n");
        }
    }
    settings
}
