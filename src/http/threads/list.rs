//! `GET /api/v1/threads` and `GET /api/v1/threads/{id}/items`.

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::ThreadId;
use callboard_actors::ports::threads::{ThreadItemsQuery, ThreadPlace, ThreadQuery, ThreadRecord};
use uuid::Uuid;

use super::view::{ThreadItemView, ThreadView};
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::extract::thread_path::owned_thread;
use crate::http::page::{Page, page_size};
use crate::http::runs::cursor::CursorScope;
use crate::http::state::HttpState;

/// Lists the caller's threads, newest first.
pub(super) async fn list_threads(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let scope_parts = [caller.account.as_str(), "threads"];
    let scope = CursorScope(&scope_parts);
    let before = scope.asked(&parameters)?;
    let read = async |before: Option<Uuid>, count| {
        let query = ThreadQuery {
            account: caller.account.clone(),
            before: before.map(ThreadId::from_uuid),
            limit: count,
        };
        let threads = state.parts.threads.clone();
        Ok(state.on_io(async move { threads.list_threads(query).await }).await??)
    };
    let show = async |thread: ThreadRecord| ThreadView::from(thread);
    let bounds = (limit, state.options.max_page_bytes);
    let page = Page::gathered(
        bounds,
        before,
        read,
        |thread| thread.id.uuid(),
        show,
        |place| scope.write(place),
    )
    .await?;
    Ok(page.answer())
}

/// Lists what was said in a thread, in order, each item with its run.
pub(super) async fn list_items(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let thread = owned_thread(&request, &state, &caller).await?.id;
    let thread_text = thread.to_string();
    let scope_parts = [caller.account.as_str(), "thread items", &thread_text];
    let scope = CursorScope(&scope_parts);
    let after = scope.asked(&parameters)?;
    let query = ThreadItemsQuery {
        thread,
        after: after.map(place_in),
        limit,
    };
    let threads = state.parts.threads.clone();
    let items = state.on_io(async move { threads.thread_items(query).await }).await??;
    let page = Page::of_items(items, |last| scope.write(as_uuid(last.place)));
    Ok(page.map(ThreadItemView::from).answer())
}

/// A place as a cursor carries it.
fn as_uuid(place: ThreadPlace) -> Uuid {
    Uuid::from_u64_pair(place.position, place.item.into())
}

fn place_in(uuid: Uuid) -> ThreadPlace {
    let (position, item) = uuid.as_u64_pair();
    ThreadPlace {
        position,
        item: item as u32,
    }
}
