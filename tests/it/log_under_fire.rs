//! Rule 4: an event once seen never changes and is never lost, whatever becomes of readers and servers. Many runs, readers that drop at
//! random, one slow reader, and `kill -9` of the real binary in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{Client, Seen, Server, check_whole_log};

const RUNS: usize = 200;
const READERS_PER_RUN: u64 = 2;
const TOKENS: u32 = 500;

/// Where the server is now; `None` while there is none.
type Address = watch::Receiver<Option<Client>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_readers_lose_nothing() {
    // Kills come when readers have seen so many events in all.
    torture("strict", RUNS, &[2_000, 20_000, 50_000]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaxed_readers_never_see_a_number_twice() {
    torture("relaxed", RUNS / 4, &[1_000, 6_000]).await;
}

async fn torture(durability: &str, run_count: usize, kills: &[u64]) {
    let settings = format!("[capacity]\nmax_concurrent_runs = {RUNS}\n[events]\ndurability = \"{durability}\"\n");
    let mut server = Server::start(&settings).await;
    let client = server.client();
    let mut runs = Vec::new();
    for seed in 0..run_count {
        let simulate = json!({"seed": seed, "tokens": TOKENS, "tokens_per_second": 50});
        runs.push(client.start_simulated(simulate).await);
    }
    let (address, current) = watch::channel(Some(client.clone()));
    let seen_events = Arc::new(AtomicU64::new(0));
    let (progress, mut progressed) = watch::channel(0_u64);
    let progress = Arc::new(progress);
    let mut slow = client.events(&runs[0], None).await.unwrap();
    let first = slow.next().await.unwrap();
    assert_eq!(first.seq, 0);
    let readers: Vec<_> = runs
        .iter()
        .flat_map(|run| (0..READERS_PER_RUN).map(move |reader| (run.clone(), reader)))
        .enumerate()
        .map(|(number, (run, _))| {
            let (current, seen_events, progress) = (current.clone(), seen_events.clone(), progress.clone());
            tokio::spawn(async move {
                let mut reader = DroppingReader {
                    run,
                    after: None,
                    seen: Seen::default(),
                    random: number as u64 + 1,
                };
                reader
                    .read_to_end(current, || {
                        let count = seen_events.fetch_add(1, Ordering::Relaxed) + 1;
                        progress.send_replace(count);
                    })
                    .await;
                reader
            })
        })
        .collect();
    for kill_at in kills {
        progressed.wait_for(|count| count >= kill_at).await.unwrap();
        address.send_replace(None);
        let site = server.kill().await;
        server = site.start().await;
        address.send_replace(Some(server.client()));
    }
    let readers: Vec<DroppingReader> = join_all(readers).await.into_iter().map(Result::unwrap).collect();
    let client = server.client();
    for (index, id) in runs.iter().enumerate() {
        let run = client.run(id).await;
        assert_eq!(run["state"], "completed", "{run}");
        let log = client.events(id, None).await.unwrap().rest().await;
        check_whole_log(&log, &run);
        for reader in readers.iter().filter(|reader| reader.run == *id) {
            if durability == "strict" {
                reader.seen.check_kept_in(&log);
            }
            assert_eq!(reader.after, Some(log.last().unwrap().seq));
        }
        if index == 0 {
            // The slow reader's stream broke with the first server; what is left for it is everything above its position.
            let rest = client.events(id, Some(first.seq)).await.unwrap().rest().await;
            assert_eq!(rest, log[1..]);
        }
    }
    drop(slow);
    server.finish().await;
}

/// Reads a run to its end, dropping the stream now and then and taking it up where it left off.
struct DroppingReader {
    run: String,
    after: Option<u64>,
    seen: Seen,
    random: u64,
}

impl DroppingReader {
    async fn read_to_end(&mut self, mut current: Address, mut count: impl FnMut()) {
        loop {
            let client = current.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            // A server that was killed in between is no failure: the next one is announced.
            let Ok(opened) = client.try_events(&self.run, self.after).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let Some(mut reader) = opened else { return };
            let patience = self.next_random() % 200 + 1;
            for _ in 0..patience {
                let Ok(Some(event)) = reader.read().await else {
                    break;
                };
                self.check_follows(&event);
                self.seen.take_in(&event).unwrap();
                self.after = Some(event.seq);
                count();
                if event.is_terminal() {
                    break;
                }
            }
        }
    }

    /// The next number, or the first above those that the event says are lost.
    fn check_follows(&self, event: &crate::harness::SeenEvent) {
        let next = self.after.map_or(0, |seq| seq + 1);
        if event.seq == next {
            return;
        }
        let lost = &event.data["lost"];
        let covers = lost["from"].as_u64() <= Some(next) && lost["to"].as_u64() == event.seq.checked_sub(1);
        assert!(covers, "{} after {:?}: {event:?}", event.seq, self.after);
    }

    /// xorshift64: the same drops in every run of the test.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}
