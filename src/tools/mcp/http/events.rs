//! A stream of events, none of them longer than a bound in memory, and not more of them than anybody wants to hear.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use rmcp::model::RequestId;
use rmcp::transport::streamable_http_client::SseError;
use sse_stream::{Sse, SseStream};

use crate::tools::mcp::throttle::Throttle;
use crate::tools::mcp::too_large;

/// The events of an answer. When one is longer than allowed, the stream ends; if it was to answer a request, with an event that says so.
///
/// A stream that breaks ends too, and how soon it may be asked for again is not the server's to say: by its own word, or by breaking it again and
/// again, it could have itself asked as fast as the network allows.
pub(super) fn of<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    asked: Option<RequestId>,
    longest: usize,
) -> BoxStream<'static, Result<Sse, SseError>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let is_cut = Arc::new(AtomicBool::new(false));
    let bounded = Bounded {
        bytes: bytes.boxed(),
        longest,
        event: 0,
        is_line_empty: true,
        is_cut: is_cut.clone(),
    };
    let last = stream::once(async move {
        let asked = asked.filter(|_| is_cut.load(Ordering::Acquire))?;
        let answer = serde_json::to_string(&too_large::answer(asked)).ok()?;
        Some(Ok(Sse::default().data(answer)))
    });
    let events = SseStream::from_bytes_stream(bounded);
    let calm = stream::unfold((events, Throttle::default()), |(mut events, mut throttle)| async move {
        throttle.wait().await;
        let mut event = events.next().await?.ok()?;
        throttle.charge(event.data.as_ref().map_or(0, String::len));
        event.retry = None;
        Some((Ok(event), (events, throttle)))
    });
    calm.chain(last.filter_map(std::future::ready)).boxed()
}

/// Bytes, until an event is too long.
struct Bounded<E> {
    bytes: BoxStream<'static, Result<Bytes, E>>,
    longest: usize,
    /// Bytes of the event so far.
    event: usize,
    is_line_empty: bool,
    is_cut: Arc<AtomicBool>,
}

impl<E> Bounded<E> {
    /// Whether the events in this piece are as short as they should be.
    fn fits(&mut self, piece: &[u8]) -> bool {
        for byte in piece {
            match byte {
                b'\r' => {}
                // An empty line ends an event.
                b'\n' if self.is_line_empty => self.event = 0,
                b'\n' => self.is_line_empty = true,
                _ => {
                    self.is_line_empty = false;
                    self.event += 1;
                    if self.event > self.longest {
                        return false;
                    }
                }
            }
        }
        true
    }
}

impl<E: Send + 'static> Stream for Bounded<E> {
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_cut.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        let next = ready!(self.bytes.poll_next_unpin(context));
        if let Some(Ok(piece)) = &next
            && !self.fits(piece)
        {
            self.is_cut.store(true, Ordering::Release);
            self.bytes = stream::empty().boxed();
            return Poll::Ready(None);
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: &[&str], asked: Option<RequestId>) -> Vec<String> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Bytes::copy_from_slice(piece.as_bytes()))
            .collect();
        let bytes = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let events: Vec<_> = of(bytes, asked, 100).collect().await;
        let data = |event: Result<Sse, SseError>| event.expect("an event").data.unwrap_or_default();
        events.into_iter().map(data).collect()
    }

    #[tokio::test]
    async fn an_event_that_is_too_long_ends_the_stream_with_word_of_it() {
        let many = "data: x\r\n\r\n".repeat(50);
        assert_eq!(read(&[&many, "data: y\n", "\n"], None).await.len(), 51);
        let long = format!("data: {}", "x".repeat(60));
        let pieces = ["data: first\n\n", &long, &long, "\n\ndata: last\n\n"];
        assert_eq!(read(&pieces, None).await, ["first"]);
        let told = read(&pieces, Some(RequestId::Number(3))).await;
        assert_eq!((told.len(), told[0].as_str()), (2, "first"));
        let answer: serde_json::Value = serde_json::from_str(&told[1]).expect("JSON");
        assert_eq!(
            (&answer["id"], answer["error"].is_object()),
            (&serde_json::json!(3), true)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_neither_repeated_nor_read_as_fast_as_its_server_likes() {
        let broken = stream::iter([
            Ok(Bytes::from("retry: 0\ndata: x\n\ndata: y")),
            Err(std::io::Error::other("broken")),
        ]);
        let events: Vec<_> = of(broken, None, 100).collect().await;
        let event = events[0].as_ref().expect("an event");
        assert_eq!((events.len(), event.data.as_deref(), event.retry), (1, Some("x"), None));
        let begun = tokio::time::Instant::now();
        let flood = stream::iter((0..50).map(|_| Ok::<_, std::io::Error>(Bytes::from("data: talk\n\n".repeat(100)))));
        assert_eq!(of(flood, None, 100).count().await, 5000);
        assert!(
            begun.elapsed() >= std::time::Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
}
