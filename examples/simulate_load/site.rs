//! Where the load goes: a server that was started for it, or the one of `--url`.

use std::net::SocketAddr;

use anyhow::{Context, bail};

use crate::arguments::Arguments;
use crate::launch::{Account, Launched};
use crate::probe::Target;

/// A server and who may use it. A scenario has its own, so that none inherits the memory of another.
pub(crate) struct Site {
    pub(crate) target: Target,
    /// One per account; `None` if the server asks for no key.
    pub(crate) keys: Vec<Option<String>>,
    /// The provider that this program can look into.
    pub(crate) upstream: Option<SocketAddr>,
    _launched: Option<Launched>,
}

impl Site {
    pub(crate) async fn of(arguments: &Arguments) -> anyhow::Result<Self> {
        if let Some(url) = &arguments.url {
            return Self::at(url, arguments).await;
        }
        let accounts: Vec<Account> = arguments.mix.iter().flat_map(|mix| mix.accounts()).collect();
        let (launched, keys) = Launched::start(arguments.upstream, &accounts).await?;
        let keys = match keys.is_empty() {
            true => vec![None],
            false => keys.into_iter().map(Some).collect(),
        };
        let target = Target {
            address: launched.address,
            key: keys[0].clone(),
            process_id: Some(launched.process_id),
        };
        Ok(Self {
            target,
            keys,
            upstream: launched.upstream,
            _launched: Some(launched),
        })
    }

    async fn at(url: &str, arguments: &Arguments) -> anyhow::Result<Self> {
        let Some(host) = url.strip_prefix("http://") else {
            bail!("--url must begin with http://");
        };
        let host = host.trim_end_matches('/');
        let found = tokio::net::lookup_host(host).await;
        let address = found
            .ok()
            .and_then(|mut addresses| addresses.next())
            .with_context(|| format!("--url {url}: no host and port such as http://127.0.0.1:8700"))?;
        Ok(Self {
            target: Target {
                address,
                key: arguments.key.clone(),
                process_id: None,
            },
            keys: vec![arguments.key.clone()],
            upstream: None,
            _launched: None,
        })
    }
}
