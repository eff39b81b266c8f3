//! Threads as the document describes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::run_schemas::Item;

/// A conversation: its runs one after the other.
#[derive(Deserialize, ToSchema)]
pub(super) struct Thread {
    #[schema(example = "thr_01a20970c5dd71cbbba32a24347add9d")]
    id: String,
    /// Always `thread`.
    object: String,
    metadata: BTreeMap<String, String>,
    #[schema(format = DateTime)]
    created_at: String,
    links: ThreadLinks,
}

/// Where to read on: paths on this server.
#[derive(Deserialize, ToSchema)]
pub(super) struct ThreadLinks {
    #[serde(rename = "self")]
    thread: String,
    items: String,
    runs: String,
}

/// An item of a thread.
#[derive(Deserialize, ToSchema)]
pub(super) struct ThreadItem {
    #[serde(flatten)]
    item: Item,
    /// Whose it is; `null` of what the thread began with.
    #[schema(required)]
    run_id: Option<String>,
}

/// A part of the list of threads.
#[derive(Deserialize, ToSchema)]
pub(super) struct ThreadPage {
    data: Vec<Thread>,
    has_more: bool,
    /// For `?cursor=`; `null` at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A part of what was said in a thread.
#[derive(Deserialize, ToSchema)]
pub(super) struct ThreadItemPage {
    data: Vec<ThreadItem>,
    has_more: bool,
    /// For `?cursor=`; `null` at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
}
