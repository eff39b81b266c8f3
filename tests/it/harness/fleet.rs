//! Fleets, and what must hold of them at the end of a test, whatever happened before.

use std::collections::BTreeSet;
use std::str::FromStr;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::{binary, until_some};
use crate::rig::{
    Fleet, FleetClient, Followed, Following, Instance, fresh_schema, lasting, problems_of_log, shared_postgres_url,
    shared_redis_url,
};

/// Room for all runs of a test on each instance, so that where a run is started decides where it runs.
const ROOM: &str = "[capacity]\nmax_concurrent_runs = 200\n";

/// Runs that are checked at the same moment.
const CHECKED_AT_ONCE: usize = 8;

/// A fleet with a database schema and Redis keys of its own.
pub(crate) struct TestFleet {
    pub(crate) fleet: Fleet,
    database_url: String,
}

/// A run that calls two tools, then says so many words, so many a second.
pub(crate) fn story(words: u32, per_second: u32) -> Value {
    let simulate = json!({
        "tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "x"}}],
        "tokens": words, "tokens_per_second": per_second
    });
    json!({"input": "Go.", "tools": ["now", "echo"], "model_options": {"simulate": simulate}})
}

impl TestFleet {
    /// On the services that tests share: for those that leave them running. `settings` is TOML for all instances.
    pub(crate) async fn new(settings: &str) -> Self {
        Self::on(&shared_postgres_url().unwrap(), &shared_redis_url().unwrap(), settings).await
    }

    /// On these services.
    pub(crate) async fn on(postgres_url: &str, redis_url: &str, settings: &str) -> Self {
        let database_url = fresh_schema(postgres_url).await.unwrap();
        let mut fleet = Fleet::new(binary(), &database_url, redis_url, ROOM).unwrap();
        fleet.set(settings).unwrap();
        Self { fleet, database_url }
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(crate) async fn start<const COUNT: usize>(&self, names: [&str; COUNT]) -> [Instance; COUNT] {
        self.fleet.start_all(names).await.unwrap()
    }

    pub(crate) fn client(&self) -> FleetClient {
        self.fleet.client().unwrap()
    }

    /// A connection to the database, beside the instances.
    pub(crate) async fn database(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&self.database_url).unwrap();
        options.connect().await.unwrap()
    }

    /// Starts `count` runs on one instance and follows them from the others in turn. Returns when each shows text.
    pub(crate) async fn followed_elsewhere(
        &self,
        count: usize,
        body: &Value,
        runs_on: &Instance,
        followed_from: &[&Instance],
    ) -> Vec<Following> {
        let (starter, client) = (runs_on.client().unwrap(), self.client());
        let runs = join_all((0..count).map(|_| starter.start_run(body))).await;
        let mut followings = Vec::new();
        for (run, instance) in runs.iter().zip(followed_from.iter().cycle()) {
            followings.push(client.follower(run).beginning_with(instance.name()).start());
        }
        for following in &mut followings {
            following.until_seen("text.delta").await.unwrap();
        }
        followings
    }

    /// Waits until all runs have ended, checks that they did it well, and gives what was seen of them.
    pub(crate) async fn all_complete(&self, followings: Vec<Following>, instances: &[&Instance]) -> Vec<Followed> {
        let ended = join_all(followings.into_iter().map(Following::ended)).await;
        let checked = ended.into_iter().map(|followed| async {
            let followed = followed.unwrap();
            let run = self.check_ended(&followed, instances).await;
            assert_eq!(run["state"], "completed", "{run}\n{followed:?}");
            followed
        });
        stream::iter(checked).buffer_unordered(CHECKED_AT_ONCE).collect().await
    }

    /// Checks a run that has ended: what was seen of it is right and complete, every instance tells the same, and nothing that was known
    /// was done twice. Gives the run.
    pub(crate) async fn check_ended(&self, followed: &Followed, instances: &[&Instance]) -> Value {
        assert_eq!(followed.violations, [], "{followed:?}");
        let client = self.client();
        let run = client.run(&followed.run).await.unwrap();
        for instance in instances {
            let log = instance.client().unwrap().events(&followed.run, None).await.unwrap();
            let log = log.rest().await;
            let problems = problems_of_log(&log, &run);
            assert!(
                problems.is_empty(),
                "{} has {problems:#?}\nof {run}\n{log:#?}\n{followed:?}",
                instance.name()
            );
            assert_eq!(
                lasting(&followed.events),
                lasting(&log),
                "{} tells another story than {followed:?}",
                instance.name()
            );
        }
        check_items(&client.items(&followed.run).await.unwrap());
        run
    }

    /// The end of a test: all Permits and Slots are back, and the instances leave cleanly.
    pub(crate) async fn finish(&self, instances: impl IntoIterator<Item = Instance>) {
        let printed = self.finish_after_errors(instances).await;
        let broken = printed.lines().find(|line| line.contains("ERROR"));
        assert_eq!(broken, None, "an instance met an error of its own");
    }

    /// The same, for a test that made things break; gives what the instances printed. Panics are never right.
    pub(crate) async fn finish_after_errors(&self, instances: impl IntoIterator<Item = Instance>) -> String {
        let mut printed = String::new();
        for mut instance in instances {
            let client = instance.client().unwrap();
            until_some("all permits to come back", || async {
                let capacity = client.get_raw("/api/v1/capacity").await.ok()?.success().ok()?;
                (capacity["permits"]["in_use"] == 0).then_some(())
            })
            .await;
            instance.leave().await.unwrap();
            printed += &instance.printed();
        }
        let left: Vec<(String, i32, i64)> =
            sqlx::query_as("SELECT account, running, queued FROM accounts WHERE running <> 0 OR queued <> 0")
                .fetch_all(&mut self.database().await)
                .await
                .unwrap();
        assert_eq!(left, [], "accounts with Slots that are taken or runs in line");
        let panicked = printed.lines().find(|line| line.contains("panicked at"));
        assert_eq!(panicked, None, "an instance panicked");
        printed
    }
}

/// One result for each call of a tool, no call twice, one answer.
fn check_items(items: &[Value]) {
    let of_kind = |kind: &'static str| items.iter().filter(move |item| item["type"] == kind);
    let whole = |item: &&Value| item["status"] == "completed";
    let calls: Vec<&str> = of_kind("tool_call")
        .filter(whole)
        .map(|item| item["call_id"].as_str().unwrap())
        .collect();
    let distinct: BTreeSet<&str> = calls.iter().copied().collect();
    assert_eq!(calls.len(), distinct.len(), "a call twice: {items:#?}");
    let results: Vec<&str> = of_kind("tool_result")
        .map(|item| item["call_id"].as_str().unwrap())
        .collect();
    let answered: BTreeSet<&str> = results.iter().copied().collect();
    assert_eq!(results.len(), answered.len(), "two results of one call: {items:#?}");
    assert!(answered.is_subset(&distinct), "a result of no call: {items:#?}");
    let answers = of_kind("message")
        .filter(whole)
        .filter(|item| item["role"] == "assistant")
        .count();
    assert!(answers <= 1, "two answers: {items:#?}");
}
