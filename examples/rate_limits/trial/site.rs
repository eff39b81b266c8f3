//! The regions of a provider, the fleet that asks them, and what it stands on.

use tempfile::TempDir;

use super::Options;
use super::runs::{PlannedAccount, USUAL_TOKENS};
use crate::rig::{Binary, Fleet, FleetClient, Instance, Postgres, PostgresOptions, Redis, RedisMemory, Upstream};

/// A limit that is not reached, compared to the one that is.
const ROOMY: u64 = 10;

/// What a key allows in a minute.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) region: &'static str,
    /// The last four characters, by which it is known in journals.
    pub(crate) ending: &'static str,
    pub(crate) calls: u64,
    pub(crate) tokens: u64,
}

impl Key {
    fn secret(&self) -> String {
        format!("sk-simulated-{}-{}", self.region, self.ending)
    }
}

/// A region of the provider.
pub(super) struct Region {
    pub(super) name: &'static str,
    dialect: &'static str,
    pub(super) keys: Vec<Key>,
    pub(super) upstream: Upstream,
}

/// Everything that runs. It ends with this value.
pub(super) struct Site {
    pub(super) regions: [Region; 2],
    pub(super) instances: Vec<Instance>,
    /// One client for each account, in their order.
    pub(super) clients: Vec<FleetClient>,
    pub(super) database_url: String,
    _postgres: Postgres,
    _redis: Redis,
    _secrets: TempDir,
}

impl Site {
    pub(super) async fn start(options: &Options, binary: &Binary, accounts: &[PlannedAccount]) -> anyhow::Result<Self> {
        let postgres = Postgres::start(PostgresOptions {
            fsync: options.fsync,
            ..PostgresOptions::default()
        })
        .await?;
        let redis = Redis::start(RedisMemory::Forgets).await?;
        let secrets = tempfile::tempdir()?;
        let calls = options.calls_per_minute;
        // In one region calls are scarce, in the other tokens.
        let regions = [
            Region::start(
                binary,
                "east",
                "openai",
                ["0001", "0002"],
                calls,
                calls * USUAL_TOKENS * ROOMY,
            )
            .await?,
            Region::start(
                binary,
                "west",
                "anthropic",
                ["0003", "0004"],
                calls * ROOMY,
                calls * USUAL_TOKENS,
            )
            .await?,
        ];
        let mut settings = settings(options);
        for region in &regions {
            settings += &region.settings(&secrets)?;
        }
        let database_url = postgres.fresh_schema().await?;
        let fleet = Fleet::new(binary.clone(), &database_url, &redis.url(), &settings)?;
        let names = (1..=options.instances).map(|number| format!("instance-{number}"));
        let made: anyhow::Result<Vec<Instance>> = names.map(|name| fleet.instance(&name)).collect();
        let mut instances = made?;
        let mut clients = Vec::new();
        for account in accounts {
            // The first of these makes the tables.
            let key = instances[0].create_key(account.name, "unlimited").await?;
            clients.push(fleet.client_with(&key)?);
        }
        futures::future::try_join_all(instances.iter_mut().map(Instance::start)).await?;
        Ok(Self {
            regions,
            instances,
            clients,
            database_url,
            _postgres: postgres,
            _redis: redis,
            _secrets: secrets,
        })
    }

    /// All keys, region by region.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.regions.iter().flat_map(|region| region.keys.clone()).collect()
    }
}

impl Region {
    async fn start(
        binary: &Binary,
        name: &'static str,
        dialect: &'static str,
        endings: [&'static str; 2],
        calls: u64,
        tokens: u64,
    ) -> anyhow::Result<Self> {
        let keys = endings.map(|ending| Key {
            region: name,
            ending,
            calls,
            tokens,
        });
        let mut settings = format!("[limits]\nrequests_per_minute = {calls}\ntokens_per_minute = {tokens}\n");
        for key in &keys {
            settings += &format!("[[keys]]\nkey = \"{}\"\n", key.secret());
        }
        Ok(Self {
            name,
            dialect,
            keys: keys.into(),
            upstream: Upstream::start_as(binary, &settings).await?,
        })
    }

    /// Of instances that ask it: the limits that it has.
    fn settings(&self, secrets: &TempDir) -> anyhow::Result<String> {
        let mut files = Vec::new();
        for key in &self.keys {
            let file = secrets.path().join(key.ending);
            std::fs::write(&file, key.secret())?;
            files.push(file);
        }
        let Key { calls, tokens, .. } = &self.keys[0];
        let (name, dialect, url) = (self.name, self.dialect, self.upstream.url());
        Ok(format!(
            "[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{url}/v1\"\nkey_files = {files:?}\n\
             requests_per_minute = {calls}\ntokens_per_minute = {tokens}\n"
        ))
    }
}

/// Of all instances, over those of the rig. All runs may run at once, so that it is the calls that wait.
fn settings(options: &Options) -> String {
    let (lease, heartbeat) = (options.lease.as_millis(), options.lease.as_millis() / 5);
    format!(
        "[fleet]\nlease = \"{lease}ms\"\nheartbeat = \"{heartbeat}ms\"\n\
         [server]\nheartbeat_interval = \"15s\"\n\
         [capacity]\nmax_concurrent_runs = {}\n\
         [log]\nlevel = \"warn\"\n\
         [runs]\ndefault_model = \"anywhere\"\n\
         [models.anywhere]\nlongest_wait = \"1h\"\n\
         targets = [{{ provider = \"east\", model = \"simulated\" }}, {{ provider = \"west\", model = \"simulated\" }}]\n\
         [tiers.unlimited]\nconcurrent_runs = 0\nqueued_runs = 0\nrequests_per_second = 0\nburst = 0\n",
        options.runs
    )
}
