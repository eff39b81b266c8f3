//! A server that runs and speaks: its tools, and calls of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::ports::ProgressReporter;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotification, CancelledNotificationParam,
    ClientCapabilities, ClientConfig, ClientRequest, Implementation, ProtocolVersion, RequestId, ServerResult,
};
use rmcp::service::{Peer, PeerRequestOptions, RoleClient, RunningService, ServiceError, ServiceExt};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::catalog::{self, Catalog};
use super::http::GuardedHttp;
use super::options::McpBounds;
use super::screened::{Ears, Screened};
use super::stdio::{self, ServerCommand, ServerProcess};
use super::too_large;
use super::unavailable::{Delivery, Unavailable, delivery};
use crate::blocking::BlockingPool;
use crate::secrets::HiddenSecrets;

/// How long a word that a call is not waited for any more may take to be said.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that speaks.
pub(super) struct Connection {
    peer: Peer<RoleClient>,
    ears: Arc<Ears>,
    known: Mutex<KnownTools>,
    fetching: tokio::sync::Mutex<()>,
    /// Where schemas are compiled.
    pool: BlockingPool,
    /// What its tools do not show.
    hidden: HiddenSecrets,
}

/// The tools of a server as it told them last.
struct KnownTools {
    catalog: Arc<Catalog>,
    /// How often it had said that they change when it was asked for them.
    as_of: u64,
}

/// What keeps a connection: whoever drops it ends the server.
pub(super) struct Line {
    pub(super) service: RunningService<RoleClient, ClientConfig>,
    pub(super) process: Option<ServerProcess>,
}

/// Where to connect to.
pub(super) enum Endpoint<'a> {
    Process(&'a ServerCommand),
    Http(GuardedHttp),
}

/// Bounds of a call's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTimes {
    /// Without a sign of progress.
    pub(super) silence: Duration,
    /// In all.
    pub(super) whole: Duration,
}

/// Why a call has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallFailure {
    /// It was not made.
    NotMade,
    /// The server does not do it; what it says of that, at whatever length.
    Refused(String),
    /// There was a result, and it cannot be read.
    Unreadable(&'static str),
    /// It took too long: nobody knows what became of it.
    TimedOut(Duration),
    /// The server ended or the line broke: nobody knows what became of it.
    Lost,
}

