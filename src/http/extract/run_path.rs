//! `/runs/{id}`: an id that is not one of ours, or not the caller's, is a run that does not exist.

use actix_web::HttpRequest;
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::RunRecord;

use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::state::HttpState;

/// The run that the path names, if it is the caller's.
pub(crate) async fn owned_run(
    request: &HttpRequest,
    state: &HttpState,
    caller: &Caller,
) -> Result<RunRecord, ApiError> {
    let id: RunId = request
        .match_info()
        .get("id")
        .and_then(|text| text.parse().ok())
        .ok_or_else(ApiError::run_not_found)?;
    stored_run(state, id)
        .await?
        .filter(|run| run.account == caller.account)
        .ok_or_else(ApiError::run_not_found)
}

/// The run as the store has it now, whoever owns it.
pub(crate) async fn stored_run(state: &HttpState, id: RunId) -> Result<Option<RunRecord>, ApiError> {
    let store = state.parts.store.clone();
    let run = state.on_io(async move { store.run(id).await }).await??;
    Ok(run)
}
