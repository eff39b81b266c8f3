//! Going on with a run that has a past: it is read, what a crash left of it is put in order, and the next step is found.

use std::sync::Arc;

use actix::prelude::*;

use crate::error::{RunError, RunErrorCode};
use crate::event::EventBody;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::run::answer::end_item;
use crate::run::history::{self, HistoryLoaded};
use crate::run::leaving::Leave;
use crate::run::summarizing::Summarizing;
use crate::run::ticket::Outcome;
use crate::run::tools;
use crate::run::{Phase, RunActor};
use crate::store_actor::Record;

impl RunActor {
    /// Reads the run's past. That of a thread is cut to what the tools leave of the model's window, so it waits for them.
    pub(super) fn load_history(&mut self, ctx: &mut Context<Self>) {
        let Some(record) = self.record.clone() else { return };
        self.history_waits = record.thread.is_some() && !self.toolset.is_open() && self.deferred.is_none();
        if self.history_waits {
            return;
        }
        let tools = self.toolset.definitions();
        let (services, address) = (self.services.clone(), ctx.address());
        let loading = async move {
            // A run that was stopped meanwhile needs no past.
            let _ = address.send(history::load(services, record, tools).await).await;
        };
        self.tasks.spawn_on(loading, &self.services.io);
    }
}

impl Handler<HistoryLoaded> for RunActor {
    type Result = ();

    fn handle(&mut self, loaded: HistoryLoaded, ctx: &mut Self::Context) {
        let history = match loaded.0 {
            Ok(history) => history,
            Err(error) => {
                tracing::error!(run_id = %self.ticket.run, %error, "the run's past cannot be read");
                return self.stop(Outcome::Abandoned, ctx);
            }
        };
        let Some(record) = &self.record else { return };
        self.ready = true;
        self.next_index = history.next_index;
        let whole = history
            .items
            .into_iter()
            .filter(|item| item.status == ItemStatus::Completed);
        // A summary that the run has made is with what was said earlier.
        let said = whole.filter(|item| !matches!(item.content, ItemContent::Summary { .. }));
        let own: Vec<Arc<Item>> = said.map(Arc::new).collect();
        let wanted = tools::calls_without_result(own.iter().map(AsRef::as_ref));
        self.conversation = history.earlier.items;
        self.conversation.extend(own);
        let mut events = Vec::new();
        if self.recovered {
            events.push(EventBody::RunRecovered {
                epoch: record.epoch,
                lost: record.lost_events(),
            });
        }
        let cut_off: Vec<Item> = history
            .open
            .into_iter()
            .map(|item| end_item(item, ItemStatus::Incomplete, &mut events))
            .collect();
        events.extend(history.earlier.summarized.filter(|_| !history.summary_is_told));
        events.extend(history.earlier.trimmed.filter(|_| !history.trimming_is_told));
        self.summarizing = history.earlier.to_summarize.map(Summarizing::new);
        if !events.is_empty() {
            self.record(
                Record {
                    events,
                    items: cut_off,
                    notify: true,
                    ..Record::default()
                },
                ctx,
            );
        }
        self.tell_missing_tools(ctx);
        if let Some(leave) = self.deferred.take() {
            return self.leave(leave, ctx);
        }
        if let Some(error) = history.earlier.refused {
            return self.leave(Leave::failed(error), ctx);
        }
        if self.recovered
            && let Some(error) = too_many_recoveries(history.recoveries, self.services.settings.max_recoveries)
        {
            return self.leave(Leave::failed(error), ctx);
        }
        if !self.take_up_ledger(&wanted) {
            return self.wait_for_calls(ctx);
        }
        self.phase = if wanted.is_empty() {
            Phase::ModelNext
        } else {
            Phase::ToolsNext(wanted)
        };
        self.advance(ctx);
    }
}

/// `before` is how often the run was taken over already since it last got a step further.
fn too_many_recoveries(before: u32, most: Option<u32>) -> Option<RunError> {
    most.filter(|most| before >= *most).map(|most| {
        RunError::new(
            RunErrorCode::RecoveryLimit,
            format!("the servers that had the run were lost more than {most} times while it was at the same step"),
        )
    })
}
