//! `/threads/{id}`: an id that is not one of ours, or not the caller's, or of a deleted one, is a thread that does not exist.

use actix_web::HttpRequest;
use callboard_actors::ids::ThreadId;
use callboard_actors::ports::threads::ThreadRecord;

use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::state::HttpState;

/// The thread that the path names, if it is the caller's.
pub(crate) async fn owned_thread(
    request: &HttpRequest,
    state: &HttpState,
    caller: &Caller,
) -> Result<ThreadRecord, ApiError> {
    thread_of(thread_in_path(request)?, state, caller).await
}

/// The id in the path, whoever's it is.
pub(crate) fn thread_in_path(request: &HttpRequest) -> Result<ThreadId, ApiError> {
    let id = request.match_info().get("id").and_then(|text| text.parse().ok());
    id.ok_or_else(ApiError::thread_not_found)
}

/// The thread with this id, if it is the caller's.
pub(crate) async fn thread_of(id: ThreadId, state: &HttpState, caller: &Caller) -> Result<ThreadRecord, ApiError> {
    let threads = state.parts.threads.clone();
    let found = state.on_io(async move { threads.thread(id).await }).await??;
    found
        .filter(|thread| thread.account == caller.account)
        .ok_or_else(ApiError::thread_not_found)
}
