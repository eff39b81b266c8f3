//! One file: what is known of it, its bytes, its end.

use actix_web::body::SizedStream;
use actix_web::http::header::{self, ContentDisposition, DispositionParam, DispositionType};
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::FileId;
use callboard_actors::ports::files::FileRecord;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::errors::{file_not_found, too_many_downloads};
use super::view::FileView;
use crate::auth::Caller;
use crate::files::{Contents, StorageError, Transfer};
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;

/// Pieces of a file that wait for a slow client.
const WAITING_PIECES: usize = 4;

/// Shows what is known of a file.
pub(super) async fn get_file(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let file = owned_file(&request, &state, &caller).await?;
    Ok(FileView::answer(file, HttpResponse::Ok()))
}

/// Sends a file's bytes.
pub(super) async fn get_content(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let file = owned_file(&request, &state, &caller).await?;
    let transfer = state.parts.files.begin_download(&caller.account);
    let transfer = transfer.map_err(too_many_downloads)?;
    let (files, record) = (state.parts.files.clone(), file.clone());
    let contents = state.on_io(async move { files.contents(&record).await }).await??;
    let disposition = ContentDisposition {
        disposition: DispositionType::Attachment,
        parameters: vec![DispositionParam::FilenameExt(header::ExtendedValue {
            charset: header::Charset::Ext("UTF-8".into()),
            language_tag: None,
            value: file.filename.into_bytes(),
        })],
    };
    // Whatever it is, a browser must not take it for a page of this server.
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, file.media_type))
        .insert_header(disposition)
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(SizedStream::new(file.bytes, pieces_of(&state, contents, transfer))))
}

/// Forgets a file.
pub(super) async fn delete_file(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let file = file_id(&request)?;
    let files = state.parts.files.clone();
    let deleting = async move { files.delete(&caller.account, file).await };
    if !state.on_io(deleting).await?? {
        return Err(file_not_found());
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The bytes as the storage gives them, read on the I/O runtime, no faster than the client takes them. One that takes nothing for too long is
/// given up: it breaks off.
fn pieces_of(
    state: &HttpState,
    mut contents: Contents,
    transfer: Transfer,
) -> impl Stream<Item = Result<web::Bytes, StorageError>> + use<> {
    let (sender, pieces) = mpsc::channel(WAITING_PIECES);
    let longest_silence = state.options.request_timeout;
    state.parts.io.spawn(async move {
        let _until_the_end = transfer;
        while let Some(piece) = contents.next().await {
            if let Err(error) = &piece {
                tracing::warn!(%error, "a file broke off while it was sent");
            }
            // A client that is gone needs no more.
            match tokio::time::timeout(longest_silence, sender.send(piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    });
    stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    })
}

fn file_id(request: &HttpRequest) -> Result<FileId, ApiError> {
    let id = request.match_info().get("id").and_then(|text| text.parse().ok());
    id.ok_or_else(file_not_found)
}

/// The file that the path names, if it is the caller's.
async fn owned_file(request: &HttpRequest, state: &HttpState, caller: &Caller) -> Result<FileRecord, ApiError> {
    let id = file_id(request)?;
    let (files, account) = (state.parts.files.clone(), caller.account.clone());
    let found = state.on_io(async move { files.file(&account, id).await }).await??;
    found.ok_or_else(file_not_found)
}
