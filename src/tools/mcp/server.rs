//! One server, shared by all runs: started when it is first needed, started anew when it is gone, closed when nobody needs it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::ids::AccountId;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::catalog::Catalog;
use super::connection::{Connection, Line};
use super::in_use::{Held, InUse};
use super::options::{McpBounds, McpServerSettings};
use super::place::Place;
use super::restarts::Restarts;
use super::tasks::Tasks;
use super::unavailable::Unavailable;
use crate::blocking::BlockingPool;
use crate::places::SharedPlaces;
use crate::secrets::HiddenSecrets;

/// How long a connection that is closed may take to end.
const CLOSING_TIME: Duration = Duration::from_secs(4);

/// Calls in a row that may time out before the server is given up.
const MOST_SILENT_CALLS: u32 = 3;

/// One server.
pub(super) struct McpServer {
    /// In logs and errors.
    pub(super) name: String,
    /// In metrics: the name, or what stands for all that clients name by address.
    pub(super) label: String,
    pub(super) settings: McpServerSettings,
    pub(super) bounds: McpBounds,
    /// A call has one of these.
    places: SharedPlaces,
    /// What it is told and must not give away.
    pub(super) hidden: HiddenSecrets,
    place: Place,
    state: Mutex<State>,
    pub(super) surroundings: Surroundings,
}

/// What servers do their work with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Surroundings {
    /// What keeps connections.
    pub(super) tasks: Tasks,
    /// Where schemas are compiled, and arguments checked against them.
    pub(super) pool: BlockingPool,
    /// The runtime of the tasks.
    pub(super) io: Handle,
}

struct State {
    stage: Stage,
    restarts: Restarts,
    was_up: bool,
    /// Calls that timed out since the last one that came back.
    silent_calls: u32,
}

enum Stage {
    Down,
    Starting(Start),
    Up(Arc<Held>),
    Closed,
}

type Start = Shared<BoxFuture<'static, Result<(), Unavailable>>>;

/// What somebody who wants a connection has to do.
enum Step {
    Use(InUse),
    AwaitStart(Start),
    Rest(Duration),
    Fail(Unavailable),
}

