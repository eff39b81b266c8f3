//! The clients: they start runs, follow them, cancel them, and write down what they were told.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use super::runs::PlannedRun;
use super::site::Site;
use crate::rig::{FleetClient, Followed};

/// What clients were told of one run.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) plan: PlannedRun,
    pub(super) idempotency_key: String,
    /// The run's id, as the answer to each start said; or why there was none.
    pub(super) starts: Vec<Result<String, String>>,
    /// What each follower saw; the last one came when all was over.
    pub(super) followed: Vec<Followed>,
    /// The run, as the answer to the cancel showed it; or why there was none.
    pub(super) cancel: Option<Result<Value, String>>,
    /// The run, as it was shown when all was over.
    pub(super) shown: Option<Value>,
    /// What went wrong besides.
    pub(super) problems: Vec<String>,
}

impl Story {
    /// The run, if any start was answered.
    pub(super) fn run(&self) -> Option<&str> {
        self.starts.iter().flatten().next().map(String::as_str)
    }
}

/// Starts all runs, each at its moment after `start`, and gives what was seen of them when all followers have come to an end.
pub(super) async fn play_all(site: Arc<Site>, runs: Vec<PlannedRun>, start: Instant) -> Vec<Story> {
    let playing = (0..).zip(runs).map(|(number, plan)| {
        let site = site.clone();
        tokio::spawn(async move {
            sleep_until(start + plan.at).await;
            play(&site, number, plan).await
        })
    });
    let mut stories = Vec::new();
    for played in playing.collect::<Vec<_>>() {
        // One that panicked is missed when accounts are settled.
        stories.extend(played.await);
    }
    stories
}

async fn play(site: &Site, number: usize, plan: PlannedRun) -> Story {
    let client = &site.clients[plan.account];
    let mut story = Story {
        idempotency_key: format!("run-{number}"),
        starts: Vec::new(),
        followed: Vec::new(),
        cancel: None,
        shown: None,
        problems: Vec::new(),
        plan,
    };
    let times = if story.plan.is_started_twice { 2 } else { 1 };
    // The client asks another instance each time.
    let starting = (0..times).map(|_| client.start_as(&story.idempotency_key, &story.plan.body));
    let started = futures::future::join_all(starting).await;
    story.starts = started.into_iter().map(|start| start.map_err(told)).collect();
    let Some(run) = story.run().map(str::to_owned) else {
        return story;
    };
    let following = (0..story.plan.followers).map(|_| client.follower(&run).start());
    let following: Vec<_> = following.collect();
    if let Some(after) = story.plan.cancelled_after {
        sleep(after).await;
        story.cancel = Some(client.cancel(&run).await.map_err(told));
    }
    for follower in following {
        story.take_in(follower.ended().await);
    }
    story
}

/// Reads each run once more, when all is over.
pub(super) async fn read_again(site: &Site, stories: &mut [Story]) {
    for story in stories {
        let Some(run) = story.run().map(str::to_owned) else {
            continue;
        };
        let client: &FleetClient = &site.clients[story.plan.account];
        story.take_in(client.follower(&run).start().ended().await);
        match client.run(&run).await {
            Ok(shown) => story.shown = Some(shown),
            Err(error) => story.problems.push(format!("it is not shown: {error:#}")),
        }
    }
}

impl Story {
    fn take_in(&mut self, followed: anyhow::Result<Followed>) {
        match followed {
            Ok(followed) => self.followed.push(followed),
            Err(error) => self.problems.push(format!("a follower broke: {error:#}")),
        }
    }
}

fn told(error: anyhow::Error) -> String {
    format!("{error:#}")
}
