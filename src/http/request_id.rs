//! Every request has a name, in its answer's `x-request-id`, in error bodies and in our log; and gets one log line.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use tracing::Instrument;
use uuid::Uuid;

use super::error::{ApiError, ErrorCode};
use super::state::HttpState;

/// The header with a request's name, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken over from a client, bytes.
const MAX_CLIENT_ID_BYTES: usize = 128;

/// A request's name.
#[derive(Debug, Clone)]
pub(super) struct RequestId(String);

impl RequestId {
    /// The client's own name for the request, if it is fit for a log line, else a new one.
    fn of(request: &ServiceRequest) -> Self {
        let sent = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match sent.filter(|id| is_sane(id)) {
            Some(id) => Self(id.to_owned()),
            None => Self(format!("req_{}", Uuid::now_v7().as_simple())),
        }
    }
}

fn is_sane(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    !id.is_empty() && id.len() <= MAX_CLIENT_ID_BYTES && id.bytes().all(allowed)
}

/// The outermost layer but for what becomes of unread bodies: names the request, writes error bodies, logs. Whatever is logged on the way to the
/// answer has the request's name, method and path beside it: that is what an `internal` error sends people to.
pub(super) async fn name_and_log(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let id = RequestId::of(&request);
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let path = request.path().to_owned();
    // On whatever level is logged: at the least errors are.
    let span = tracing::error_span!("request", request_id = %id.0, %method, path);
    let answering = async {
        let response = match check_head(&request) {
            Ok(()) => next.call(request).await?.map_into_boxed_body(),
            Err(error) => request.error_response(error),
        };
        Ok::<_, Error>(with_error_body(response, &id))
    };
    let mut response = answering.instrument(span).await?;
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_micros() as f64 / 1000.0;
    tracing::debug!(request_id = %id.0, %method, path, status, duration_ms, "request answered");
    Ok(response)
}

/// Refuses a head that is larger than the configuration allows.
fn check_head(request: &ServiceRequest) -> Result<(), ApiError> {
    let Some(state) = request.app_data::<web::Data<HttpState>>() else {
        return Ok(());
    };
    let limit = state.options.max_header_bytes;
    let bytes: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes <= limit {
        return Ok(());
    }
    let message = format!("the request's headers have {bytes} bytes; this server takes at most {limit}");
    Err(ApiError::new(ErrorCode::HeadersTooLarge, message))
}

/// Gives every error answer the one body, also those that the framework made.
fn with_error_body(response: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    let Some(error) = response.response().error() else {
        return response;
    };
    let api_error = match error.as_error::<ApiError>() {
        Some(error) => error.clone(),
        None => of_the_framework(error),
    };
    let answer: HttpResponse = api_error.response(Some(&id.0));
    response.into_response(answer)
}

fn of_the_framework(error: &Error) -> ApiError {
    let status = error.as_response_error().status_code();
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::BodyTooLarge,
        StatusCode::REQUEST_TIMEOUT => ErrorCode::RequestTimeout,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
        status if status.is_client_error() => ErrorCode::InvalidValue,
        _ => {
            tracing::error!(%error, "request failed");
            return ApiError::internal();
        }
    };
    ApiError::new(code, "the request cannot be answered as it is")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use actix_web::middleware::from_fn;
    use actix_web::{App, test as web_test};
    use callboard_actors::ports::StoreError;

    use super::*;

    #[test]
    fn only_harmless_names_are_taken_over() {
        assert!(is_sane("trace-1.2:a_B"));
        for wrong in ["", "a b", "a\nb", "ä", "{\"a\"}", &"x".repeat(129)] {
            assert!(!is_sane(wrong), "{wrong}");
        }
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[actix_web::test]
    async fn what_breaks_inside_is_logged_with_the_requests_name_method_and_path() {
        let printed = Printed::default();
        let writer = printed.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::ERROR)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let broken = || async { Err::<HttpResponse, ApiError>(StoreError::Damaged("a row".into()).into()) };
        let app = App::new()
            .wrap(from_fn(name_and_log))
            .route("/runs/{id}", web::get().to(broken));
        let app = web_test::init_service(app).await;
        let request = web_test::TestRequest::get()
            .uri("/runs/run_1?token=hidden")
            .insert_header((REQUEST_ID, "trace-1"))
            .to_request();
        let response = web_test::call_service(&app, request).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body: serde_json::Value = web_test::read_body_json(response).await;
        assert_eq!(body["error"]["request_id"], "trace-1");
        let printed = String::from_utf8(printed.0.lock().expect("not poisoned").clone()).expect("text");
        let line = printed.lines().find(|line| line.contains("a row")).expect("what broke");
        for part in ["request_id=trace-1", "method=GET", "path=\"/runs/run_1\""] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!printed.contains("hidden"), "{printed}");
    }
}
