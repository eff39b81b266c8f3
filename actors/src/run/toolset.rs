//! The tools of a run, from the moment that they are there.

use std::sync::Arc;

use actix::prelude::*;

use crate::event::EventBody;
use crate::ports::ToolDefinition;
use crate::ports::store::RunRecord;
use crate::ports::toolbox::{MissingTools, OpenTools, RunTool, ToolsOpening, ToolsWish};
use crate::run::RunActor;
use crate::store_actor::Record;

/// The tools of a run.
#[derive(Default)]
pub(super) struct Toolset {
    open: Option<OpenTools>,
    definitions: Arc<[ToolDefinition]>,
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

    fn set(&mut self, mut open: OpenTools) {
        self.definitions = open.tools.values().map(|tool| tool.definition.clone()).collect();
        self.untold = std::mem::take(&mut open.missing);
        self.open = Some(open);
    }
}

/// Tools that somebody had to be asked for are there.
#[derive(Message)]
#[rtype(result = "()")]
struct ToolsOpened(OpenTools);

impl RunActor {
    pub(super) fn open_tools(&mut self, record: &RunRecord, ctx: &mut Context<Self>) {
        if self.toolset.is_open() {
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
                let address = ctx.address();
                self.services.io.spawn(async move {
                    // A run that was stopped meanwhile needs no tools.
                    let _ = address.send(ToolsOpened(opening.await)).await;
                });
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

impl Handler<ToolsOpened> for RunActor {
    type Result = ();

    fn handle(&mut self, opened: ToolsOpened, ctx: &mut Self::Context) {
        self.toolset.set(opened.0);
        if self.history_waits {
            return self.load_history(ctx);
        }
        self.tell_missing_tools(ctx);
        self.advance(ctx);
    }
}
