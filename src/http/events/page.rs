//! A page of events as JSON, put together from the stored JSON of each event without reading it.

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpResponse, web::BytesMut};
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventLogError;

use super::log_trouble;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;

/// Events that are read from the log at once.
const EVENTS_AT_ONCE: u64 = 100;

/// What there is above `after`: at most `limit` events and about so many bytes as the options say. For a client that has seen the last
/// event that is nothing, and nothing ever will follow.
pub(super) async fn page_of(
    state: &HttpState,
    run: RunId,
    after: Option<u64>,
    has_seen_the_end: bool,
    parameters: &QueryParameters,
) -> Result<HttpResponse, ApiError> {
    let options = &state.options;
    let limit = parameters
        .count("limit", 1, options.max_page_size.into())?
        .unwrap_or(options.default_page_size.into());
    let most_bytes = options.max_page_bytes;
    let event_log = state.parts.event_log.clone();
    let reading = async move {
        let mut page = PageWriter::new(after, limit, most_bytes);
        page.ended = has_seen_the_end;
        loop {
            let batches = event_log.read(run, page.last_seq, EVENTS_AT_ONCE).await?;
            let read_all = batches.iter().map(EncodedEvents::count).sum::<u64>() < EVENTS_AT_ONCE;
            let is_full = batches.iter().any(|batch| !page.push(batch));
            if is_full || read_all {
                return Ok::<_, EventLogError>(page.finish(is_full));
            }
        }
    };
    let body = state.on_io(reading).await?.map_err(|error| match error {
        EventLogError::Forgotten => ApiError::events_expired(run),
        error => {
            log_trouble(run, &error, "a page of events could not be read");
            ApiError::store_unavailable()
        }
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::json())
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(body.freeze()))
}

struct PageWriter {
    json: BytesMut,
    last_seq: Option<u64>,
    left: u64,
    most_bytes: usize,
    is_empty: bool,
    /// Nothing will ever follow this page.
    ended: bool,
}

impl PageWriter {
    fn new(after: Option<u64>, limit: u64, most_bytes: usize) -> Self {
        Self {
            json: BytesMut::from(&b"{\"data\":["[..]),
            last_seq: after,
            left: limit,
            most_bytes,
            is_empty: true,
            ended: false,
        }
    }

    /// Adds events; `false` when the page is full and events are left over.
    fn push(&mut self, batch: &EncodedEvents) -> bool {
        let last_of_batch = batch.last_seq();
        for frame in batch.frames() {
            if self.left == 0 || (!self.is_empty && self.json.len() + frame.data.len() > self.most_bytes) {
                return false;
            }
            if !self.is_empty {
                self.json.extend_from_slice(b",");
            }
            self.json.extend_from_slice(frame.data.as_bytes());
            self.is_empty = false;
            self.left -= 1;
            self.last_seq = Some(frame.seq);
            self.ended = batch.is_terminal() && frame.seq == last_of_batch;
        }
        true
    }

    fn finish(mut self, has_more: bool) -> BytesMut {
        let last_seq = self.last_seq.map_or("null".to_owned(), |seq| seq.to_string());
        // The cursor of this list is a seq: pass it as `after`.
        let next_cursor = if has_more {
            format!("\"{last_seq}\"")
        } else {
            "null".to_owned()
        };
        let tail = format!(
            "],\"has_more\":{has_more},\"next_cursor\":{next_cursor},\"last_seq\":{last_seq},\"ended\":{}}}",
            self.ended
        );
        self.json.extend_from_slice(tail.as_bytes());
        self.json
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use callboard_actors::encoding::encode;
    use callboard_actors::event::EventBody;
    use callboard_actors::item::Usage;

    fn batch(first_seq: u64, count: u64) -> EncodedEvents {
        let positions = (0..count).map(|position| EventBody::RunQueuePosition { position });
        encode(RunId::new(), first_seq, positions).unwrap()
    }

    fn json(page: BytesMut) -> serde_json::Value {
        serde_json::from_slice(&page).unwrap()
    }

    #[test]
    fn pages_are_json_and_know_what_is_left() {
        let mut page = PageWriter::new(None, 3, 1 << 20);
        assert!(page.push(&batch(0, 2)));
        assert!(!page.push(&batch(2, 2)));
        let page = json(page.finish(true));
        assert_eq!(page["data"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&page["last_seq"], &page["next_cursor"], &page["ended"]),
            (&2.into(), &"2".into(), &false.into())
        );

        let empty = json(PageWriter::new(Some(7), 3, 10).finish(false));
        assert_eq!(
            (&empty["last_seq"], &empty["next_cursor"]),
            (&7.into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn a_page_holds_at_least_one_event_however_large() {
        let mut page = PageWriter::new(None, 50, 1);
        assert!(!page.push(&batch(0, 2)));
        assert_eq!(page.last_seq, Some(0));
    }

    #[test]
    fn the_end_is_told_with_the_last_event_only() {
        let usage = Usage::default();
        let bodies = [
            EventBody::RunQueuePosition { position: 1 },
            EventBody::RunCompleted { usage },
        ];
        let batch = encode(RunId::new(), 0, bodies).unwrap();
        let mut page = PageWriter::new(None, 1, 1 << 20);
        assert!(!page.push(&batch));
        assert!(!page.ended);
        let mut page = PageWriter::new(None, 2, 1 << 20);
        assert!(page.push(&batch));
        assert!(page.ended);
    }
}
