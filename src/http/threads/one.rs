//! `GET` and `DELETE /api/v1/threads/{id}`, and `POST /api/v1/threads/{id}/runs`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ports::StoreError;

use super::view::ThreadView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::extract::thread_path::{owned_thread, thread_in_path};
use crate::http::runs::create::start_run;
use crate::http::state::HttpState;

/// Shows a thread.
pub(super) async fn get_thread(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let thread = owned_thread(&request, &state, &caller).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ThreadView::from(thread)))
}

/// Deletes a thread. Its runs that have not ended are cancelled: that is written down with the deletion and needs nobody to wait for it.
pub(super) async fn delete_thread(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let thread = owned_thread(&request, &state, &caller).await?.id;
    let (threads, runs) = (state.parts.threads.clone(), state.parts.runs.clone());
    // Both go on without the client: once the thread is deleted nobody else hears which runs are to be cancelled.
    let deleted = state.on_io(async move {
        let marked = threads.delete_thread(thread).await?;
        let is_deleted = marked.is_some();
        runs.cancel_marked(marked.unwrap_or_default()).await;
        Ok::<_, StoreError>(is_deleted)
    });
    if !deleted.await?? {
        return Err(ApiError::thread_not_found());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Starts a run that goes on with the thread.
pub(super) async fn create_run(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let thread = thread_in_path(&request)?;
    start_run(request, payload, caller, state, Some(thread)).await
}
