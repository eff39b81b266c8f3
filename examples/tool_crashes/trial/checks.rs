//! The rules, held against what the endpoints have counted.

use serde_json::Value;

use super::endpoint::{Counts, answer_to};
use super::{ROUNDS, Report, TOOLS};

/// Every call that the run's log has was made, with the result that the log has; the ones that must not be repeated once.
pub(super) fn check_run(run: &str, items: &[Value], counts: &Counts, report: &mut Report) {
    let calls: Vec<&Value> = items.iter().filter(|item| item["type"] == "tool_call").collect();
    let expected = ROUNDS as usize * TOOLS.len();
    let mut say = |what: String| report.violations.push(format!("{run}: {what}"));
    if calls.len() != expected {
        say(format!("{} calls and not {expected}", calls.len()));
    }
    let mut repeated = 0;
    for call in &calls {
        let [id, name, call_id] = ["id", "name", "call_id"].map(|field| call[field].as_str().unwrap_or_default());
        let key = format!("{run}/{id}");
        let times = counts.get(&(name.to_owned(), key.clone())).copied().unwrap_or(0);
        match (name, times) {
            (_, 0) => say(format!("{name} {key} was never made")),
            ("pay", 2..) => say(format!("{name} {key} was made {times} times")),
            (_, 1) => {}
            _ => repeated += 1,
        }
        let is_result = |item: &&Value| item["type"] == "tool_result" && item["call_id"] == call_id;
        let results: Vec<&str> = items
            .iter()
            .filter(is_result)
            .filter_map(|item| item["output"].as_str())
            .collect();
        if results != [answer_to(name, &key)] {
            say(format!("{name} {key} has the results {results:?}"));
        }
    }
    report.calls += calls.len() as u32;
    report.repeated += repeated;
}

/// Nothing came to the endpoints that no run's log knows of: a model's order is written down before anything is sent.
pub(super) fn check_nothing_else(counts: &Counts, report: &mut Report) {
    if counts.len() != report.calls as usize {
        let what = format!(
            "the endpoints have seen {} calls, the logs have {}",
            counts.len(),
            report.calls
        );
        report.violations.push(what);
    }
    let strangers = counts.keys().filter(|(_, key)| key.is_empty()).count();
    if strangers > 0 {
        report.violations.push(format!("{strangers} calls had no key"));
    }
}
