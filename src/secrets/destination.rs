//! A place that a secret may be sent to: `api.example.com`, `*.example.com`, `api.example.com:8443`, `http://127.0.0.1:9000`.

use std::str::FromStr;

use reqwest::Url;

/// A scheme, a host or all below it, and a port. Without a scheme it is `https`: a secret in plain text is read by whoever is on the way.
/// Without a port it is the scheme's own; `:*` is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    scheme: &'static str,
    host: Host,
    /// `None` is any.
    port: Option<u16>,
}

/// As URLs have it: in small letters, international names in Punycode, IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Exactly(String),
    /// What ends in this, which begins with a dot.
    Below(String),
}

/// The text names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host such as \"api.example.com\" or \"*.example.com\", with a port if it is not 443 (\":*\" is any), and with \"http://\" \
     in front where the secret may travel unencrypted"
)]
pub struct InvalidDestination;

impl Destination {
    /// Whether `url` leads there.
    pub fn is_of(&self, url: &Url) -> bool {
        let is_host = url.host_str().is_some_and(|host| match &self.host {
            Host::Exactly(own) => own == host,
            Host::Below(ending) => host.strip_suffix(ending.as_str()).is_some_and(|rest| !rest.is_empty()),
        });
        let is_port = self.port.is_none() || self.port == url.port_or_known_default();
        url.scheme() == self.scheme && is_host && is_port
    }
}

impl FromStr for Destination {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            Some(_) => return Err(InvalidDestination),
            None => ("https", text),
        };
        let (rest, is_any_port) = rest.strip_suffix(":*").map_or((rest, false), |rest| (rest, true));
        let (name, is_below) = rest.strip_prefix("*.").map_or((rest, false), |name| (name, true));
        // The parser would take these for a path, a query, a user, and white space for nothing.
        if name.is_empty() || name.contains(['/', '\\', '?', '#', '@', '*']) || name.contains(char::is_whitespace) {
            return Err(InvalidDestination);
        }
        let url = Url::parse(&format!("{scheme}://{name}/")).map_err(|_| InvalidDestination)?;
        let host = url.host_str().ok_or(InvalidDestination)?;
        if is_any_port && url.port().is_some() {
            return Err(InvalidDestination);
        }
        let host = if is_below {
            // Everything below `com` is nobody's in particular, and nothing is below an address.
            let is_name = url.domain().is_some_and(|name| name.contains('.'));
            if !is_name {
                return Err(InvalidDestination);
            }
            Host::Below(format!(".{host}"))
        } else {
            Host::Exactly(host.to_owned())
        };
        Ok(Self {
            scheme,
            host,
            port: if is_any_port { None } else { url.port_or_known_default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads_there(destination: &str, url: &str) -> bool {
        let destination: Destination = destination.parse().expect(destination);
        destination.is_of(&url.parse().expect(url))
    }

    #[test]
    fn scheme_host_and_port_all_count() {
        for (destination, url) in [
            ("api.example.com", "https://api.example.com/v1"),
            ("API.Example.com", "https://api.example.com:443/"),
            ("*.example.com", "https://a.b.example.com/"),
            ("api.example.com:8443", "https://api.example.com:8443/"),
            ("api.example.com:*", "https://api.example.com:9/"),
            ("http://127.0.0.1:*", "http://127.1:8080/"),
            ("http://[::1]:80", "http://[0:0::1]/"),
            ("bücher.example", "https://xn--bcher-kva.example/"),
        ] {
            assert!(leads_there(destination, url), "{destination} {url}");
        }
        for (destination, url) in [
            ("api.example.com", "http://api.example.com/"),
            ("api.example.com", "https://api.example.com:8443/"),
            ("api.example.com", "https://api.example.com.evil.example/"),
            ("api.example.com", "https://api.example.com@evil.example/"),
            ("api.example.com", "https://evilapi.example.com/"),
            ("*.example.com", "https://example.com/"),
            ("*.example.com", "https://evilexample.com/"),
            ("*.example.com", "https://.example.com/"),
            ("http://127.0.0.1:*", "https://127.0.0.1:8080/"),
        ] {
            // An address that is none goes nowhere.
            let Ok(url) = url.parse() else { continue };
            let destination: Destination = destination.parse().expect(destination);
            assert!(!destination.is_of(&url), "{destination:?} {url}");
        }
    }

    #[test]
    fn what_is_no_place_or_any_place_is_refused() {
        for wrong in [
            "",
            "*",
            "*.com",
            "*.127.0.0.1",
            "ftp://a.example",
            "a.example/path",
            "user@a.example",
            "a.*.example",
            "a b",
            "a.example:0x",
            ":*",
            "a.example:1:*",
            "a.example?x",
            "http://",
        ] {
            assert_eq!(wrong.parse::<Destination>(), Err(InvalidDestination), "{wrong}");
        }
    }
}
