//! Reads a provider's stream of events, whatever its dialect.

use std::collections::VecDeque;
use std::time::Duration;

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::{ModelDelta, ModelError, ModelStream};
use futures::stream::{self, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap};

use super::failures::{connection, protocol};
use super::sse::SseReader;

/// The longest wait for the end of a stream whose answer is whole.
const LAST_BYTES_PATIENCE: Duration = Duration::from_secs(1);

/// Makes pieces of an answer out of the events of a dialect.
pub(in crate::llm) trait AnswerFold: Send + 'static {
    /// Takes in the data of one event. Unknown events and fields are ignored.
    fn event(&mut self, data: &str, answer: &mut Pieces);

    /// The stream is over, and no event has ended the answer.
    fn end(&mut self, answer: &mut Pieces);
}

/// What has come of an answer and was not handed on yet. After the end nothing more is taken.
#[derive(Debug, Default)]
pub(in crate::llm) struct Pieces {
    ready: VecDeque<Result<ModelDelta, ModelError>>,
    ended: bool,
    whole: bool,
}

impl Pieces {
    /// The answer goes on.
    pub(in crate::llm) fn say(&mut self, piece: ModelDelta) {
        if !self.ended {
            self.ready.push_back(Ok(piece));
        }
    }

    /// The message goes on, if there is anything in it.
    pub(in crate::llm) fn text(&mut self, text: String) {
        if !text.is_empty() {
            self.say(ModelDelta::Text(text));
        }
    }

    /// The thought goes on, if there is anything in it.
    pub(in crate::llm) fn reasoning(&mut self, text: String) {
        if !text.is_empty() {
            self.say(ModelDelta::Reasoning(text));
        }
    }

    /// A tool call's arguments go on, if there is anything in it.
    pub(in crate::llm) fn arguments(&mut self, index: u32, delta: String) {
        if !delta.is_empty() {
            self.say(ModelDelta::ToolCallArguments { index, delta });
        }
    }

    /// The answer is whole.
    pub(in crate::llm) fn finish(&mut self, reason: FinishReason, usage: Usage, model: String) {
        self.say(ModelDelta::Finished { reason, usage, model });
        self.whole |= !self.ended;
        self.ended = true;
    }

    /// There will be no whole answer.
    pub(in crate::llm) fn fail(&mut self, error: ModelError) {
        if !self.ended {
            self.ended = true;
            self.ready.push_back(Err(error));
        }
    }

    pub(in crate::llm) fn take_next(&mut self) -> Option<Result<ModelDelta, ModelError>> {
        self.ready.pop_front()
    }
}

/// The pieces of a response that has begun.
pub(super) fn pieces_of(response: reqwest::Response, max_event_size: usize, fold: impl AnswerFold) -> ModelStream {
    let is_event_stream = is_event_stream(response.headers());
    let bytes = response.bytes_stream().boxed();
    stream::unfold(
        Reading::new(is_event_stream, bytes, max_event_size, fold),
        Reading::next,
    )
    .boxed()
}

/// The body of a response.
type ByteStream = stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>;

/// A response being read.
pub(super) struct Reading<Fold> {
    /// What the provider says it sends. Some send events under another name, so it is believed only if there were none.
    is_event_stream: bool,
    has_heard: bool,
    bytes: ByteStream,
    reader: SseReader,
    fold: Fold,
    pieces: Pieces,
}

impl<Fold: AnswerFold> Reading<Fold> {
    pub(super) fn new(is_event_stream: bool, bytes: ByteStream, max_event_size: usize, fold: Fold) -> Self {
        Self {
            is_event_stream,
            has_heard: false,
            bytes,
            reader: SseReader::new(max_event_size),
            fold,
            pieces: Pieces::default(),
        }
    }

    pub(super) async fn next(mut self) -> Option<(Result<ModelDelta, ModelError>, Self)> {
        loop {
            if let Some(piece) = self.pieces.take_next() {
                return Some((piece, self));
            }
            if self.pieces.ended {
                return None;
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => {
                    self.feed(&bytes);
                    if self.pieces.whole {
                        read_out(std::mem::replace(&mut self.bytes, stream::empty().boxed()));
                    }
                    // Pings and comments too are sent by somebody who is at work.
                    if self.pieces.ready.is_empty() {
                        self.pieces.say(ModelDelta::Working);
                    }
                }
                Some(Err(error)) => self.pieces.fail(connection(&error)),
                None if !self.is_event_stream && !self.has_heard => self.pieces.fail(protocol(
                    "the model's provider answered with something that is no event stream",
                )),
                None => self.fold.end(&mut self.pieces),
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let (fold, pieces, has_heard) = (&mut self.fold, &mut self.pieces, &mut self.has_heard);
        let fed = self.reader.feed(bytes, |data| {
            *has_heard = true;
            fold.event(data, pieces);
        });
        if fed.is_err() {
            let problem = "the model's provider sent an event that is too long or no text";
            self.pieces.fail(protocol(problem));
        }
    }
}

/// Reads on where nothing more is said, so that the connection can be used for the next call. Nobody waits for it.
fn read_out(mut bytes: ByteStream) {
    let last_bytes = async move { while let Some(Ok(_)) = bytes.next().await {} };
    tokio::spawn(tokio::time::timeout(LAST_BYTES_PATIENCE, last_bytes));
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
