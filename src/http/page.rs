//! Pages of lists: `{"data": […], "has_more", "next_cursor"}`.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde::Serialize;

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

    /// The same page with each entry as it is shown.
    pub(super) fn map<Shown>(self, show: impl Fn(Entry) -> Shown) -> Page<Shown> {
        Page {
            data: self.data.into_iter().map(show).collect(),
            has_more: self.has_more,
            next_cursor: self.next_cursor,
        }
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
