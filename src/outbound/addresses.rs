//! Which addresses may be asked: those of the public internet, and those that the configuration adds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A network that may be asked although it is no part of the public internet: `10.1.0.0/16`, or one port of it: `127.0.0.1/32:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedNetwork {
    network: IpNet,
    /// `None` is every port that any address may be asked at.
    port: Option<u16>,
}

/// The text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a network such as \"10.1.0.0/16\" or \"fd00:1::/32\", or one port of it, such as \"127.0.0.1/32:8080\""
)]
pub struct InvalidNetwork;

impl FromStr for AllowedNetwork {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        // Colons before the '/' belong to an address of IPv6.
        let (address, rest) = text.split_once('/').ok_or(InvalidNetwork)?;
        let (length, port) = match rest.split_once(':') {
            Some((length, port)) => (length, Some(port.parse().map_err(|_| InvalidNetwork)?)),
            None => (rest, None),
        };
        let network: IpNet = format!("{address}/{length}").parse().map_err(|_| InvalidNetwork)?;
        if port == Some(0) || network.trunc() != network {
            return Err(InvalidNetwork);
        }
        Ok(Self { network, port })
    }
}

impl AllowedNetwork {
    /// Every address of IPv4.
    pub const ALL_OF_IPV4: Self = Self {
        network: IpNet::V4(v4([0, 0, 0, 0], 0)),
        port: None,
    };

    /// Every address of IPv6.
    pub const ALL_OF_IPV6: Self = Self {
        network: IpNet::V6(v6([0, 0, 0, 0, 0, 0, 0, 0], 0)),
        port: None,
    };

    /// The one port that it is about.
    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// The ports from one to another, both included: `443`, `1024-65535`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };
}

/// The text names no ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a port such as \"443\", or ports such as \"1024-65535\"")]
pub struct InvalidPorts;

impl FromStr for PortRange {
    type Err = InvalidPorts;

    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(InvalidPorts),
        }
    }
}

/// What may be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressRules {
    pub(super) allowed: Vec<AllowedNetwork>,
    pub(super) ports: Vec<PortRange>,
}

impl AddressRules {
    /// Whether this port of this address may be asked. The address of a mapped IPv4 one is that.
    pub(super) fn allow(&self, address: IpAddr, port: u16) -> bool {
        let canonical = address.to_canonical();
        let mut allowed = self.allowed.iter();
        let is_added = allowed.any(|own| own.port == Some(port) && own.network.contains(&canonical));
        is_added || (self.has_port(port) && self.allow_at_usual_ports(address))
    }

    /// Whether this address may be asked at the ports that any may be asked at.
    pub(super) fn allow_at_usual_ports(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        let mut allowed = self.allowed.iter();
        let is_added = allowed.any(|own| own.port.is_none() && own.network.contains(&canonical));
        is_added || is_public(canonical)
    }

    /// Whether any address may be asked at this port.
    pub(super) fn allow_port(&self, port: u16) -> bool {
        self.has_port(port) || self.allowed.iter().any(|own| own.port == Some(port))
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports
            .iter()
            .any(|range| (range.first..=range.last).contains(&port))
    }
}

/// What IANA's registry of special-purpose addresses has as not globally reachable, or as a way round to others, and multicast.
const SPECIAL_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    // A public address that is answered by the host of every virtual machine in Azure, and by nobody else.
    v4([168, 63, 129, 16], 32),
];

/// All of IPv6 that is given out to networks.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What of it is something else: protocols (Teredo among them), documentation, 6to4.
const SPECIAL_V6: &[Ipv6Net] = &[
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// How a network of IPv6 alone writes addresses of IPv4.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(address: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = address;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// Whether anybody on the internet could reach it. The address is canonical: an IPv4 one is not written as an IPv6 one.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_V6.contains(&address) && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str]) -> AddressRules {
        let allowed = allowed.iter().map(|network| network.parse().expect("a network"));
        let ports = ["80", "443", "1024-65535"].map(|ports| ports.parse().expect("ports"));
        AddressRules {
            allowed: allowed.collect(),
            ports: ports.to_vec(),
        }
    }

    #[test]
    fn only_the_public_internet_is_allowed_by_itself() {
        let rules = rules(&[]);
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(rules.allow(public.parse().expect(public), 443), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:101:101::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!rules.allow(special.parse().expect(special), 443), "{special}");
        }
    }

    #[test]
    fn the_configuration_adds_networks_and_single_ports() {
        let rules = rules(&["10.1.0.0/16", "127.0.0.1/32:22", "fd00:1::/32:9000"]);
        let allow = |address: &str, port| rules.allow(address.parse().expect(address), port);
        assert!(allow("10.1.2.3", 8080) && allow("::ffff:10.1.2.3", 80));
        // A network without a port has the ports that all have.
        assert!(!allow("10.1.2.3", 22) && !allow("10.2.0.1", 8080));
        assert!(allow("127.0.0.1", 22) && !allow("127.0.0.1", 8080) && !allow("127.0.0.2", 22));
        assert!(allow("fd00:1::5", 9000) && !allow("fd00:1::5", 443));
        assert!(!allow("1.1.1.1", 22) && !allow("1.1.1.1", 25));
        assert!(rules.allow_port(22) && rules.allow_port(9000) && !rules.allow_port(25));
    }

    #[test]
    fn what_is_no_network_or_no_port_is_refused() {
        for wrong in [
            "",
            "10.0.0.1",
            "10.1.2.3/16",
            "10.0.0.0/33",
            "10.0.0.0/8:0",
            "10.0.0.0/8:http",
            "a/8",
            "::1/128:99999",
            "10.0.0.0/8:",
        ] {
            assert_eq!(wrong.parse::<AllowedNetwork>(), Err(InvalidNetwork), "{wrong}");
        }
        for wrong in ["", "0", "-", "10-5", "65536", "a", "1-"] {
            assert_eq!(wrong.parse::<PortRange>(), Err(InvalidPorts), "{wrong}");
        }
    }
}
