//! What is made of streams that are none, and of keys.

use std::pin::pin;
use std::time::Duration;

use callboard_actors::ports::{ModelDelta, ModelErrorKind};
use futures::stream::{self, StreamExt};

use super::reading::{Reading, is_event_stream};
use super::testing::Echo;
use super::*;

/// The beginning of an event of more than 100 bytes.
const TOO_LONG: &str =
    "data: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[tokio::test]
async fn an_answer_that_is_no_event_stream_is_not_taken_for_one_that_broke_off() {
    let first_piece = async |kind: &'static str, body: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let bytes = stream::iter([Ok(bytes::Bytes::from_static(body.as_bytes()))]).boxed();
        let reading = Reading::new(is_event_stream(&headers), bytes, 100, Echo);
        let mut pieces = pin!(stream::unfold(reading, Reading::next));
        loop {
            match pieces.next().await.expect("a piece") {
                Ok(ModelDelta::Working) => {}
                piece => return piece,
            }
        }
    };
    for (kind, body) in [
        ("text/html; charset=utf-8", "<html>Sign in</html>"),
        ("application/json", r#"{"choices":[{"message":{"content":"Hi"}}]}"#),
    ] {
        let error = first_piece(kind, body).await.expect_err("no answer");
        assert_eq!(error.kind, ModelErrorKind::Protocol, "{kind}");
    }
    let cut = first_piece("text/event-stream", ": still there\n\n").await;
    assert_eq!(cut.expect_err("cut").kind, ModelErrorKind::Connection);
    let misnamed = first_piece("text/plain", "data: Hi\n\n").await;
    assert_eq!(misnamed, Ok(ModelDelta::Text("Hi".into())));
    let long = first_piece("text/event-stream", TOO_LONG).await;
    assert_eq!(long.expect_err("too long").kind, ModelErrorKind::Protocol);
}

#[test]
fn nothing_comes_after_the_end() {
    let mut pieces = Pieces::default();
    pieces.fail(broke_off());
    pieces.text("late".into());
    pieces.fail(broke_off());
    assert_eq!(std::iter::from_fn(|| pieces.take_next()).count(), 1);
}

#[test]
fn the_key_is_in_no_debug_output_and_no_error() {
    let options = |key: &str| UpstreamOptions {
        client: ProviderClient::new("http://127.0.0.1:1", Duration::from_secs(1), 1).expect("a URL"),
        base_url: "http://127.0.0.1:1".into(),
        api_key: Some(key.to_owned().into()),
        upstream_model: "m".into(),
        max_event_size: 1,
    };
    assert!(!format!("{:?}", options("sk-secret")).contains("sk-secret"));
    let upstream = Upstream::new(&options("sk-secret"), "/x", KeyHeader::bearer()).expect("good options");
    assert!(!format!("{upstream:?}").contains("sk-secret"));
    let error = Upstream::new(&options("sk-secret\n"), "/x", KeyHeader::bearer()).expect_err("no header can be that");
    assert!(!format!("{error:?}").contains("sk-secret"));
}
