//! A thread and its items as clients read them.

use std::collections::BTreeMap;

use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::item::Item;
use callboard_actors::ports::threads::{ThreadItem, ThreadRecord};
use callboard_actors::time::Timestamp;
use serde::Serialize;

/// A thread.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ThreadView {
    id: ThreadId,
    object: &'static str,
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    links: ThreadLinks,
}

/// Where to read on.
#[derive(Debug, Clone, Serialize)]
struct ThreadLinks {
    #[serde(rename = "self")]
    thread: String,
    items: String,
    runs: String,
}

/// An item of a thread: the item, and whose it is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ThreadItemView {
    #[serde(flatten)]
    item: Item,
    run_id: Option<RunId>,
}

/// The path of a thread.
pub(super) fn thread_path(thread: ThreadId) -> String {
    format!("/api/v1/threads/{thread}")
}

impl From<ThreadRecord> for ThreadView {
    fn from(record: ThreadRecord) -> Self {
        let path = thread_path(record.id);
        Self {
            id: record.id,
            object: "thread",
            metadata: record.metadata,
            created_at: record.created_at,
            links: ThreadLinks {
                items: format!("{path}/items"),
                runs: format!("/api/v1/runs?thread={}", record.id),
                thread: path,
            },
        }
    }
}

impl From<ThreadItem> for ThreadItemView {
    fn from(item: ThreadItem) -> Self {
        Self {
            item: item.item,
            run_id: item.run,
        }
    }
}
