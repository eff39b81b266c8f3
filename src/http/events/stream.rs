//! The body of an event stream: the log's bytes as they are, and a comment when nothing was sent for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventStream;
use tokio::time::{Instant, Sleep};

use super::log_trouble;

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
                log_trouble(this.run, &error, "an event stream lost its log; the client may resume");
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::future::{pending, poll_fn};

    use callboard_actors::encoding::{EncodedEvents, encode};
    use callboard_actors::event::EventBody;
    use callboard_actors::ports::EventLogError;
    use futures::StreamExt;
    use tokio::sync::{mpsc, oneshot};

    const INTERVAL: Duration = Duration::from_secs(15);

    fn batch(first_seq: u64) -> EncodedEvents {
        let body = EventBody::RunQueuePosition { position: 1 };
        encode(RunId::new(), first_seq, [body]).unwrap()
    }

    fn body_of(
        events: impl futures::Stream<Item = Result<EncodedEvents, EventLogError>> + Send + 'static,
    ) -> EventStreamBody {
        EventStreamBody::new(RunId::new(), events.boxed(), Box::pin(pending()), INTERVAL)
    }

    async fn next(body: &mut EventStreamBody) -> Option<Result<Bytes, std::io::Error>> {
        poll_fn(|context| Pin::new(&mut *body).poll_next(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_logs_bytes_go_out_as_they_are_one_write_a_batch() {
        let batches = [batch(0), batch(1)];
        let mut body = body_of(futures::stream::iter(batches.clone().map(Ok)));
        for batch in &batches {
            assert_eq!(&next(&mut body).await.unwrap().unwrap(), batch.bytes());
        }
        assert!(next(&mut body).await.is_none());
        assert!(next(&mut body).await.is_none(), "an ended body stays ended");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_after_the_interval_counted_from_the_last_write() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = futures::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (Ok(batch), receiver))
        });
        let mut body = body_of(receiver);
        let begun = Instant::now();
        for beat in 1..=3 {
            assert_eq!(next(&mut body).await.unwrap().unwrap(), HEARTBEAT);
            assert_eq!(begun.elapsed(), INTERVAL * beat);
        }
        tokio::time::advance(INTERVAL / 3).await;
        sender.send(batch(0)).unwrap();
        assert_ne!(next(&mut body).await.unwrap().unwrap(), HEARTBEAT);
        let written = Instant::now();
        assert_eq!(next(&mut body).await.unwrap().unwrap(), HEARTBEAT);
        assert_eq!(written.elapsed(), INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_must_close_ends_cleanly_after_what_is_there() {
        let (close, closed) = oneshot::channel::<()>();
        let events = futures::stream::iter([Ok(batch(0))]).chain(futures::stream::pending());
        let closing = Box::pin(async move {
            let _ = closed.await;
        });
        let mut body = EventStreamBody::new(RunId::new(), events.boxed(), closing, INTERVAL);
        close.send(()).unwrap();
        assert!(next(&mut body).await.unwrap().is_ok());
        assert!(next(&mut body).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_breaks_breaks_the_connection_instead_of_ending_it() {
        let broken = Err(EventLogError::Unavailable("the disk at /secret/path is gone".into()));
        let mut body = body_of(futures::stream::iter([Ok(batch(0)), broken]));
        assert!(next(&mut body).await.unwrap().is_ok());
        let error = next(&mut body).await.unwrap().unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert!(next(&mut body).await.is_none());
    }
}
