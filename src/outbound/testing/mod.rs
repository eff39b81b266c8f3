//! What tests of requests to the outside share.

mod web_server;

use super::{Outbound, OutboundOptions};

pub(crate) use web_server::{Received, Reply, WebServer, reply};

/// Options that allow these networks beside the public internet.
pub(crate) fn options(allowed: &[String]) -> OutboundOptions {
    let allowed = allowed.iter().map(|network| network.parse().expect("a network"));
    let ports = ["80", "443", "1024-65535"].map(|ports| ports.parse().expect("ports"));
    OutboundOptions {
        allowed: allowed.collect(),
        ports: ports.to_vec(),
        user_agent: "callboard-test".to_owned(),
        max_response: 100_000,
        connect_timeout: std::time::Duration::from_secs(5),
        timeout: std::time::Duration::from_secs(30),
        max_redirects: 5,
    }
}

/// One that may ask these servers of this machine, and no others.
pub(crate) fn outbound_to(servers: &[&WebServer]) -> Outbound {
    let allowed = servers
        .iter()
        .map(|server| format!("127.0.0.1/32:{}", server.address.port()));
    Outbound::new(options(&allowed.collect::<Vec<_>>())).expect("a client")
}
