//! `GET /api/v1/files`.

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::FileId;
use callboard_actors::ports::files::FileQuery;

use super::view::FileView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::page::{Page, page_size};
use crate::http::runs::cursor::CursorScope;
use crate::http::state::HttpState;

/// Lists the caller's files, newest first.
pub(super) async fn list_files(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let scope_parts = [caller.account.as_str(), "files"];
    let scope = CursorScope(&scope_parts);
    let before = scope.asked(&parameters)?;
    let query = FileQuery {
        account: caller.account.clone(),
        before: before.map(FileId::from_uuid),
        limit: limit + 1,
    };
    let files = state.parts.files.clone();
    let found = state.on_io(async move { files.list(query).await }).await??;
    let page = Page::of(found, limit, |file| scope.write(file.id.uuid()));
    Ok(page.map(FileView::from).answer())
}
