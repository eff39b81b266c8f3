//! What a run's log must be.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::reader::SeenEvent;

/// Everything that any reader saw of one run, by seq: an event once seen never changes.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<u64, String>);

impl Seen {
    /// Takes an event in. An error if the same seq was something else before.
    pub(crate) fn take_in(&mut self, event: &SeenEvent) -> Result<(), String> {
        let known = self.0.entry(event.seq).or_insert_with(|| event.frame.clone());
        if *known == event.frame {
            return Ok(());
        }
        Err(format!(
            "seq {} was seen as {known:?} and as {:?}",
            event.seq, event.frame
        ))
    }

    /// What was seen and is not in this log.
    pub(crate) fn missing_from(&self, log: &[SeenEvent]) -> Vec<String> {
        let kept: BTreeMap<u64, &str> = log.iter().map(|event| (event.seq, event.frame.as_str())).collect();
        let missing = self
            .0
            .iter()
            .filter(|(seq, frame)| kept.get(seq) != Some(&frame.as_str()));
        missing
            .map(|(seq, frame)| format!("seq {seq} was seen and is not in the log: {frame:?}"))
            .collect()
    }
}

/// The seqs that this event says are lost: shown perhaps, never written, never used again.
pub(crate) fn lost_in(event: &SeenEvent) -> Option<RangeInclusive<u64>> {
    let lost = event.data.get("lost")?;
    Some(lost["from"].as_u64()?..=lost["to"].as_u64()?)
}

/// What is left of a log, or of what somebody saw of it, without the events that are lost by now: the same for everybody, for ever.
pub(crate) fn lasting(log: &[SeenEvent]) -> Vec<&SeenEvent> {
    let lost: Vec<RangeInclusive<u64>> = log.iter().filter_map(lost_in).collect();
    let lasts = |event: &&SeenEvent| !lost.iter().any(|lost| lost.contains(&event.seq));
    log.iter().filter(lasts).collect()
}

/// What is wrong with a run's whole log, read from its beginning to its end. It should be numbered without a gap (but those that
/// `run.recovered` names), with one terminal event, at the end, which agrees with the run as the API shows it; items begin, grow and
/// end as they should.
pub(crate) fn problems_of_log(log: &[SeenEvent], run: &Value) -> Vec<String> {
    let mut check = Check {
        loses_text: log.iter().any(|event| lost_in(event).is_some()),
        ..Check::default()
    };
    for event in log {
        check.number(event);
        if event.data["run_id"] != run["id"] {
            check.problems.push(format!("an event of another run: {event:?}"));
        }
        check.item(event);
    }
    for item in check.open.keys() {
        check.problems.push(format!("item {item} never ended"));
    }
    check.ending(log, run);
    check.problems
}

#[derive(Default)]
struct Check {
    problems: Vec<String>,
    next_seq: u64,
    next_index: u64,
    /// Items that have begun and not ended, and what their deltas say so far.
    open: BTreeMap<String, String>,
    /// A crash took events, so that items may say more than the deltas that are left.
    loses_text: bool,
}

impl Check {
    fn number(&mut self, event: &SeenEvent) {
        if let Some(lost) = lost_in(event) {
            // Some of them may have been shown, here or elsewhere, before they were lost.
            if *lost.start() > self.next_seq {
                let problem = format!("lost should begin at {}: {event:?}", self.next_seq);
                self.problems.push(problem);
            }
            self.next_seq = lost.end() + 1;
        }
        if event.seq != self.next_seq {
            self.problems
                .push(format!("seq {} where {} was next: {event:?}", event.seq, self.next_seq));
        }
        self.next_seq = event.seq + 1;
    }

    fn item(&mut self, event: &SeenEvent) {
        let data = &event.data;
        match event.kind.as_str() {
            "item.added" => {
                if data["index"].as_u64() != Some(self.next_index) {
                    self.problems
                        .push(format!("index {} was next: {event:?}", self.next_index));
                }
                self.next_index += 1;
                self.open.insert(text_of(&data["item_id"]), String::new());
            }
            "text.delta" | "reasoning.delta" | "arguments.delta" => match self.open.get_mut(&text_of(&data["item_id"]))
            {
                Some(said) => said.push_str(&text_of(&data["delta"])),
                None => self
                    .problems
                    .push(format!("a delta of an item that is not open: {event:?}")),
            },
            "item.completed" | "item.incomplete" => {
                let item = &data["item"];
                let Some(said) = self.open.remove(&text_of(&item["id"])) else {
                    self.problems
                        .push(format!("the end of an item that is not open: {event:?}"));
                    return;
                };
                let whole = item["content"][0]["text"].as_str().or(item["arguments"].as_str());
                if !self.loses_text && whole.is_some_and(|whole| whole != said) {
                    self.problems.push(format!("its deltas say {said:?}: {event:?}"));
                }
            }
            _ => {}
        }
    }

    fn ending(&mut self, log: &[SeenEvent], run: &Value) {
        let endings: Vec<&SeenEvent> = log.iter().filter(|event| event.is_terminal()).collect();
        let [ending] = endings[..] else {
            self.problems.push(format!("{} endings: {endings:?}", endings.len()));
            return;
        };
        if !log.last().is_some_and(SeenEvent::is_terminal) {
            self.problems.push(format!("events after the end: {:?}", log.last()));
        }
        let stored = run["state"].as_str().unwrap_or_default();
        if ending.kind != format!("run.{stored}") {
            self.problems
                .push(format!("the log ends with {}, the run is {stored}", ending.kind));
        }
        if stored == "failed" && ending.data["error"] != run["error"] {
            self.problems.push(format!(
                "the log says {}, the run {}",
                ending.data["error"], run["error"]
            ));
        }
        if run["next_seq"].as_u64() != Some(self.next_seq) {
            self.problems.push(format!(
                "next_seq is {}, the log ends before {}",
                run["next_seq"], self.next_seq
            ));
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
