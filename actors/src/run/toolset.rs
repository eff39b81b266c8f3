//! The tools of a run, from the moment that they are there.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix::prelude::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::error::RunError;
use crate::event::EventBody;
use crate::ports::ToolDefinition;
use crate::ports::store::RunRecord;
use crate::ports::toolbox::{MissingTools, OpenTools, RunTool, ToolsOpening, ToolsWish};
use crate::run::leaving::Leave;
use crate::run::{Phase, RunActor};
use crate::store_actor::Record;

/// The tools of a run.
#[derive(Default)]
pub(super) struct Toolset {
    open: Option<OpenTools>,
    definitions: Arc<[ToolDefinition]>,
    /// The task that asks for them. Dropping it aborts it, so it does not outlive the actor.
    opening: JoinSet<()>,
    /// Of those that are not there, what subscribers have not been told.
    untold: Vec<MissingTools>,
}

impl Toolset {
    /// Whether all that will be there is there.
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn definitions(&self) -> Arc<[ToolDefinition]> {
        self.definitions.clone()
    }

    pub(super) fn get(&self, name: &str) -> Option<&RunTool> {
        self.open.as_ref()?.tools.get(name)
    }

    /// Nobody waits for them any more.
    pub(super) fn stop_opening(&mut self) {
        self.opening.abort_all();
    }

    fn set(&mut self, mut open: OpenTools) {
        self.definitions = open.tools.values().map(|tool| tool.definition.clone()).collect();
        self.untold = std::mem::take(&mut open.missing);
        self.open = Some(open);
    }
}

/// Tools that somebody had to be asked for are there; `None` if whoever asked broke.
#[derive(Message)]
#[rtype(result = "()")]
struct ToolsOpened(Option<OpenTools>);

impl RunActor {
    /// Asks for the run's tools, once for each start.
    pub(super) fn open_tools(&mut self, record: &RunRecord, ctx: &mut Context<Self>) {
        if self.toolset.is_open() || !self.toolset.opening.is_empty() {
            return;
        }
        let opening = self.services.toolbox.open(ToolsWish {
            account: record.account.clone(),
            run: record.id,
            tools: record.spec.tools.clone(),
        });
        match opening {
            ToolsOpening::Ready(open) => self.toolset.set(open),
            ToolsOpening::Later(opening) => {
                let asking = ask_for_tools(opening, ctx.address());
                self.toolset.opening.spawn_on(asking, &self.services.io);
            }
        }
    }

    /// Tells what is missing, as soon as events can be numbered.
    pub(super) fn tell_missing_tools(&mut self, ctx: &mut Context<Self>) {
        if !self.ready || self.toolset.untold.is_empty() {
            return;
        }
        let missing = std::mem::take(&mut self.toolset.untold);
        let told = missing.into_iter().map(|missing| EventBody::ToolsUnavailable {
            source: missing.source,
            reason: missing.reason,
        });
        let events = told.collect();
        self.record(
            Record {
                events,
                ..Record::default()
            },
            ctx,
        );
    }
}

async fn ask_for_tools(opening: BoxFuture<'static, OpenTools>, owner: Addr<RunActor>) {
    let opened = AssertUnwindSafe(opening).catch_unwind().await;
    // A run that is gone needs no tools.
    let _ = owner.send(ToolsOpened(opened.ok())).await;
}

impl Handler<ToolsOpened> for RunActor {
    type Result = ();

    fn handle(&mut self, opened: ToolsOpened, ctx: &mut Self::Context) {
        if matches!(self.phase, Phase::Leaving) {
            return;
        }
        let Some(open) = opened.0 else {
            tracing::error!(run_id = %self.ticket.run, "the toolbox panicked");
            return self.leave(Leave::failed(RunError::internal()), ctx);
        };
        self.toolset.set(open);
        self.tell_missing_tools(ctx);
        self.advance(ctx);
    }
}