impl McpServer {
    pub(super) fn new(
        name: String,
        label: String,
        place: Place,
        settings: McpServerSettings,
        bounds: McpBounds,
        surroundings: Surroundings,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            label,
            places: SharedPlaces::new(settings.max_concurrent),
            settings,
            bounds,
            hidden: place.hidden(),
            place,
            state: Mutex::new(State {
                stage: Stage::Down,
                restarts: Restarts::default(),
                was_up: false,
                silent_calls: 0,
            }),
            surroundings,
        })
    }

    /// What a call of this account takes first.
    pub(super) fn places(&self, account: &AccountId) -> Vec<Arc<Semaphore>> {
        if self.place.is_of_one_account() {
            return vec![self.places.all().clone()];
        }
        self.places.of(account).into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing of it runs.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state().stage, Stage::Down | Stage::Closed)
    }

    /// Its tools, if nobody has to be asked for them.
    pub(super) fn known_tools(&self) -> Option<Arc<Catalog>> {
        match &self.state().stage {
            Stage::Up(held) => held.connection.known_tools(),
            _ => None,
        }
    }

    /// The connection. Started if there is none, however many ask for it; waited for, but for no longer than this beside the time that a start
    /// may take.
    ///
    /// # Errors
    /// It cannot be had now.
    pub(super) async fn connect(self: &Arc<Self>, patience: Duration) -> Result<InUse, Unavailable> {
        let last_moment = Instant::now() + patience;
        loop {
            match self.next_step() {
                Step::Use(connection) => return Ok(connection),
                Step::Fail(reason) => return Err(reason),
                Step::AwaitStart(starting) => starting.await?,
                Step::Rest(rest) if Instant::now() + rest > last_moment => return Err(Unavailable::Resting(rest)),
                Step::Rest(rest) => tokio::time::sleep(rest).await,
            }
        }
    }

    fn next_step(self: &Arc<Self>) -> Step {
        let mut state = self.state();
        match &state.stage {
            Stage::Up(held) => Step::Use(held.begin_use()),
            Stage::Closed => Step::Fail(Unavailable::Leaving),
            Stage::Starting(starting) => Step::AwaitStart(starting.clone()),
            Stage::Down => {
                let rest = state.restarts.rest();
                if !rest.is_zero() {
                    return Step::Rest(rest);
                }
                let starting = self.begin_start();
                state.stage = Stage::Starting(starting.clone());
                Step::AwaitStart(starting)
            }
        }
    }

    /// A start goes on whatever becomes of who asked for it: others may wait for it too.
    fn begin_start(self: &Arc<Self>) -> Start {
        let (told, started) = oneshot::channel();
        let server = self.clone();
        self.surroundings.tasks.spawn_on(&self.surroundings.io, async move {
            let opened = server.open().await;
            // Nobody may wait any more.
            match server.settle(opened) {
                Ok((held, line)) => {
                    let _ = told.send(Ok(()));
                    server.keep(held, line).await;
                }
                Err(reason) => drop(told.send(Err(reason))),
            }
        });
        started
            .map(|told| told.unwrap_or(Err(Unavailable::Leaving)))
            .boxed()
            .shared()
    }

    async fn open(&self) -> Result<(Connection, Line), Unavailable> {
        let longest = self.settings.setup_timeout;
        let endpoint = self.place.endpoint(self.bounds.max_message)?;
        let calls = self.settings.max_concurrent;
        let (pool, hidden) = (&self.surroundings.pool, self.hidden.clone());
        let opening = Connection::open(&self.name, endpoint, calls, &self.bounds, pool, hidden);
        tokio::time::timeout(longest, opening)
            .await
            .unwrap_or(Err(Unavailable::Silent(longest)))
    }

    fn settle(&self, opened: Result<(Connection, Line), Unavailable>) -> Result<(Arc<Held>, Line), Unavailable> {
        let mut state = self.state();
        let outcome = opened.as_ref().map_or_else(Unavailable::outcome, |_| "ok");
        let kind = if state.was_up { "again" } else { "first" };
        let labels = [
            ("server", self.label.clone()),
            ("outcome", outcome.to_owned()),
            ("start", kind.to_owned()),
        ];
        metrics::counter!("callboard_mcp_starts_total", &labels).increment(1);
        if matches!(state.stage, Stage::Closed) {
            return Err(Unavailable::Leaving);
        }
        match opened {
            Ok((connection, line)) => {
                let held = Arc::new(Held::new(connection));
                state.stage = Stage::Up(held.clone());
                state.was_up = true;
                state.silent_calls = 0;
                tracing::debug!(server = self.name, "an MCP server is there");
                Ok((held, line))
            }
            Err(reason) => {
                state.stage = Stage::Down;
                state.restarts.failed();
                tracing::warn!(server = self.name, %reason, "an MCP server is not there");
                Err(reason)
            }
        }
    }

    /// Keeps the connection until the server ends or it is not needed any more.
    async fn keep(self: Arc<Self>, held: Arc<Held>, line: Line) {
        let Line { service, process } = line;
        let stop = service.cancellation_token();
        let mut ended = std::pin::pin!(service.waiting());
        loop {
            tokio::select! {
                _ = &mut ended => {
                    self.lost(&held);
                    break;
                }
                () = held.is_done(self.settings.idle_timeout) => {
                    if !self.retire(&held) {
                        continue;
                    }
                    stop.cancel();
                    // The line has to be closed first: the end of its input tells a process to go.
                    if tokio::time::timeout(CLOSING_TIME, ended).await.is_err() {
                        tracing::debug!(server = self.name, "the line to an MCP server does not close");
                    }
                    break;
                }
            }
        }
        drop(held);
        if let Some(process) = process {
            process.end().await;
        }
    }

    /// Takes the connection out of use; not if somebody has just begun to use it.
    fn retire(&self, held: &Arc<Held>) -> bool {
        let mut state = self.state();
        if held.is_used() {
            return false;
        }
        if self.has(&state, held) {
            state.stage = Stage::Down;
            tracing::debug!(server = self.name, "an MCP server is not needed and is closed");
        }
        true
    }

    /// The server has ended by itself.
    fn lost(&self, held: &Arc<Held>) {
        let mut state = self.state();
        if self.has(&state, held) {
            state.stage = Stage::Down;
            state.restarts.failed();
            tracing::warn!(server = self.name, "an MCP server has ended");
        }
    }

    fn has(&self, state: &State, held: &Arc<Held>) -> bool {
        matches!(&state.stage, Stage::Up(current) if Arc::ptr_eq(current, held))
    }

    /// A call has come back with whatever result: the server works.
    pub(super) fn worked(&self) {
        let mut state = self.state();
        state.restarts.worked();
        state.silent_calls = 0;
    }

    /// A call on this connection has timed out. A server that answers none of several is taken for one that never will.
    pub(super) fn was_silent(&self, used: &InUse) {
        let is_hopeless = {
            let mut state = self.state();
            state.silent_calls += 1;
            state.silent_calls >= MOST_SILENT_CALLS
        };
        if is_hopeless {
            tracing::warn!(
                server = self.name,
                "an MCP server does not answer any call and is given up"
            );
            self.give_up(used);
        }
    }

    /// A call did not come through on this connection: the next one gets another. Calls that are under way on it may end.
    pub(super) fn give_up(&self, used: &InUse) {
        let mut state = self.state();
        if self.has(&state, &used.0) {
            state.stage = Stage::Down;
            state.restarts.failed();
        }
        drop(state);
        used.0.dismiss();
    }

    /// Closes it for good.
    pub(super) fn close(&self) {
        let stage = std::mem::replace(&mut self.state().stage, Stage::Closed);
        if let Stage::Up(held) = stage {
            held.dismiss();
        }
    }
}
