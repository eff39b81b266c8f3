//! What comes between a server and the protocol's library: of what a server says unasked, only what matters goes on, and at a bounded rate.
//!
//! Progress and news of the tool list go to [`Ears`]; other notifications go nowhere. Requests of the server (for a model's answer, for input of
//! a person, for files) are refused here, as the client has said that it does none of it. So nothing that a server says unasked is queued,
//! logged or given a task.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use callboard_actors::ports::{ProgressReporter, ToolProgress};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientResult, ErrorCode, ErrorData, JsonRpcNotification, JsonRpcRequest,
    ProgressNotificationParam, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification, ServerRequest,
};
use rmcp::transport::Transport;
use tokio::sync::watch;

use super::throttle::Throttle;
use crate::secrets::HiddenSecrets;

/// Answers to a server's requests that are under way. What a server asks beyond that is not answered.
const MOST_REPLIES: usize = 16;

/// Who wants to hear what a server says unasked.
#[derive(Debug, Default)]
pub(super) struct Ears {
    /// What is not passed on.
    hidden: HiddenSecrets,
    calls: Mutex<HashMap<ProgressToken, CallEar>>,
    tool_list_changes: AtomicU64,
}

/// Where the progress of a call goes.
#[derive(Debug)]
struct CallEar {
    reporter: ProgressReporter,
    heard: watch::Sender<()>,
}

/// Hears the progress of a call for as long as it lives.
pub(super) struct Listening {
    ears: Arc<Ears>,
    token: ProgressToken,
    heard: watch::Receiver<()>,
}

impl Ears {
    /// Passes on nothing of these.
    pub(super) fn hearing_nothing_of(hidden: HiddenSecrets) -> Self {
        Self {
            hidden,
            ..Self::default()
        }
    }

    /// Passes on what is said of the call with this token.
    pub(super) fn listen(self: &Arc<Self>, token: ProgressToken, reporter: ProgressReporter) -> Listening {
        let (heard, listening) = watch::channel(());
        let ear = CallEar { reporter, heard };
        self.calls().insert(token.clone(), ear);
        Listening {
            ears: self.clone(),
            token,
            heard: listening,
        }
    }

    /// How often the server has said that its tools are others now. A list that was asked for since the last time is the one that it has.
    pub(super) fn tool_list_changes(&self) -> u64 {
        self.tool_list_changes.load(Ordering::Acquire)
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<ProgressToken, CallEar>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear_progress(&self, said: ProgressNotificationParam) {
        if let Some(ear) = self.calls().get(&said.progress_token) {
            ear.heard.send_replace(());
            ear.reporter.report(ToolProgress {
                progress: said.progress,
                total: said.total,
                message: said.message.map(|message| self.hidden.replaced_in(message)),
            });
        }
    }
}

impl Listening {
    /// Waits for the next sign of progress.
    pub(super) async fn progress(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ears.calls().remove(&self.token);
    }
}

/// A transport of which only answers come through.
pub(super) struct Screened<T> {
    inner: T,
    ears: Arc<Ears>,
    replies: FuturesUnordered<BoxFuture<'static, ()>>,
    throttle: Throttle,
}

impl<T: Transport<RoleClient>> Screened<T> {
    pub(super) fn new(inner: T, ears: Arc<Ears>) -> Self {
        Self {
            inner,
            ears,
            replies: FuturesUnordered::new(),
            throttle: Throttle::default(),
        }
    }

    fn hear(&self, notification: ServerNotification) {
        match notification {
            ServerNotification::ProgressNotification(said) => self.ears.hear_progress(said.params),
            ServerNotification::ToolListChangedNotification(_) => {
                self.ears.tool_list_changes.fetch_add(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    fn reply(&mut self, request: &ServerRequest, id: RequestId) {
        if self.replies.len() >= MOST_REPLIES {
            return;
        }
        let reply = match request {
            ServerRequest::PingRequest(_) => ClientJsonRpcMessage::response(ClientResult::empty(()), id),
            _ => {
                let refusal = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "this client does not do that", None);
                ClientJsonRpcMessage::error(refusal, Some(id))
            }
        };
        let sending = self.inner.send(reply);
        self.replies.push(Box::pin(async move {
            // A server that is gone needs no answer.
            let _ = sending.await;
        }));
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Screened<T> {
    type Error = T::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let received = tokio::select! {
                received = async { self.throttle.wait().await; self.inner.receive().await } => received,
                Some(()) = self.replies.next(), if !self.replies.is_empty() => continue,
            };
            match received? {
                ServerJsonRpcMessage::Notification(JsonRpcNotification { notification, .. }) => {
                    self.throttle.charge(0);
                    self.hear(notification);
                }
                ServerJsonRpcMessage::Request(JsonRpcRequest { request, id, .. }) => {
                    self.throttle.charge(0);
                    self.reply(&request, id);
                }
                answer => return Some(answer),
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.replies.clear();
        self.inner.close().await
    }
}
