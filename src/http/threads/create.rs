//! `POST /api/v1/threads`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::ThreadId;
use callboard_actors::item::{Item, ItemStatus};
use callboard_actors::ports::threads::{NewThread, ThreadRecord};
use callboard_actors::time::Timestamp;

use super::view::{ThreadView, thread_path};
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::fields::Fields;
use crate::http::extract::json_body::read_json;
use crate::http::extract::query::QueryParameters;
use crate::http::files::images::check_images;
use crate::http::metadata::read_metadata;
use crate::http::runs::input_items::read_items;
use crate::http::runs::request::text_bytes;
use crate::http::runs::settings::at_most;
use crate::http::state::HttpState;

/// Makes a thread, with what was said before.
pub(super) async fn create_thread(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let options = &state.options;
    let body = read_json(&request, payload, options).await?;
    let fields = Fields::of(&body, "", &["metadata", "items"])?;
    let metadata = read_metadata(&fields, &options.runs)?;
    let items = read_items(
        fields.optional_list("items")?.unwrap_or_default(),
        "items",
        &options.runs,
    )?;
    at_most(
        "items",
        items.iter().map(text_bytes).sum(),
        options.runs.max_input_bytes,
    )?;
    check_images(&state, &caller.account, "items", &items).await?;
    let items = items.into_iter();
    let new = NewThread {
        id: ThreadId::new(),
        account: caller.account,
        metadata,
        items: items.map(|content| Item::new(ItemStatus::Completed, content)).collect(),
        created_at: Timestamp::now(),
    };
    let record = ThreadRecord {
        id: new.id,
        account: new.account.clone(),
        metadata: new.metadata.clone(),
        created_at: new.created_at,
    };
    let threads = state.parts.threads.clone();
    state.on_io(async move { threads.create_thread(new).await }).await??;
    Ok(HttpResponse::Created()
        .insert_header((header::LOCATION, thread_path(record.id)))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(ThreadView::from(record)))
}
