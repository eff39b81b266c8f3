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

impl<Entry: Serialize> Page<Entry> {
    pub(super) fn answer(&self) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(self)
    }
}

/// Cuts a list that was read one entry longer than the page to the page's size; whether there is more.
pub(super) fn cut<Entry>(entries: &mut Vec<Entry>, limit: u32) -> bool {
    let has_more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    has_more
}

/// `?limit=`, or the default.
pub(super) fn page_size(parameters: &QueryParameters, state: &HttpState) -> Result<u32, ApiError> {
    let most = state.options.max_page_size;
    let asked = parameters.count("limit", 1, most.into())?;
    Ok(asked
        .and_then(|limit| u32::try_from(limit).ok())
        .unwrap_or(state.options.default_page_size.min(most)))
}
