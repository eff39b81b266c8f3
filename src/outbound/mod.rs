//! Requests to addresses that a client, a model or somebody else's server chose.
//!
//! What can be reached from here is more than whoever chose the address may reach: this machine, the network it stands in, the metadata
//! service of its cloud. So a connection goes only to addresses of the public internet and to those that the configuration adds, judged after
//! the name was looked up and again on each redirect. Answers are bounded in size and time; no proxy of the environment is used, because it
//! would look names up itself.

mod addresses;
mod failure;
mod headers;
mod lookup;
mod redirect;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode, Url};

use addresses::AddressRules;
pub use addresses::{AllowedNetwork, InvalidNetwork, InvalidPorts, PortRange};
pub use failure::{InvalidUrl, OutboundError};
pub use headers::{FilledHeaders, HeaderProblem, HeaderTemplates};
use lookup::CheckedLookup;
pub use lookup::{LOOKUP_THREADS, Lookup, SystemLookup};

/// Unused connections to one server that are kept open, and for how long.
const IDLE_CONNECTIONS: usize = 4;
const IDLE_TIME: Duration = Duration::from_secs(30);

/// What may be asked, and how.
#[derive(Debug, Clone)]
pub struct OutboundOptions {
    /// Networks beside the public internet.
    pub allowed: Vec<AllowedNetwork>,
    /// Ports of all addresses that may be asked.
    pub ports: Vec<PortRange>,
    /// What requests say they come from.
    pub user_agent: String,
    /// Bytes of an answer, unpacked.
    pub max_response: usize,
    /// To a connection, the look-up of the name included.
    pub connect_timeout: Duration,
    /// From the request to the end of the answer, redirects included.
    pub timeout: Duration,
    /// Answers in a row that say to go elsewhere.
    pub max_redirects: usize,
}

/// A request.
#[derive(Debug, Clone)]
pub struct OutboundRequest {
    /// What to do there.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// For whoever answers in the end.
    pub headers: HeaderMap,
    /// For the server of `url` alone: left out once a redirect leads to another scheme, host or port.
    pub private_headers: HeaderMap,
    /// What is sent.
    pub body: Option<Bytes>,
}

impl OutboundRequest {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            private_headers: HeaderMap::new(),
            body: None,
        }
    }
}

/// An answer that was read.
#[derive(Debug, Clone)]
pub struct OutboundAnswer {
    /// Where it came from, after all redirects.
    pub url: Url,
    /// How it went.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its content, unpacked.
    pub body: Bytes,
    /// Whether there was more of it than is taken.
    pub is_cut: bool,
}

/// Sends requests. Cheap to clone.
#[derive(Clone)]
pub struct Outbound(Arc<Inner>);

struct Inner {
    options: OutboundOptions,
    rules: Arc<AddressRules>,
    /// For the ports that all addresses may be asked at.
    usual: Client,
    /// For those that a network was added for: a look-up knows the name, and not the port.
    by_port: BTreeMap<u16, Client>,
}

