//! The providers of this server, their keys and how things stand with each: what `GET /api/v1/models` and `/metrics` show. It has no
//! keys in it, only their ends.

mod probe;
mod recent_calls;
mod view;

use std::sync::Arc;

use callboard_actors::llm::{CallLine, Provider};
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::LimitedKey;

pub use probe::{KeyProbe, ProbeAnswer};
pub use recent_calls::{CallCounts, Failure, MINUTES, RecentCalls, WatchedModel};
pub(crate) use view::{CircuitName, KeyPoolView, KeyView, ModelKeysView, ProviderView, ReachName};

/// All providers.
#[derive(Clone, Default)]
pub struct ModelDirectory {
    /// By name.
    pub providers: Vec<ListedProvider>,
}

impl ModelDirectory {
    /// The last four characters of this key, if they may be shown.
    pub fn last_four(&self, key: &LimitedKey) -> Option<String> {
        let pools = self.providers.iter().flat_map(|provider| &provider.pools);
        let mut keys = pools.flat_map(|pool| pool.keys.iter().zip(&pool.listed));
        let (_, listed) = keys.find(|(other, _)| other.name == key.name)?;
        listed.last_four.clone()
    }
}

/// A provider.
#[derive(Clone)]
pub struct ListedProvider {
    /// Its name, and whether it is in trouble.
    pub provider: Arc<Provider>,
    /// What it understands.
    pub dialect: &'static str,
    /// Its keys: once, or once for each model if each has limits of its own.
    pub pools: Vec<Arc<KeyPool>>,
}

/// Keys that calls can choose from, and where they wait for them.
pub struct KeyPool {
    /// The only model that they are counted for; `None` is all of them.
    pub model: Option<Arc<str>>,
    /// The keys.
    pub keys: Arc<[LimitedKey]>,
    /// What is shown of each, in their order.
    pub listed: Vec<ListedKey>,
    /// Who counts.
    pub limits: Arc<dyn RateLimits>,
    /// Calls that wait.
    pub line: Arc<CallLine>,
}

/// What is shown of a key.
#[derive(Clone, Default)]
pub struct ListedKey {
    /// Its last four characters; `None` if there is no key, or it is too short to show any of it.
    pub last_four: Option<String>,
    /// How its calls went.
    pub calls: Arc<RecentCalls>,
}
