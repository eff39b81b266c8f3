//! A stretch of network that can fail: a TCP proxy in front of a service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// It arrives.
    Healthy,
    /// Connections are reset, new ones as soon as they are made.
    Cut,
    /// It is swallowed, new connections too, and nobody is told. A connection that lost something so is reset when the network is
    /// healthy again: whatever stands between two machines has forgotten it by then.
    BlackHole,
    /// It stands still, new connections too, and arrives when the network is healthy again: TCP sends again until it does.
    Frozen,
}

/// A TCP proxy in front of a service. It ends with this value, and so do the connections through it.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A healthy one.
    pub(crate) async fn start(service: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a proxy")?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::Healthy);
        Ok(Self {
            address,
            network,
            accepting: tokio::spawn(accept(listener, service, seen)),
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, service: SocketAddr, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // One that was gone before it was accepted.
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(carry(client, service, network.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection, from its first byte to its last.
async fn carry(mut client: TcpStream, service: SocketAddr, mut network: watch::Receiver<Network>) {
    let Some(mut server) = connect(&client, service, &mut network).await else {
        // A client that sees its connection end in good order might believe that the service wanted it so.
        let _ = client.set_zero_linger();
        return;
    };
    let swallowed = AtomicBool::new(false);
    let finished = {
        let (client_out, client_in) = client.split();
        let (server_out, server_in) = server.split();
        let both = async {
            tokio::join!(
                pass(client_out, server_in, network.clone(), &swallowed),
                pass(server_out, client_in, network.clone(), &swallowed),
            )
        };
        let mut watching = network.clone();
        tokio::select! {
            _ = both => true,
            _ = watching.wait_for(|network| match network {
                Network::Healthy => swallowed.load(Ordering::Relaxed),
                Network::Cut => true,
                Network::BlackHole | Network::Frozen => false,
            }) => false,
        }
    };
    if !finished {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Connects a new client to the service, as the network is then. `None`: its connection breaks.
async fn connect(client: &TcpStream, service: SocketAddr, network: &mut watch::Receiver<Network>) -> Option<TcpStream> {
    let reached = *network.borrow();
    if reached == Network::BlackHole {
        // Until it is over; nobody answers, whatever the client sends.
        let _ = network.wait_for(|network| *network != Network::BlackHole).await;
        return None;
    }
    let passable = network
        .wait_for(|network| matches!(network, Network::Healthy | Network::Cut))
        .await;
    if *passable.ok()? == Network::Cut {
        return None;
    }
    let server = TcpStream::connect(service).await.ok()?;
    // Each write of one side is a write to the other: waiting for more would be a delay of ours.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    Some(server)
}

/// Passes on what one side sends, as the network is at each moment, until that side has no more to send.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
    swallowed: &AtomicBool,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let now = *network.borrow_and_update();
        if now == Network::Frozen {
            if network.changed().await.is_err() {
                return;
            }
            continue;
        }
        let count = tokio::select! {
            // First: what is sent after a change must not pass as before it.
            biased;
            changed = network.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut bytes) => read.unwrap_or(0),
        };
        if now == Network::BlackHole {
            swallowed.store(true, Ordering::Relaxed);
            if count > 0 {
                continue;
            }
            // Its end is swallowed as well: the other side goes on waiting.
            let _ = network.wait_for(|network| *network != Network::BlackHole).await;
            return;
        }
        if count == 0 || to.write_all(&bytes[..count]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