/// What a `content-type` says without its parameters, in small letters.
pub fn media_type(content_type: &str) -> String {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

impl Outbound {
    /// With the look-up of the system.
    ///
    /// # Errors
    /// The TLS of this machine cannot be used, or the user agent is no header.
    pub fn new(options: OutboundOptions) -> anyhow::Result<Self> {
        Self::with_lookup(options, Arc::new(SystemLookup::default()))
    }

    /// With another look-up.
    ///
    /// # Errors
    /// As [`Outbound::new`].
    pub fn with_lookup(options: OutboundOptions, lookup: Arc<dyn Lookup>) -> anyhow::Result<Self> {
        let rules = Arc::new(AddressRules {
            allowed: options.allowed.clone(),
            ports: options.ports.clone(),
        });
        let client = |port| {
            let checked = CheckedLookup {
                lookup: lookup.clone(),
                rules: rules.clone(),
                port,
            };
            Client::builder()
                .dns_resolver(Arc::new(checked))
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(options.connect_timeout)
                .user_agent(&options.user_agent)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .pool_idle_timeout(IDLE_TIME)
                .http1_only()
                .build()
        };
        let ports = options.allowed.iter().filter_map(AllowedNetwork::port);
        let by_port = ports.map(|port| Ok((port, client(Some(port))?)));
        let by_port = by_port.collect::<reqwest::Result<_>>()?;
        let usual = client(None)?;
        Ok(Self(Arc::new(Inner {
            options,
            rules,
            usual,
            by_port,
        })))
    }

    /// Bytes of an answer, unpacked.
    pub fn max_response(&self) -> usize {
        self.0.options.max_response
    }

    /// Judges an address as far as that is possible without looking its name up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, url: &Url) -> Result<(), OutboundError> {
        let Some(host) = url.host().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return Err(OutboundError::InvalidUrl(InvalidUrl::Scheme));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::InvalidUrl(InvalidUrl::Credentials));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.0.rules.allow_port(port) {
            return Err(OutboundError::InvalidUrl(InvalidUrl::Port));
        }
        let is_allowed = match host {
            // Nobody looks up what is an address already.
            url::Host::Ipv4(address) => self.0.rules.allow(address.into(), port),
            url::Host::Ipv6(address) => self.0.rules.allow(address.into(), port),
            url::Host::Domain(_) => true,
        };
        is_allowed.then_some(()).ok_or(OutboundError::NotReachable)
    }

    /// Sends a request and follows redirects. The answer's head is there; its content is not read and not bounded, and nothing but connecting is
    /// timed: that is for the caller to do.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, mut request: OutboundRequest) -> Result<Response, OutboundError> {
        let mut response = self.send_once(&request).await?;
        for _ in 0..self.0.options.max_redirects {
            match redirect::target(&response)? {
                None => return Ok(response),
                Some(target) => redirect::follow(&mut request, response.status(), target)?,
            }
            let following = self.send_once(&request).await;
            response = following.map_err(|error| OutboundError::AfterRedirect(Box::new(error)))?;
        }
        match redirect::target(&response)? {
            None => Ok(response),
            Some(_) => Err(OutboundError::TooManyRedirects),
        }
    }

    async fn send_once(&self, request: &OutboundRequest) -> Result<Response, OutboundError> {
        self.check(&request.url)?;
        let port = request.url.port_or_known_default().unwrap_or_default();
        let client = self.0.by_port.get(&port).unwrap_or(&self.0.usual);
        let mut call = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .headers(request.private_headers.clone());
        if let Some(body) = &request.body {
            call = call.body(body.clone());
        }
        call.send().await.map_err(|error| OutboundError::of(&error))
    }

    /// Sends a request and reads the answer, within the configured time, or this if it is shorter, and size.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn fetch(
        &self,
        request: OutboundRequest,
        timeout: Option<Duration>,
    ) -> Result<OutboundAnswer, OutboundError> {
        let configured = self.0.options.timeout;
        let timeout = timeout.map_or(configured, |timeout| timeout.min(configured));
        let exchange = async { self.read(self.send(request).await?).await };
        let done = tokio::time::timeout(timeout, exchange).await;
        done.unwrap_or(Err(OutboundError::TimedOut(timeout)))
    }

    async fn read(&self, mut response: Response) -> Result<OutboundAnswer, OutboundError> {
        let most = self.0.options.max_response;
        let mut body = BytesMut::new();
        let mut is_cut = false;
        while let Some(chunk) = response.chunk().await.map_err(|error| OutboundError::of(&error))? {
            let room = most - body.len();
            if chunk.len() > room {
                body.extend_from_slice(&chunk[..room]);
                is_cut = true;
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(OutboundAnswer {
            url: response.url().clone(),
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
            is_cut,
        })
    }
}
