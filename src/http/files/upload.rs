//! `POST /api/v1/files`: `multipart/form-data` with a part `file`, or the bytes themselves with `?filename=`.

use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures::{Stream, StreamExt};

use super::errors::{file_too_large, too_late};
use super::view::{FileView, file_path};
use crate::auth::Caller;
use crate::files::{FileFacts, Upload};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::{QueryParameters, invalid};
use crate::http::state::HttpState;

/// What a form may have beside its file: the heads of its parts, and its other fields.
const MAX_FORM_OVERHEAD: u64 = 64 * 1024;

const MAX_FILENAME_BYTES: usize = 255;
const MAX_PURPOSE_BYTES: usize = 64;

/// Takes in a file.
pub(super) async fn create_file(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    refuse_compressed(&request)?;
    let receiver = Receiver {
        state: &state,
        caller: &caller,
        longest_silence: state.options.request_timeout,
    };
    let receiving = async {
        if is_form(&request) {
            QueryParameters::of(&request, &[])?;
            receiver.form(&request, payload).await
        } else {
            receiver.body(&request, payload).await
        }
    };
    let received = tokio::time::timeout(state.parts.files.limits().upload_timeout, receiving).await;
    let (upload, facts) = received.map_err(|_elapsed| too_late())??;
    // From here on it is one commit: a client that goes away from now on has its file.
    let file = upload.finish(facts).await?;
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, file_path(file.id)));
    Ok(FileView::answer(file, response))
}

struct Receiver<'a> {
    state: &'a HttpState,
    caller: &'a Caller,
    /// How long a client may send nothing.
    longest_silence: Duration,
}

impl Receiver<'_> {
    /// The bytes themselves.
    async fn body(&self, request: &HttpRequest, mut payload: web::Payload) -> Result<(Upload, FileFacts), ApiError> {
        let parameters = QueryParameters::of(request, &["filename", "purpose"])?;
        let Some(filename) = parameters.text("filename") else {
            let message = "send the file as `multipart/form-data` with a part `file`, or its bytes with `?filename=`";
            return Err(ApiError::new(ErrorCode::MissingField, message).with_param("filename"));
        };
        let filename = clean_filename(filename)
            .ok_or_else(|| invalid("filename", &format!("it must have 1 to {MAX_FILENAME_BYTES} bytes")))?;
        let purpose = parameters.text("purpose").map(str::to_owned);
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let facts = FileFacts {
            filename,
            media_type: media_type.and_then(|value| value.to_str().ok()).map(str::to_owned),
            purpose: purpose.map(check_purpose).transpose()?,
        };
        let mut upload = self.begin(content_length(request)).await?;
        while let Some(piece) = self.next(&mut payload).await? {
            let piece = piece.map_err(|_| ApiError::new(ErrorCode::InvalidValue, "the body broke off"))?;
            upload.write(piece).await?;
        }
        Ok((upload, facts))
    }

    /// A form.
    async fn form(&self, request: &HttpRequest, payload: web::Payload) -> Result<(Upload, FileFacts), ApiError> {
        let most = self.state.parts.files.limits().max_file_bytes;
        if content_length(request).is_some_and(|length| length > most.saturating_add(MAX_FORM_OVERHEAD)) {
            return Err(file_too_large(most));
        }
        let mut form = Multipart::new(request.headers(), payload);
        let (mut received, mut purpose) = (None, None);
        while let Some(field) = self.next(&mut form).await? {
            let mut field = field.map_err(broken_form)?;
            let name = field.name().unwrap_or_default().to_owned();
            match name.as_str() {
                "file" if received.is_none() => received = Some(self.file(&mut field).await?),
                "purpose" if purpose.is_none() => purpose = Some(self.purpose(&mut field).await?),
                "file" | "purpose" => {
                    let message = format!("the form has more than one part `{name}`");
                    return Err(ApiError::new(ErrorCode::DuplicateField, message).with_param(name));
                }
                _ => {
                    let message = "a form has a part `file` and may have one `purpose`, and no other";
                    return Err(ApiError::new(ErrorCode::UnknownField, message).with_param(shortened(&name)));
                }
            }
        }
        let Some((upload, mut facts)) = received else {
            let message = "the form has no part `file`";
            return Err(ApiError::new(ErrorCode::MissingField, message).with_param("file"));
        };
        facts.purpose = purpose;
        Ok((upload, facts))
    }

    async fn file(&self, field: &mut Field) -> Result<(Upload, FileFacts), ApiError> {
        // The form's reader takes a length for the part's end, whatever comes behind it: half a file would pass for a whole one.
        if field.headers().contains_key(header::CONTENT_LENGTH) {
            let message = "a part has no `Content-Length`: it ends where the next one begins";
            return Err(ApiError::new(ErrorCode::InvalidMultipart, message).with_param("file"));
        }
        let disposition = field.content_disposition();
        let given = disposition.and_then(|disposition| {
            // `filename*` is what says how its letters are encoded.
            let extended = disposition.get_filename_ext();
            let extended = extended.map(|value| String::from_utf8_lossy(&value.value).into_owned());
            extended.or_else(|| disposition.get_filename().map(str::to_owned))
        });
        let Some(filename) = given.as_deref().and_then(clean_filename) else {
            let message = format!("the part `file` needs a filename of 1 to {MAX_FILENAME_BYTES} bytes");
            return Err(ApiError::new(ErrorCode::InvalidValue, message).with_param("file"));
        };
        let facts = FileFacts {
            filename,
            media_type: field.content_type().map(ToString::to_string),
            purpose: None,
        };
        let mut upload = self.begin(None).await?;
        while let Some(piece) = self.next(field).await? {
            upload.write(piece.map_err(broken_form)?).await?;
        }
        Ok((upload, facts))
    }

    async fn purpose(&self, field: &mut Field) -> Result<String, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next(field).await? {
            bytes.extend_from_slice(&piece.map_err(broken_form)?);
            if bytes.len() > MAX_PURPOSE_BYTES {
                break;
            }
        }
        check_purpose(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn begin(&self, bytes: Option<u64>) -> Result<Upload, ApiError> {
        let (files, account) = (self.state.parts.files.clone(), self.caller.account.clone());
        let beginning = async move { files.begin_upload(&account, bytes).await };
        Ok(self.state.on_io(beginning).await??)
    }

    /// What comes next, unless the client is silent for too long.
    async fn next<Pieces>(&self, pieces: &mut Pieces) -> Result<Option<Pieces::Item>, ApiError>
    where
        Pieces: Stream + Unpin,
    {
        let next = tokio::time::timeout(self.longest_silence, pieces.next()).await;
        next.map_err(|_elapsed| too_late())
    }
}

