//! A server without keys trusts whoever reaches it. Web pages reach it too, through the browser of whoever sits at this machine: by a
//! name that resolves to loopback (DNS rebinding), or by a request from another site. Both show in headers that pages cannot forge.

use std::net::IpAddr;

/// Whether a `Host` value (with or without port) names this machine: `localhost`, a name below it, or a loopback address.
pub fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port_suffix(port) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    let name = name.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an `Origin` value is a page that this machine serves.
pub fn is_loopback_origin(origin: &str) -> bool {
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(is_loopback_host)
}

fn is_port_suffix(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "localhost",
            "LOCALHOST:8700",
            "127.0.0.1:8700",
            "127.9.9.9",
            "[::1]:8700",
            "[::1]",
            "a.localhost:1",
        ] {
            assert!(is_loopback_host(good), "{good}");
        }
        for bad in [
            "",
            "evil.example:8700",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]:1",
            "[::1]evil",
            "127.0.0.1:80@evil",
        ] {
            assert!(!is_loopback_host(bad), "{bad}");
        }
    }

    #[test]
    fn origins() {
        assert!(is_loopback_origin("http://127.0.0.1:8700"));
        assert!(is_loopback_origin("http://localhost:3000"));
        for bad in [
            "null",
            "https://evil.example",
            "http://127.0.0.1.evil.example",
            "file://",
            "",
        ] {
            assert!(!is_loopback_origin(bad), "{bad}");
        }
    }
}
