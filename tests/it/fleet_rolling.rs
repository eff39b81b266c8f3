//! A new version is rolled out while clients work: nothing is lost, nothing fails, no stream has a gap.

use futures::future::join_all;
use tokio::sync::watch;

use crate::harness::{TestFleet, story};
use crate::rig::{FleetClient, Followed};

/// Clients that start a run, follow it to its end, and start the next.
const CLIENTS: usize = 20;

/// Runs longer than an instance waits for its runs when it leaves, so that some are handed over.
const SETTINGS: &str = "[server]\nshutdown_grace = \"500ms\"\n";

async fn work(client: FleetClient, over: watch::Receiver<bool>) -> Vec<Followed> {
    let mut followed = Vec::new();
    while !*over.borrow() {
        let run = client.start(&story(30, 20)).await.unwrap();
        followed.push(client.follower(&run).start().ended().await.unwrap());
    }
    followed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_restart_one_after_the_other_under_load() {
    let fleet = TestFleet::new(SETTINGS).await;
    let mut instances = fleet.start(["a", "b", "c"]).await;
    let (end, over) = watch::channel(false);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(work(fleet.client(), over.clone())))
        .collect();
    for instance in &mut instances {
        instance.leave().await.unwrap();
        instance.start().await.unwrap();
    }
    end.send_replace(true);
    let followed: Vec<Followed> = join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    let [a, b, c] = &instances;
    let mut handed_over = 0;
    for followed in &followed {
        let run = fleet.check_ended(followed, &[a, b, c]).await;
        assert_eq!(run["state"], "completed", "{run}");
        handed_over += usize::from(
            followed
                .events
                .iter()
                .any(|event| event.data["reason"] == "handed_over"),
        );
    }
    println!("{} runs, {handed_over} of them handed over", followed.len());
    assert!(handed_over > 0, "runs outlast the grace period");
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM runs")
        .fetch_one(&mut fleet.database().await)
        .await
        .unwrap();
    assert_eq!(
        usize::try_from(all).unwrap(),
        followed.len(),
        "each run that is in the database was asked for once"
    );
    fleet.finish(instances).await;
}
