//! What happens: a server is killed in the middle of tool calls, and started again, and all that it was asked for is done once. Or an
//! instance of a fleet is, and the others go on.

mod checks;
mod endpoint;
mod site;

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::rig::{Binary, FleetClient, is_terminal, patiently, until_some};
use checks::check_run;
use endpoint::{Counts, Endpoint, answer_to};
use site::Site;

/// Each endpoint, with what is said of repeating its calls.
const TOOLS: [(&str, &str); 3] = [("pay", "unsafe"), ("book", "idempotent"), ("look", "safe")];
/// Steps of a run in which each tool is called.
const ROUNDS: u32 = 2;

/// How to play.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) kills: u32,
    pub(crate) runs_at_once: u32,
    pub(crate) seed: u64,
    /// What a fleet stands on. `None`: it is one server on the store inside it.
    pub(crate) services: Option<FleetServices>,
}

/// What a fleet stands on.
#[derive(Debug, Clone)]
pub(crate) struct FleetServices {
    pub(crate) instances: u32,
    /// An empty schema.
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
}

/// What it came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kills: u32,
    pub(crate) runs: u32,
    /// Calls that were ordered by models.
    pub(crate) calls: u32,
    /// Calls of `pay` of which nobody knew what had become, and that waited for a person.
    pub(crate) reviews: u32,
    /// Of those, the ones that had been done.
    pub(crate) done_before_review: u32,
    /// Calls of the others that were made again.
    pub(crate) repeated: u32,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} kills, {} runs, {} calls of tools",
            self.kills, self.runs, self.calls
        )?;
        writeln!(
            formatter,
            "calls that must not be repeated and waited with needs_review: {} ({} had been done)",
            self.reviews, self.done_before_review
        )?;
        writeln!(formatter, "calls that may be repeated and were: {}", self.repeated)?;
        write!(formatter, "rules that were broken: {}", self.violations.len())
    }
}

/// Plays it to the end.
pub(crate) async fn play(options: &Options, binary: &Binary) -> anyhow::Result<Report> {
    let endpoint = Endpoint::start()?;
    let port = endpoint.address.port();
    let settings = format!("[outbound]\nallow = [\"127.0.0.1/32:{port}\"]\n");
    let mut site = Site::start(options, binary, &settings).await?;
    let mut dice = StdRng::seed_from_u64(options.seed);
    let mut report = Report::default();
    for kill in 0..options.kills {
        let keys: Vec<String> = (0..options.runs_at_once).map(|run| format!("{kill}-{run}")).collect();
        let moment = Moment::draw(&mut dice, options.runs_at_once);
        until_the_moment(&site.client, &endpoint, &keys, moment).await?;
        site.kill(kill).await?;
        report.kills += 1;
        site.start_again(kill).await?;
        // What was not taken before the kill is taken now; what was is the same run.
        let runs = try_join_all(keys.iter().map(|key| start_run(&site.client, port, key))).await?;
        for run in runs {
            bring_to_its_end(&site.client, &endpoint, &run, &mut report).await?;
            let items = site.client.items(&run).await?;
            check_run(&run, &items, &endpoint.counts(), &mut report);
            report.runs += 1;
        }
    }
    checks::check_nothing_else(&endpoint.counts(), &mut report);
    endpoint.stop().await;
    Ok(report)
}

/// When a server dies: so long after so many calls have come or were answered.
#[derive(Debug, Clone, Copy)]
struct Moment {
    signals: u64,
    and: Duration,
}

impl Moment {
    fn draw(dice: &mut StdRng, runs: u32) -> Self {
        let signals = u64::from(runs) * u64::from(ROUNDS) * TOOLS.len() as u64 * 2;
        Self {
            // Not the last ones: something is to be under way.
            signals: dice.random_range(0..signals - 4),
            and: Duration::from_micros(dice.random_range(0..4000)),
        }
    }
}

/// Starts runs, and waits until it is time for somebody to die.
async fn until_the_moment(
    client: &FleetClient,
    endpoint: &Endpoint,
    keys: &[String],
    moment: Moment,
) -> anyhow::Result<()> {
    let mut signals = endpoint.signals();
    let until = *signals.borrow() + moment.signals;
    let port = endpoint.address.port();
    let starting = async {
        for key in keys {
            start_run(client, port, key).await?;
        }
        std::future::pending::<anyhow::Result<()>>().await
    };
    let dying = async {
        let reached = signals.wait_for(|signals| *signals >= until);
        patiently("the calls before the kill", reached).await??;
        tokio::time::sleep(moment.and).await;
        anyhow::Ok(())
    };
    tokio::select! {
        started = starting => started,
        is_time = dying => is_time,
    }
}

/// Starts the run with this idempotency key, or finds it.
async fn start_run(client: &FleetClient, port: u16, key: &str) -> anyhow::Result<String> {
    let tools: Vec<Value> = TOOLS
        .iter()
        .map(|(name, retry)| {
            json!({
                "type": "http", "name": name, "parameters": {"type": "object"},
                "url": format!("http://127.0.0.1:{port}/{name}"), "retry": retry
            })
        })
        .collect();
    let calls: Vec<Value> = TOOLS.iter().map(|(name, _)| json!({"name": name})).collect();
    let body = json!({
        "input": "Go.", "tools": tools,
        "model_options": {"simulate": {"tool_calls": calls, "tool_rounds": ROUNDS, "text": "Done."}}
    });
    client.start_as(key, &body).await
}

/// Waits for its end, and decides on the way what has to be decided.
async fn bring_to_its_end(
    client: &FleetClient,
    endpoint: &Endpoint,
    run: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    loop {
        let path = format!("/api/v1/runs/{run}");
        let view = until_some("the run to end or to wait", || async {
            let view = client.get(&path).await.ok()?;
            (is_terminal(&view) || view["state"] == "waiting").then_some(view)
        })
        .await?;
        if is_terminal(&view) {
            ensure!(view["state"] == "completed", "{view}");
            return Ok(());
        }
        ensure!(view["waiting"] == "needs_review", "{view}");
        let mut reviews = Vec::new();
        for call in view["waiting_calls"].as_array().into_iter().flatten() {
            if call["name"] != "pay" {
                report
                    .violations
                    .push(format!("{run}: a call that may be repeated waits for a person: {call}"));
            }
            reviews.push(review_of(run, call, &endpoint.counts(), report));
        }
        let body = json!({"reviews": reviews});
        client.post(&format!("{path}/review"), &body).await?;
    }
}

/// What a careful person says who has looked at the endpoint's books.
fn review_of(run: &str, call: &Value, counts: &Counts, report: &mut Report) -> Value {
    let key = format!("{run}/{}", call["item_id"].as_str().unwrap_or_default());
    let is_done = counts.contains_key(&("pay".to_owned(), key.clone()));
    report.reviews += 1;
    if is_done {
        report.done_before_review += 1;
        json!({"call_id": call["call_id"], "action": "result", "output": answer_to("pay", &key)})
    } else {
        json!({"call_id": call["call_id"], "action": "retry"})
    }
}
