//! Everything that is known when all is over.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::Options;
use super::clients::Story;
use super::injection::InjectedFault;
use super::runs::PlannedAccount;
use super::samples::Samples;
use super::site::Site;
use super::stored::{self, Stored};
use crate::rig::{Client, OpenError, SeenEvent};

/// What was seen and what is left.
pub(super) struct Evidence {
    pub(super) accounts: Vec<PlannedAccount>,
    pub(super) stories: Vec<Story>,
    pub(super) faults: Vec<InjectedFault>,
    pub(super) samples: Samples,
    pub(super) stored: Stored,
    /// Of Redis, as far as it has them (it may have been restarted).
    pub(super) streams: BTreeMap<String, Vec<(u64, SeenEvent)>>,
    /// The provider's calls, oldest first.
    pub(super) calls: Vec<Value>,
    /// Whether the provider has ended all of them.
    pub(super) calls_are_over: bool,
    pub(super) instances: Vec<InstanceEvidence>,
    /// Ways in which one account got at a run of another, and in which a resumed stream was not the rest of the log.
    pub(super) probes: Probes,
}

/// An instance when all is over.
pub(super) struct InstanceEvidence {
    pub(super) name: String,
    /// `GET /api/v1/capacity`, when all Permits were back or after it was waited for that in vain.
    pub(super) capacity: Result<Value, String>,
    /// Everything it printed in all its lives.
    pub(super) printed: String,
}

/// Requests that were made of each run when all was over.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) foreign_requests: u64,
    pub(super) foreign_problems: Vec<(String, String)>,
    pub(super) resumed_streams: u64,
    pub(super) resume_problems: Vec<(String, String)>,
}

/// What is to be proven is how things end up: nothing of this is part of that.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// Waits until an instance has all its Permits back, or for longer than that can take.
pub(super) async fn look_at_instances(site: &Site, options: &Options) -> Vec<InstanceEvidence> {
    let mut instances = Vec::new();
    for member in &site.members {
        let instance = member.instance.lock().await;
        let client = instance.client_with(&site.keys[0]);
        let capacity = match client {
            Ok(client) => until_idle(&client, options.lease * 4 + Duration::from_secs(10)).await,
            Err(error) => Err(format!("{error:#}")),
        };
        instances.push(InstanceEvidence {
            name: member.name.clone(),
            capacity,
            printed: instance.printed(),
        });
    }
    instances
}

async fn until_idle(client: &Client, patience: Duration) -> Result<Value, String> {
    let mut last = Err("it was not asked".to_owned());
    let asking = async {
        loop {
            let reply = client.get_raw("/api/v1/capacity").await;
            last = reply
                .map_err(|error| error.to_string())
                .and_then(|reply| reply.success().map_err(|error| format!("{error:#}")));
            if last.as_ref().is_ok_and(is_idle) {
                return;
            }
            // Nothing tells when a Permit comes back.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // What it said last is what there is to say.
    let _ = tokio::time::timeout(patience, asking).await;
    last
}

/// No run, and none that it believes to be waiting.
pub(super) fn is_idle(capacity: &Value) -> bool {
    capacity["permits"]["in_use"] == 0 && capacity["queue"]["length"] == 0
}

/// Reads the database and the streams.
pub(super) async fn read_all(site: &Site) -> anyhow::Result<(Stored, BTreeMap<String, Vec<(u64, SeenEvent)>>)> {
    let stored = stored::read(&site.database_url)
        .await
        .context("the database cannot be read")?;
    let streams = stored::read_streams(&site.redis_url)
        .await
        .context("Redis cannot be read")?;
    Ok((stored, streams))
}

/// Asks for each run with the key of another account, and for the rest of its log.
pub(super) async fn probe(site: &Site, stories: &[Story], stored: &Stored) -> anyhow::Result<Probes> {
    let mut probes = Probes::default();
    for (number, story) in stories.iter().enumerate() {
        let Some(run) = story.run() else { continue };
        let member = &site.members[number % site.members.len()];
        let instance = member.instance.lock().await;
        let foreign = instance.client_with(&site.keys[(story.plan.account + 1) % site.keys.len()])?;
        let own = instance.client_with(&site.keys[story.plan.account])?;
        drop(instance);
        probes.ask_as_foreigner(&foreign, run).await?;
        if let Some(stored) = stored.runs.get(run) {
            probes.resume(&own, run, &stored.log, number).await;
        }
    }
    Ok(probes)
}

impl Probes {
    async fn ask_as_foreigner(&mut self, foreign: &Client, run: &str) -> anyhow::Result<()> {
        let shown = foreign.get_raw(&format!("/api/v1/runs/{run}")).await?.status.as_u16();
        let cancelled = foreign.cancel_raw(run).await?.status.as_u16();
        let streamed = match foreign.open_events(run, None, LONGEST_SILENCE).await {
            Err(OpenError::Refused(status, _)) => status,
            Err(error) => return Err(error.into()),
            Ok(_) => 200,
        };
        self.foreign_requests += 3;
        if [shown, cancelled, streamed] != [404; 3] {
            let text = format!("to another account GET, cancel and events say {shown}, {cancelled}, {streamed}");
            self.foreign_problems.push((run.to_owned(), text));
        }
        Ok(())
    }

    /// From a place that differs from run to run.
    async fn resume(&mut self, own: &Client, run: &str, log: &[SeenEvent], number: usize) {
        let Some(last) = log.last() else { return };
        let after = number as u64 * 7 % (last.seq + 1);
        self.resumed_streams += 1;
        let wanted: Vec<&SeenEvent> = log.iter().filter(|event| event.seq > after).collect();
        match read_after(own, run, after).await {
            Ok(rest) if rest.iter().eq(wanted.iter().copied()) => {}
            Ok(rest) => {
                let text = format!(
                    "after {after} came {:?} instead of {:?}",
                    seqs(rest.iter()),
                    seqs(wanted)
                );
                self.resume_problems.push((run.to_owned(), text));
            }
            Err(error) => self
                .resume_problems
                .push((run.to_owned(), format!("after {after}: {error:#}"))),
        }
    }
}

async fn read_after(client: &Client, run: &str, after: u64) -> anyhow::Result<Vec<SeenEvent>> {
    let mut events = Vec::new();
    if let Some(mut stream) = client.open_events(run, Some(after), LONGEST_SILENCE).await? {
        while let Some(event) = stream.read().await? {
            events.push(event);
        }
    }
    Ok(events)
}

fn seqs<'a>(events: impl IntoIterator<Item = &'a SeenEvent>) -> Vec<u64> {
    events.into_iter().map(|event| event.seq).collect()
}
