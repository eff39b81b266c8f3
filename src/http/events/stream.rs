//! The body of an event stream: the log's bytes as they are, and a comment when nothing was sent for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventStream;
use tokio::time::{Instant, Sleep};

/// A comment: keeps proxies from closing an idle stream, and shows us clients that are gone.
const HEARTBEAT: Bytes = Bytes::from_static(b": hb\n\n");

/// Ends when streams must close.
type Closing = Pin<Box<dyn Future<Output = ()>>>;

/// One reader of a run's log. Its memory is a position, a timer and a signal, whatever the run writes.
pub(super) struct EventStreamBody {
    run: RunId,
    events: EventStream,
    closing: Closing,
    interval: Duration,
    /// Fires at least `interval` after something was sent. Moved only when it fires, so that an event costs no timer operation.
    timer: Pin<Box<Sleep>>,
    last_sent: Instant,
    finished: bool,
}

impl EventStreamBody {
    /// A reader of `events` that is silent for at most `interval` and ends early with `closing`.
    pub(super) fn new(run: RunId, events: EventStream, closing: Closing, interval: Duration) -> Self {
        let last_sent = Instant::now();
        Self {
            run,
            events,
            closing,
            interval,
            timer: Box::pin(tokio::time::sleep_until(last_sent + interval)),
            last_sent,
            finished: false,
        }
    }

    fn finish(&mut self) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        self.finished = true;
        Poll::Ready(None)
    }
}

impl MessageBody for EventStreamBody {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        if this.finished {
            return Poll::Ready(None);
        }
        match this.events.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(batch))) => {
                this.last_sent = Instant::now();
                return Poll::Ready(Some(Ok(batch.bytes().clone())));
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::warn!(run_id = %this.run, %error, "an event stream lost its log; the client may resume");
                this.finished = true;
                // Not a clean end: that would look like all there is.
                return Poll::Ready(Some(Err(std::io::Error::other("event log unavailable"))));
            }
            Poll::Ready(None) => return this.finish(),
            Poll::Pending => {}
        }
        if this.closing.as_mut().poll(context).is_ready() {
            return this.finish();
        }
        while this.timer.as_mut().poll(context).is_ready() {
            let due = this.last_sent + this.interval;
            let now = Instant::now();
            if due <= now {
                this.last_sent = now;
                this.timer.as_mut().reset(now + this.interval);
                // The timer is polled again, and so registered, when this was written.
                return Poll::Ready(Some(Ok(HEARTBEAT)));
            }
            this.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
