//! Reads event streams as a careful client would, and checks what each event promises.

use std::collections::BTreeMap;

use serde_json::Value;

use super::patiently;

/// One event as it came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeenEvent {
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) data: Value,
    /// The frame's bytes, to compare.
    pub(crate) frame: String,
}

impl SeenEvent {
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.kind.as_str(), "run.completed" | "run.failed" | "run.cancelled")
    }
}

/// An open event stream.
pub(crate) struct EventReader {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl EventReader {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            unread: Vec::new(),
        }
    }

    /// The next event; `None` at the clean end of the stream.
    pub(crate) async fn next(&mut self) -> Option<SeenEvent> {
        self.try_next().await.expect("the stream does not break")
    }

    /// The same, for servers that may be killed.
    pub(crate) async fn try_next(&mut self) -> reqwest::Result<Option<SeenEvent>> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.unread.drain(..end + 2).collect();
                match read_frame(std::str::from_utf8(&frame).unwrap()) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            match patiently("an event or a heartbeat", self.response.chunk()).await? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => {
                    assert!(self.unread.is_empty(), "the stream ended within a frame");
                    return Ok(None);
                }
            }
        }
    }

    /// Reads until an event of this kind has come, and gives all.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<SeenEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            let found = event.kind == kind;
            seen.push(event);
            if found {
                return seen;
            }
        }
        panic!("the stream ended without {kind}: {seen:#?}");
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Vec<SeenEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            seen.push(event);
        }
        seen
    }
}

/// `None` for a comment. Checks that a frame agrees with its own JSON.
fn read_frame(frame: &str) -> Option<SeenEvent> {
    assert!(!frame.contains('\r'), "{frame:?}");
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let Some(data) = field("data: ") else {
        assert!(frame.starts_with(':'), "a frame without data: {frame:?}");
        return None;
    };
    let data: Value = serde_json::from_str(data).unwrap();
    let seq = field("id: ").unwrap().parse().unwrap();
    let kind = field("event: ").unwrap().to_owned();
    assert_eq!(
        (data["seq"].as_u64(), data["type"].as_str()),
        (Some(seq), Some(kind.as_str()))
    );
    Some(SeenEvent {
        seq,
        kind,
        data,
        frame: frame.to_owned(),
    })
}

/// Everything that any reader saw of one run, by seq: an event once seen never changes.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<u64, String>);

impl Seen {
    /// Takes an event in; panics if the same seq was something else before.
    pub(crate) fn take_in(&mut self, event: &SeenEvent) {
        let known = self.0.entry(event.seq).or_insert_with(|| event.frame.clone());
        assert_eq!(
            *known, event.frame,
            "seq {} was seen as two different events",
            event.seq
        );
    }

    /// Panics unless everything that was seen is in this log.
    pub(crate) fn check_kept_in(&self, log: &[SeenEvent]) {
        let kept: BTreeMap<u64, &str> = log.iter().map(|event| (event.seq, event.frame.as_str())).collect();
        for (seq, frame) in &self.0 {
            assert_eq!(
                kept.get(seq),
                Some(&frame.as_str()),
                "seq {seq} was seen and is not in the log"
            );
        }
    }
}

/// Checks a run's whole log, read from its beginning to its end: numbered without a gap (but those that `run.recovered` names), one
/// terminal event, at the end, which agrees with the run; items begin, grow and end as they should.
#[track_caller]
pub(crate) fn check_whole_log(log: &[SeenEvent], run: &Value) {
    let mut next = 0;
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut next_index = 0;
    for event in log {
        if let Some(lost) = event.data.get("lost") {
            assert_eq!(lost["from"].as_u64(), Some(next), "{event:?}");
            next = lost["to"].as_u64().unwrap() + 1;
        }
        assert_eq!(
            event.seq,
            next,
            "{:?}",
            log.iter().map(|event| event.seq).collect::<Vec<_>>()
        );
        assert_eq!(event.data["run_id"], run["id"]);
        next += 1;
        match event.kind.as_str() {
            "item.added" => {
                assert_eq!(event.data["index"].as_u64(), Some(next_index), "{event:?}");
                next_index += 1;
                open.insert(event.data["item_id"].as_str().unwrap().to_owned(), String::new());
            }
            "text.delta" | "reasoning.delta" | "arguments.delta" => {
                let text = open.get_mut(event.data["item_id"].as_str().unwrap());
                text.expect("a delta of an item that is open")
                    .push_str(event.data["delta"].as_str().unwrap());
            }
            "item.completed" | "item.incomplete" => {
                let item = &event.data["item"];
                let text = open
                    .remove(item["id"].as_str().unwrap())
                    .expect("an item that was begun");
                let whole = item["content"][0]["text"].as_str().or(item["arguments"].as_str());
                if let Some(whole) = whole.filter(|_| log.iter().all(|event| event.data.get("lost").is_none())) {
                    assert_eq!(whole, text, "an item is the sum of its deltas");
                }
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "items that never ended: {open:?}");
    let endings: Vec<&SeenEvent> = log.iter().filter(|event| event.is_terminal()).collect();
    assert_eq!(endings.len(), 1, "{endings:?}");
    assert!(log.last().unwrap().is_terminal());
    assert_eq!(endings[0].kind, format!("run.{}", run["state"].as_str().unwrap()));
    if run["state"] == "failed" {
        assert_eq!(endings[0].data["error"], run["error"]);
    }
    assert_eq!(run["next_seq"].as_u64(), Some(next));
}