fn refuse_compressed(request: &HttpRequest) -> Result<(), ApiError> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "the body must not be compressed";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message).with_param("Content-Encoding"));
    }
    Ok(())
}

fn is_form(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("multipart/form-data"))
}

fn content_length(request: &HttpRequest) -> Option<u64> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The last part of what may be a whole path, without what no name has.
fn clean_filename(given: &str) -> Option<String> {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|letter| !letter.is_control()).collect();
    let clean = clean.trim().to_owned();
    (!clean.is_empty() && clean.len() <= MAX_FILENAME_BYTES && clean != "." && clean != "..").then_some(clean)
}

fn check_purpose(purpose: String) -> Result<String, ApiError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if purpose.is_empty() || purpose.len() > MAX_PURPOSE_BYTES || !purpose.bytes().all(is_word) {
        let message = format!("`purpose` is 1 to {MAX_PURPOSE_BYTES} letters, digits, '-' or '_'");
        return Err(ApiError::new(ErrorCode::InvalidValue, message).with_param("purpose"));
    }
    Ok(purpose)
}

fn broken_form(_error: MultipartError) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidMultipart,
        "the body is not a whole `multipart/form-data` with a boundary",
    )
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filename_is_the_last_part_of_a_path() {
        assert_eq!(clean_filename("C:\\Documents\\a b.pdf").as_deref(), Some("a b.pdf"));
        assert_eq!(clean_filename("../../x\r\n.txt").as_deref(), Some("x.txt"));
        for wrong in ["", "a/", "..", "\u{7}", &"a".repeat(256)] {
            assert_eq!(clean_filename(wrong), None, "{wrong:?}");
        }
    }
}
