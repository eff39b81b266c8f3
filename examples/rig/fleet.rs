//! What the instances of a fleet have in common.

use anyhow::Context;

use super::addresses::Addresses;
use super::binary::Binary;
use super::fleet_client::FleetClient;
use super::instance::Instance;
use super::services::fresh_key_prefix;
use super::settings::{Settings, UNHURRIED};

/// Short leases, so that a lost instance is noticed soon; signs of life on streams, so that clients notice as well; and no more
/// connections than several fleets on one PostgreSQL have room for.
const SETTINGS: &str = r#"
    [server]
    bind = "127.0.0.1:0"
    heartbeat_interval = "500ms"
    [store]
    postgres_url_env = "DATABASE_URL"
    max_connections = 16
    [fleet]
    heartbeat = "300ms"
    lease = "1500ms"
"#;

/// How an instance is started.
#[derive(Debug, Clone)]
pub(crate) struct InstanceOptions {
    pub(crate) binary: Binary,
    pub(crate) name: String,
    /// Where it finds PostgreSQL: perhaps by way of a proxy of its own.
    pub(crate) database_url: String,
    /// Where it finds Redis. Empty: the variable is set to nothing.
    pub(crate) redis_url: String,
    pub(crate) settings: Settings,
}

impl InstanceOptions {
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("DATABASE_URL".to_owned(), self.database_url.clone()),
            ("REDIS_URL".to_owned(), self.redis_url.clone()),
        ]
    }

    /// Lays TOML over its settings.
    pub(crate) fn set(&mut self, toml: &str) -> anyhow::Result<()> {
        self.settings = std::mem::take(&mut self.settings).with(toml)?;
        Ok(())
    }
}

/// Instances that share a database and a Redis. Makes them; they belong to whoever asked for them.
pub(crate) struct Fleet {
    template: InstanceOptions,
    pub(crate) addresses: Addresses,
}

impl Fleet {
    /// A fleet of nobody yet. `settings` is TOML for all of its instances, over those of the rig (leases of 1.5 s) and the shipped ones.
    pub(crate) fn new(binary: Binary, database_url: &str, redis_url: &str, settings: &str) -> anyhow::Result<Self> {
        let redis = format!(
            "[events]\nredis_url_env = \"REDIS_URL\"\nredis_key_prefix = \"{}\"\n",
            fresh_key_prefix()
        );
        let template = InstanceOptions {
            binary,
            name: String::new(),
            database_url: database_url.to_owned(),
            redis_url: redis_url.to_owned(),
            settings: Settings::default()
                .with(SETTINGS)?
                .with(UNHURRIED)?
                .with(&redis)?
                .with(settings)?,
        };
        Ok(Self {
            template,
            addresses: Addresses::default(),
        })
    }

    /// The same for one server on the store inside it, which no other shares: whoever starts a second one has two servers, and no fleet.
    pub(crate) fn of_one(binary: Binary, settings: &str) -> anyhow::Result<Self> {
        let template = InstanceOptions {
            binary,
            name: String::new(),
            database_url: String::new(),
            redis_url: String::new(),
            settings: Settings::default()
                .with("[server]\nbind = \"127.0.0.1:0\"\n")?
                .with(UNHURRIED)?
                .with(settings)?,
        };
        Ok(Self {
            template,
            addresses: Addresses::default(),
        })
    }

    /// Lays TOML over the settings of the instances that are made from now on.
    pub(crate) fn set(&mut self, toml: &str) -> anyhow::Result<()> {
        self.template.set(toml)
    }

    /// An instance that is not started yet, to be given options of its own.
    pub(crate) fn instance(&self, name: &str) -> anyhow::Result<Instance> {
        let mut options = self.template.clone();
        options.name = name.to_owned();
        options.set(&format!("[fleet]\nname = \"{name}\"\n"))?;
        Instance::new(options, self.addresses.clone())
    }

    /// Starts an instance and waits until it takes runs.
    pub(crate) async fn start(&self, name: &str) -> anyhow::Result<Instance> {
        let mut instance = self.instance(name)?;
        instance.start().await.with_context(|| format!("instance {name}"))?;
        Ok(instance)
    }

    /// Starts several at once.
    pub(crate) async fn start_all<const COUNT: usize>(
        &self,
        names: [&str; COUNT],
    ) -> anyhow::Result<[Instance; COUNT]> {
        let started = futures::future::try_join_all(names.map(|name| self.start(name))).await?;
        started.try_into().ok().context("as many as names")
    }

    /// A client of whatever instance answers.
    pub(crate) fn client(&self) -> anyhow::Result<FleetClient> {
        FleetClient::new(self.addresses.clone(), None)
    }

    pub(crate) fn client_with(&self, key: &str) -> anyhow::Result<FleetClient> {
        FleetClient::new(self.addresses.clone(), Some(key))
    }
}
