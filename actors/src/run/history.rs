//! What a run needs to know of its past to go on: its items, and what its log shows as begun but not ended.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::encoding::EncodedEvents;
use crate::event::{EventBody, ItemSeed};
use crate::ids::{ItemId, RunId};
use crate::item::Item;
use crate::ports::store::RunRecord;
use crate::ports::{StoreError, ToolDefinition};
use crate::run::answer::GrowingItem;
use crate::run::thread_history::{self, EarlierTurns};
use crate::services::RunServices;

/// A run's past.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Input first.
    pub(crate) items: Vec<Item>,
    /// Begun in the log and neither completed nor cut off: a crash came between.
    pub(crate) open: Vec<GrowingItem>,
    /// The place that the run's next item will get.
    pub(crate) next_index: u32,
    /// Its log says already that the history was trimmed.
    pub(crate) trimming_is_told: bool,
    /// Its log says already that there is a summary.
    pub(crate) summary_is_told: bool,
    /// Its log says that no summary could be made.
    pub(crate) summary_failure_is_told: bool,
    /// How often it was taken over since its last whole item.
    pub(crate) recoveries: u32,
    /// What was said in its thread before.
    pub(crate) earlier: EarlierTurns,
}

/// The past has been read, or cannot be.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HistoryLoaded(pub(crate) Result<History, StoreError>);

/// Reads the past; while the store does not answer, again and again.
pub(crate) async fn load(services: Arc<RunServices>, record: RunRecord, tools: Arc<[ToolDefinition]>) -> HistoryLoaded {
    let run = record.id;
    let mut delay = Duration::from_millis(50);
    loop {
        match read_with_thread(&services, &record, &tools).await {
            Err(StoreError::Unavailable(reason)) => {
                tracing::debug!(run_id = %run, reason, "the store is unavailable; the run waits for it");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(2));
            }
            answer => return HistoryLoaded(answer),
        }
    }
}

/// The past with that of the thread.
async fn read_with_thread(
    services: &RunServices,
    record: &RunRecord,
    tools: &[ToolDefinition],
) -> Result<History, StoreError> {
    let mut history = read(services, record.id).await?;
    if let Some(thread) = record.thread {
        history.earlier = thread_history::read(services, thread, &record.spec, &history, tools).await?;
    }
    Ok(history)
}

/// The past as the store has it now.
pub(crate) async fn read(services: &RunServices, run: RunId) -> Result<History, StoreError> {
    const ITEMS_AT_ONCE: u32 = 500;
    const EVENT_BYTES_AT_ONCE: usize = 256 * 1024;
    let mut history = History::default();
    let mut after = None;
    loop {
        let page = services.store.items(run, after, ITEMS_AT_ONCE).await?;
        after = page.items.last().map(|(place, _)| *place);
        history.items.extend(page.items.into_iter().map(|(_, item)| item));
        if !page.has_more {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = services.store.events(run, after, EVENT_BYTES_AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.last_seq());
        for batch in &page {
            history.fold(batch)?;
        }
    }
    Ok(history)
}

impl History {
    /// Takes in what a batch of the log says of items. Most of a log are deltas; only what matters here is decoded.
    fn fold(&mut self, batch: &EncodedEvents) -> Result<(), StoreError> {
        let damaged = |_| StoreError::Damaged("an event does not decode".into());
        for frame in batch.frames() {
            match frame.kind {
                "history.trimmed" => self.trimming_is_told = true,
                "history.summarized" => self.summary_is_told = true,
                "history.summary_failed" => self.summary_failure_is_told = true,
                "run.recovered" => self.recoveries += 1,
                "item.completed" => self.recoveries = 0,
                _ => {}
            }
            let about_items = frame.kind.starts_with("item.") || frame.kind.ends_with(".delta");
            if !about_items {
                continue;
            }
            let event: crate::event::Event = serde_json::from_str(frame.data).map_err(damaged)?;
            match event.body {
                EventBody::ItemAdded { item_id, index, item } => self.begin(item_id, index, item, event.at),
                EventBody::TextDelta { item_id, delta }
                | EventBody::ReasoningDelta { item_id, delta }
                | EventBody::ArgumentsDelta { item_id, delta } => self.grow(item_id, &delta),
                EventBody::ItemCompleted { item, .. } | EventBody::ItemIncomplete { item, .. } => {
                    self.open.retain(|open| open.id != item.id);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, id: ItemId, index: u32, seed: ItemSeed, created_at: crate::time::Timestamp) {
        self.next_index = self.next_index.max(index + 1);
        self.open.push(GrowingItem {
            id,
            index,
            seed,
            text: String::new(),
            seal: None,
            created_at,
        });
    }

    fn grow(&mut self, id: ItemId, delta: &str) {
        if let Some(item) = self.open.iter_mut().find(|item| item.id == id) {
            item.text.push_str(delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode;
    use crate::item::{ItemStatus, Role};
    use crate::time::Timestamp;

    #[test]
    fn what_was_begun_and_not_ended_is_found_with_its_text() {
        let seed = ItemSeed::Message { role: Role::Assistant };
        let whole = GrowingItem {
            id: ItemId::new(),
            index: 0,
            seed: seed.clone(),
            text: String::new(),
            seal: None,
            created_at: Timestamp::now(),
        };
        let open = ItemId::new();
        let events = [
            EventBody::RunStarted { epoch: 1 },
            EventBody::ItemAdded {
                item_id: whole.id,
                index: 0,
                item: seed.clone(),
            },
            EventBody::ItemCompleted {
                index: 0,
                item: whole.into_item(ItemStatus::Completed),
            },
            EventBody::ItemAdded {
                item_id: open,
                index: 1,
                item: seed,
            },
            EventBody::TextDelta {
                item_id: open,
                delta: "Hal".into(),
            },
            EventBody::TextDelta {
                item_id: open,
                delta: "lo".into(),
            },
        ];
        let mut history = History::default();
        history
            .fold(&encode(RunId::new(), 3, events).expect("six events"))
            .expect("it decodes");
        assert_eq!(history.next_index, 2);
        assert_eq!(history.open.len(), 1);
        assert_eq!((history.open[0].id, history.open[0].text.as_str()), (open, "Hallo"));
    }

    #[test]
    fn take_overs_are_counted_from_the_last_whole_item_on() {
        let recovered = |epoch| EventBody::RunRecovered { epoch, lost: None };
        let whole = EventBody::ItemCompleted {
            index: 0,
            item: Item::message(Role::Assistant, "Hallo"),
        };
        let mut history = History::default();
        let events = [recovered(2), recovered(3), whole, recovered(4)];
        history
            .fold(&encode(RunId::new(), 0, events).expect("four events"))
            .expect("it decodes");
        assert_eq!(history.recoveries, 1);
    }
}