impl Connection {
    /// Starts a server or connects to it, and asks for its tools. Not bounded in time. What is `hidden` is not passed on of its
    /// tools and of its progress.
    ///
    /// # Errors
    /// Why there is no such connection.
    pub(super) async fn open(
        server: &str,
        endpoint: Endpoint<'_>,
        calls: usize,
        bounds: &McpBounds,
        pool: &BlockingPool,
        hidden: HiddenSecrets,
    ) -> Result<(Self, Line), Unavailable> {
        let ears = Arc::new(Ears::hearing_nothing_of(hidden.clone()));
        let itself = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("callboard", env!("CARGO_PKG_VERSION")),
        )
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let (process, served) = match endpoint {
            Endpoint::Process(command) => {
                let started = stdio::start(server, command, bounds.max_message);
                let (process, transport) = started.map_err(|error| {
                    tracing::warn!(server, %error, "the program of an MCP server cannot be started");
                    Unavailable::NoProgram
                })?;
                (
                    Some(process),
                    itself.serve(Screened::new(transport, ears.clone())).await,
                )
            }
            Endpoint::Http(http) => {
                let transport = http.transport(calls);
                (None, itself.serve(Screened::new(transport, ears.clone())).await)
            }
        };
        let service = served.map_err(|error| {
            tracing::debug!(server, %error, "an MCP server was not set up");
            Unavailable::from(error)
        })?;
        let peer = service.peer().clone();
        let line = Line { service, process };
        // Some say that their tools change while they are set up.
        let as_of = ears.tool_list_changes();
        let catalog = catalog::fetch(&peer, bounds, pool, &hidden).await?;
        let connection = Self {
            peer,
            ears,
            known: Mutex::new(KnownTools {
                catalog: Arc::new(catalog),
                as_of,
            }),
            fetching: tokio::sync::Mutex::new(()),
            pool: pool.clone(),
            hidden,
        };
        Ok((connection, line))
    }

    /// The tools, unless they have to be asked for again.
    pub(super) fn known_tools(&self) -> Option<Arc<Catalog>> {
        let known = self.known();
        (known.as_of == self.ears.tool_list_changes()).then(|| known.catalog.clone())
    }

    /// The tools. If the server has said that they are others now, it is asked, for no longer than this; without an answer they are those that
    /// were known before, and whoever comes next asks again; so too if this future is dropped before its end.
    pub(super) async fn tools(&self, server: &str, bounds: &McpBounds, longest: Duration) -> Arc<Catalog> {
        if let Some(known) = self.known_tools() {
            return known;
        }
        let refreshing = async {
            let _turn = self.fetching.lock().await;
            // Whoever had the turn before has asked already.
            if self.known_tools().is_some() {
                return Some(());
            }
            let as_of = self.ears.tool_list_changes();
            let catalog = catalog::fetch(&self.peer, bounds, &self.pool, &self.hidden)
                .await
                .ok()?;
            *self.known() = KnownTools {
                catalog: Arc::new(catalog),
                as_of,
            };
            Some(())
        };
        if !matches!(tokio::time::timeout(longest, refreshing).await, Ok(Some(()))) {
            tracing::debug!(server, "the changed tools of an MCP server could not be asked for");
        }
        self.known().catalog.clone()
    }

    fn known(&self) -> MutexGuard<'_, KnownTools> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a tool. The server is told if the call is given up or its future dropped.
    ///
    /// # Errors
    /// There is no result.
    pub(super) async fn call(
        &self,
        params: CallToolRequestParams,
        progress: ProgressReporter,
        times: CallTimes,
    ) -> Result<CallToolResult, CallFailure> {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let sent = self
            .peer
            .send_cancellable_request(request, PeerRequestOptions::no_options());
        // Whatever goes wrong here, the message has not left this process.
        let mut handle = sent.await.map_err(|_| CallFailure::NotMade)?;
        let mut listening = self.ears.listen(handle.progress_token.clone(), progress);
        let underway = Underway::new(self.peer.clone(), handle.id.clone());
        let last_moment = tokio::time::sleep(times.whole);
        tokio::pin!(last_moment);
        let mut silent_until = Instant::now() + times.silence;
        loop {
            tokio::select! {
                answer = &mut handle.rx => {
                    underway.end();
                    return answer.unwrap_or(Err(ServiceError::TransportClosed)).map_or_else(failure, result_of);
                }
                () = listening.progress() => silent_until = Instant::now() + times.silence,
                () = tokio::time::sleep_until(silent_until) => return Err(CallFailure::TimedOut(times.silence)),
                () = &mut last_moment => return Err(CallFailure::TimedOut(times.whole)),
            }
        }
    }
}

fn result_of(answer: ServerResult) -> Result<CallToolResult, CallFailure> {
    match answer {
        ServerResult::CallToolResult(result) => Ok(result),
        ServerResult::EmptyResult(_) => Ok(CallToolResult::default()),
        ServerResult::InputRequiredResult(_) => Err(CallFailure::Refused(
            "it wants to be told more, and nobody here can tell it".to_owned(),
        )),
        _ => Err(CallFailure::Unreadable("is no result of a tool")),
    }
}

fn failure(error: ServiceError) -> Result<CallToolResult, CallFailure> {
    tracing::debug!(%error, "a call of an MCP server's tool has no result");
    Err(match error {
        ServiceError::McpError(error) if too_large::is_said_by(&error) => CallFailure::Unreadable("is too large"),
        ServiceError::McpError(error) => CallFailure::Refused(error.message.into_owned()),
        ServiceError::TransportSend(error) => match delivery(&error) {
            Delivery::NotSent => CallFailure::NotMade,
            Delivery::TurnedDown(status) => CallFailure::Refused(format!("it answered with the HTTP status {status}")),
            Delivery::Unknown => CallFailure::Lost,
        },
        _ => CallFailure::Lost,
    })
}

/// A call that the server works on. Dropped before it is over, the server is told that nobody waits for it any more.
struct Underway {
    call: Option<(Peer<RoleClient>, RequestId)>,
    io: Handle,
}

impl Underway {
    fn new(peer: Peer<RoleClient>, id: RequestId) -> Self {
        Self {
            call: Some((peer, id)),
            io: Handle::current(),
        }
    }

    fn end(mut self) {
        self.call = None;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some((peer, id)) = self.call.take() else { return };
        self.io.spawn(async move {
            let cancelled = CancelledNotification::new(CancelledNotificationParam::new(Some(id), None));
            // A server that is gone works on nothing.
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, peer.send_notification(cancelled.into())).await;
        });
    }
}
