//! What becomes of a connection whose request was answered before its body had come.
//!
//! Such a connection has to be closed: nobody reads what is still coming. actix does that if somebody holds the body when the answer is
//! through. A chunked one that was dropped before it reads on instead, and without any limit of time (actix-http 3.20): a client that never ends its
//! body would keep its connection for ever, of which there are only so many. So the body of such a request is held until the answer is through.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage};
use futures::Stream;

/// Sees to it that the connection ends with its answer if the request's body has not.
pub(super) async fn end_with_the_answer(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        return next.call(request).await;
    }
    let body = RequestBody(Rc::new(RefCell::new(request.take_payload())));
    request.set_payload(Payload::Stream {
        payload: Box::pin(body.clone()),
    });
    let response = next.call(request).await?;
    Ok(response.map_body(|_, answer| BoxBody::new(Answer { answer, _held: body })))
}

/// A request's body, which more than one holds.
#[derive(Clone)]
struct RequestBody(Rc<RefCell<Payload>>);

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// An answer that holds the body of its request for as long as it is sent.
struct Answer {
    answer: BoxBody,
    _held: RequestBody,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
