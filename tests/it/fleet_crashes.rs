//! An instance dies, or stands still until nobody believes in it any more: the others go on with its runs, and their readers notice
//! nothing but a `run.recovered`.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection;

use crate::harness::{DEFAULT_LEASE, TestFleet, Upstream, patiently, story};
use crate::rig::{Followed, Following};

const RUNS: usize = 20;

/// Prints how long the take-over took.
async fn until_taken_over(followings: &mut [Following], lease: Duration) {
    let lost_at = Instant::now();
    let taken_over = TestFleet::until_taken_over(followings).await;
    let took = lost_at.elapsed();
    println!("{taken_over} runs were taken over {took:?} after their instance was lost; its lease was {lease:?}");
    // The promise is a second; a machine that does other things as well is forgiven some more.
    assert!(took < lease + Duration::from_secs(10), "{took:?}");
}

async fn killed(settings: &str, lease: Duration) {
    let upstream = Upstream::start().await;
    let fleet = TestFleet::new(&(upstream.settings() + settings)).await;
    let [mut a, b, c] = fleet.start(["a", "b", "c"]).await;
    let mut followings = fleet.followed_elsewhere(RUNS, &story(60, 20), &a, &[&b, &c]).await;
    a.kill().await.unwrap();
    until_taken_over(&mut followings, lease).await;
    fleet.all_complete(followings, &[&b, &c]).await;
    let told = b.printed() + &c.printed();
    let names_it = |line: &str| line.contains("took over runs of a lost instance") && line.contains("lost=\"a\"");
    assert!(told.lines().any(names_it), "{told}");
    let calls = upstream.calls().await.len();
    assert!(
        calls <= 3 * RUNS,
        "the first call once, the second twice, not {calls} for {RUNS} runs"
    );
    // It comes back as if nothing had been.
    a.start().await.unwrap();
    let followings = fleet.followed_elsewhere(2, &story(5, 20), &a, &[&b, &c]).await;
    fleet.all_complete(followings, &[&a, &b, &c]).await;
    fleet.finish([a, b, c]).await;
    upstream.stop().await;
}

#[tokio::test]
async fn runs_of_an_instance_that_is_killed_go_on_elsewhere() {
    killed("", Duration::from_millis(1500)).await;
}

#[tokio::test]
async fn with_the_default_lease_too() {
    killed(DEFAULT_LEASE, Duration::from_secs(5)).await;
}

/// An instance stands still for longer than its lease and wakes in the middle of runs that are no longer its own. Some clients have
/// given it up, others waited for it and hear what it has to say.
async fn frozen(durability: &str) -> Vec<Followed> {
    let upstream = Upstream::start().await;
    let settings = format!("{}[events]\ndurability = \"{durability}\"\n", upstream.settings());
    let fleet = TestFleet::new(&settings).await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let mut followings = fleet.followed_elsewhere(RUNS, &story(100, 20), &a, &[&b, &c]).await;
    let mut waiting = Vec::new();
    for following in &followings {
        let patient = fleet
            .client()
            .follower(&following.so_far().run)
            .beginning_with("a")
            .patient();
        waiting.push(patient.start());
    }
    for patient in &mut waiting {
        patient.until_seen("text.delta").await.unwrap();
    }
    a.pause().unwrap();
    until_taken_over(&mut followings, Duration::from_millis(1500)).await;
    a.go_on().unwrap();
    followings.append(&mut waiting);
    let followed = fleet.all_complete(followings, &[&a, &b, &c]).await;
    upstream.until_open(0).await;
    // It takes part again.
    let followings = fleet.followed_elsewhere(2, &story(5, 20), &a, &[&b, &c]).await;
    fleet.all_complete(followings, &[&a, &b, &c]).await;
    fleet.finish_after_errors([a, b, c]).await;
    upstream.stop().await;
    followed
}

#[tokio::test]
async fn a_zombie_is_refused_everywhere() {
    let followed = frozen("strict").await;
    for followed in followed {
        assert!(followed.events.iter().all(|event| event.data.get("lost").is_none()));
    }
}

#[tokio::test]
async fn a_zombie_that_shows_what_it_has_not_written_is_refused_everywhere() {
    frozen("relaxed").await;
}

#[tokio::test]
async fn what_was_being_written_when_the_lease_was_lost_hides_nothing_that_others_write_later() {
    let fleet = TestFleet::new("").await;
    let [mut a, b] = fleet.start(["a", "b"]).await;
    let followings = fleet.followed_elsewhere(4, &story(60, 20), &a, &[&b]).await;
    // Writes of a wait, on their way, until nobody works on their runs here any more. Then they are done: nobody has the runs yet.
    let (mut database, mut holding) = (fleet.database().await, fleet.database().await);
    let mut held = holding.begin().await.unwrap();
    let hold = "SELECT pg_backend_pid() FROM runs WHERE state = 'running' ORDER BY id FOR UPDATE";
    let holder: i32 = sqlx::query_scalar(hold).fetch_one(&mut *held).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
    let until_some_wait = async {
        loop {
            let count: i64 = sqlx::query_scalar(waiting)
                .bind(holder)
                .fetch_one(&mut database)
                .await
                .unwrap();
            if count > 0 {
                return;
            }
        }
    };
    patiently("writes that wait", until_some_wait).await;
    let end = "UPDATE instances SET lease_until = clock_timestamp() - interval '1 second' WHERE name = 'a'";
    sqlx::query(end).execute(&mut database).await.unwrap();
    a.until_printed("joined the fleet again").await.unwrap();
    held.rollback().await.unwrap();
    fleet.all_complete(followings, &[&a, &b]).await;
    fleet.finish_after_errors([a, b]).await;
}

#[tokio::test]
async fn a_cancel_that_a_zombie_takes_reaches_whoever_has_the_run_now() {
    let fleet = TestFleet::new("").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let endless = json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}});
    let body = json!({"input": "Go.", "model_options": {"simulate": endless}});
    let mut following = fleet.followed_elsewhere(1, &body, &a, &[&b]).await.pop().unwrap();
    a.pause().unwrap();
    following.until_seen("run.recovered").await.unwrap();
    a.go_on().unwrap();
    // It may not have noticed yet.
    let run = a.client().unwrap().cancel(&following.so_far().run).await;
    assert_eq!(run["state"], "cancelled", "{run}");
    fleet.check_ended(&following.ended().await.unwrap(), &[&a, &b]).await;
    fleet.finish_after_errors([a, b]).await;
}
