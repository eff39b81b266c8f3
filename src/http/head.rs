//! `HEAD` is answered wherever `GET` is: with the same status and header fields, and nothing behind them.

use std::convert::Infallible;

use actix_web::Error;
use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, None as NoBody, SizedStream};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use futures::stream;

/// Gives a `HEAD` to what answers `GET`, and takes away what that would send. Nobody reads it: an event stream would be followed for nothing.
pub(super) async fn as_get(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.method() != Method::HEAD {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    request.head_mut().method = Method::GET;
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| without_content(body.size())))
}

/// Nothing, of which the header fields tell what they would tell of the content.
fn without_content(size: BodySize) -> BoxBody {
    let nothing = stream::empty::<Result<Bytes, Infallible>>();
    match size {
        BodySize::None => BoxBody::new(NoBody::new()),
        BodySize::Sized(bytes) => BoxBody::new(SizedStream::new(bytes, nothing)),
        BodySize::Stream => BoxBody::new(BodyStream::new(nothing)),
    }
}
