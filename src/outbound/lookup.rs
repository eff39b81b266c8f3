//! From a name to addresses that may be asked. The connection goes to what came out of here: there is no second look-up between check and
//! connect that could come out differently.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::addresses::AddressRules;

/// Look-ups of the system at once. Each holds a thread for as long as a name server takes.
pub const LOOKUP_THREADS: usize = 16;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All of them, in the order in which they should be tried.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The look-up of the system: `/etc/hosts`, name servers, whatever it is set up for.
pub struct SystemLookup(Arc<Semaphore>);

impl Default for SystemLookup {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUP_THREADS)))
    }
}

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.0.clone();
        Box::pin(async move {
            let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
            // A look-up cannot be taken back: its turn ends with it, not with whoever waits for it.
            let looking = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(turn);
                found.map(|addresses| addresses.map(|address| address.ip()).collect())
            });
            looking.await.map_err(io::Error::other)?
        })
    }
}

/// Of what a name stands for, those that may be asked.
pub(super) struct CheckedLookup {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) rules: Arc<AddressRules>,
    /// The one port that is asked at; `None` is any of the usual ones.
    pub(super) port: Option<u16>,
}

/// None of the addresses may be asked.
#[derive(Debug, thiserror::Error)]
#[error("no address that may be asked")]
struct NoneAllowed;

impl Resolve for CheckedLookup {
    fn resolve(&self, name: Name) -> Resolving {
        let looking = self.lookup.addresses(name.as_str().to_owned());
        let (rules, port) = (self.rules.clone(), self.port);
        Box::pin(async move {
            let mut addresses = looking.await?;
            addresses.retain(|address| match port {
                Some(port) => rules.allow(*address, port),
                None => rules.allow_at_usual_ports(*address),
            });
            if addresses.is_empty() {
                return Err(NoneAllowed.into());
            }
            // Port 0 is replaced by that of the URL.
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
