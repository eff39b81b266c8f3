//! Pages of lists: `{"data": […], "has_more", "next_cursor"}`.

use actix_web::HttpResponse;
use actix_web::http::header;
use callboard_actors::ports::store::ItemPage;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::query::QueryParameters;
use super::state::HttpState;

/// A part of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page<Entry> {
    pub(super) data: Vec<Entry>,
    pub(super) has_more: bool,
    pub(super) next_cursor: Option<String>,
}

impl<Entry> Page<Entry> {
    /// The page of a list that was read one entry longer than `limit`. `cursor` is where the list goes on behind an entry.
    pub(super) fn of(mut entries: Vec<Entry>, limit: u32, cursor: impl FnOnce(&Entry) -> String) -> Self {
        let has_more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        Self {
            next_cursor: entries.last().filter(|_| has_more).map(cursor),
            has_more,
            data: entries,
        }
    }

    /// The page that a store has bounded. `cursor` is where the list goes on behind an entry.
    pub(super) fn of_items(page: ItemPage<Entry>, cursor: impl FnOnce(&Entry) -> String) -> Self {
        Self {
            next_cursor: page.items.last().filter(|_| page.has_more).map(cursor),
            has_more: page.has_more,
            data: page.items,
        }
    }

    /// The same page with each entry as it is shown.
    pub(super) fn map<Shown>(self, show: impl Fn(Entry) -> Shown) -> Page<Shown> {
        Page {
            data: self.data.into_iter().map(show).collect(),
            has_more: self.has_more,
            next_cursor: self.next_cursor,
        }
    }
}

/// Entries that are read at once of a list whose store does not bound pages in bytes: one may have as many as a request's body.
const ENTRIES_AT_ONCE: u32 = 16;

impl Page<Box<RawValue>> {
    /// A page of at most `limit` entries and about `most_bytes` of JSON: read a few at a time, and not read on when it is full. `read` gives so
    /// many entries behind a place, `place` is that of an entry; `cursor` is where the list goes on behind one.
    pub(super) async fn gathered<Entry, Shown: Serialize>(
        (limit, most_bytes): (u32, usize),
        mut behind: Option<Uuid>,
        mut read: impl AsyncFnMut(Option<Uuid>, u32) -> Result<Vec<Entry>, ApiError>,
        place: impl Fn(&Entry) -> Uuid,
        mut show: impl AsyncFnMut(Entry) -> Shown,
        cursor: impl FnOnce(Uuid) -> String,
    ) -> Result<Self, ApiError> {
        let mut page = Self {
            data: Vec::new(),
            has_more: false,
            next_cursor: None,
        };
        let mut bytes = 0;
        'reading: loop {
            let missing = limit - page.data.len() as u32;
            let wanted = missing.min(ENTRIES_AT_ONCE);
            // One more, to know whether there is one.
            let entries = read(behind, wanted + 1).await?;
            page.has_more = entries.len() > wanted as usize;
            for entry in entries.into_iter().take(wanted as usize) {
                let place = place(&entry);
                let shown = serde_json::value::to_raw_value(&show(entry).await).map_err(|error| {
                    tracing::error!(%error, "an entry of a list could not be written");
                    ApiError::internal()
                })?;
                bytes += shown.get().len();
                if bytes > most_bytes && !page.data.is_empty() {
                    page.has_more = true;
                    break 'reading;
                }
                page.data.push(shown);
                behind = Some(place);
            }
            if !page.has_more || wanted == missing {
                break;
            }
        }
        page.next_cursor = behind.filter(|_| page.has_more).map(cursor);
        Ok(page)
    }
}

impl<Entry: Serialize> Page<Entry> {
    pub(super) fn answer(&self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(self)
    }
}

/// `?limit=`, or the default.
pub(super) fn page_size(parameters: &QueryParameters, state: &HttpState) -> Result<u32, ApiError> {
    let most = state.options.max_page_size;
    let asked = parameters.count("limit", 1, most.into())?;
    Ok(asked
        .and_then(|limit| u32::try_from(limit).ok())
        .unwrap_or(state.options.default_page_size.min(most)))
}
