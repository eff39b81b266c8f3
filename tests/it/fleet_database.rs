//! The database restarts, or an instance loses its way to it: what was promised is kept, and nobody writes who may not.

use crate::harness::{TestFleet, story, until_some};
use crate::rig::{
    Network, Postgres, PostgresOptions, PostgresStop, Proxy, address_of, shared_postgres_url, shared_redis_url, through,
};

const RUNS: usize = 15;

async fn restarted(how: PostgresStop) {
    let mut postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let fleet = TestFleet::on(&postgres.url(), &shared_redis_url().unwrap(), "").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let body = story(60, 20);
    let mut followings = fleet.followed_elsewhere(RUNS, &body, &a, &[&b]).await;
    followings.extend(fleet.followed_elsewhere(RUNS, &body, &b, &[&a]).await);
    postgres.stop(how).await.unwrap();
    // Somebody who comes while it is away comes again.
    let client = fleet.client();
    let coming = tokio::spawn(async move { client.start(&story(5, 20)).await });
    postgres.run().await.unwrap();
    let run = coming.await.unwrap().unwrap();
    followings.push(fleet.client().follower(&run).start());
    fleet.all_complete(followings, &[&a, &b]).await;
    fleet.finish_after_errors([a, b]).await;
}

#[tokio::test]
async fn a_postgres_that_restarts_in_good_order_costs_nobody_a_run() {
    restarted(PostgresStop::Fast).await;
}

#[tokio::test]
async fn a_postgres_that_crashes_costs_nobody_a_run() {
    restarted(PostgresStop::Immediate).await;
}

/// Away until no instance has a lease any more. Each reads its own runs, which another may have afterwards, and stays where it is.
#[tokio::test]
async fn a_postgres_that_is_away_for_longer_than_a_lease_costs_no_reader_an_event() {
    let mut postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let fleet = TestFleet::on(&postgres.url(), &shared_redis_url().unwrap(), "").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let mut followings = Vec::new();
    for (instance, name) in [(&a, "a"), (&b, "b")] {
        let client = instance.client().unwrap();
        for _ in 0..RUNS {
            let run = client.start_run(&story(100, 20)).await;
            followings.push(fleet.client().follower(&run).beginning_with(name).patient().start());
        }
    }
    for following in &mut followings {
        following.until_seen("text.delta").await.unwrap();
    }
    postgres.stop(PostgresStop::Immediate).await.unwrap();
    until_some("all leases to be lost", || async {
        let printed = a.printed().contains("the lease is lost") && b.printed().contains("the lease is lost");
        printed.then_some(())
    })
    .await;
    postgres.run().await.unwrap();
    fleet.all_complete(followings, &[&a, &b]).await;
    fleet.finish_after_errors([a, b]).await;
}

/// Takes from one of three instances its way to the database, in the middle of runs, until the others have its runs.
async fn cut_off(network: Network) {
    let fleet = TestFleet::new("").await;
    let postgres = address_of(&shared_postgres_url().unwrap()).unwrap();
    let proxy = Proxy::start(postgres).await.unwrap();
    let mut a = fleet.fleet.instance("a").unwrap();
    a.options_mut().database_url = through(fleet.database_url(), proxy.address()).unwrap();
    a.start().await.unwrap();
    let [b, c] = fleet.start(["b", "c"]).await;
    let mut followings = fleet.followed_elsewhere(RUNS, &story(100, 20), &a, &[&b, &c]).await;
    // These never notice.
    let unharmed = fleet.followed_elsewhere(RUNS, &story(100, 20), &b, &[&c]).await;
    proxy.set(network);
    for following in &mut followings {
        following.until_seen("run.recovered").await.unwrap();
    }
    proxy.set(Network::Healthy);
    fleet.all_complete(followings, &[&b, &c]).await;
    for followed in fleet.all_complete(unharmed, &[&b, &c]).await {
        assert!(!followed.has("run.recovered"), "{:?}", followed.run);
    }
    // It takes part again, and tells what the others tell.
    let more = fleet.followed_elsewhere(3, &story(5, 20), &a, &[&b, &c]).await;
    fleet.all_complete(more, &[&a, &b, &c]).await;
    fleet.finish_after_errors([a, b, c]).await;
}

#[tokio::test]
async fn runs_of_an_instance_that_is_cut_off_from_the_database_go_on_elsewhere() {
    cut_off(Network::Cut).await;
}

#[tokio::test]
async fn also_if_what_it_sends_disappears() {
    cut_off(Network::BlackHole).await;
}

#[tokio::test]
async fn also_if_what_it_sends_arrives_much_later() {
    cut_off(Network::Frozen).await;
}
