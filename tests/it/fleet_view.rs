//! What the instances of a fleet tell of it, and what one tells that has lost its way to the database.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Client, TestFleet, until_some};
use crate::openapi::{Checker, document_of};
use crate::rig::{Instance, Network, Proxy, address_of, shared_postgres_url, through};

/// A run that says something and never ends.
fn endless() -> Value {
    json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}})
}

/// By name: state, whether it is the one that answers, permits in use, runs.
fn by_name(cluster: &Value) -> BTreeMap<String, Value> {
    let instances = cluster["instances"].as_array().unwrap();
    let shown = |instance: &Value| {
        let name = instance["name"].as_str().unwrap().to_owned();
        let of_it = json!([
            instance["state"],
            instance["answering"],
            instance["permits"]["in_use"],
            instance["runs"]
        ]);
        (name, of_it)
    };
    instances.iter().map(shown).collect()
}

/// What `/api/v1/cluster` of this instance says, as soon as it says what `is_told` waits for.
async fn told_by(instance: &Instance, what: &str, is_told: impl Fn(&Value) -> bool) -> Value {
    let client = instance.client().unwrap();
    until_some(what, || async {
        let cluster = client.get("/api/v1/cluster").await.expect_status(200);
        is_told(&cluster).then_some(cluster)
    })
    .await
}

async fn command(instance: &Instance, arguments: &[&str]) -> String {
    let output = instance.command(arguments).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn every_instance_and_the_command_tell_of_the_whole_fleet() {
    let fleet = TestFleet::new("").await;
    let [a, mut b, mut c] = fleet.start(["a", "b", "c"]).await;
    let client = a.client().unwrap();
    let document = document_of(&client).await;
    let run = client.start_simulated(endless()).await;
    for instance in [&a, &b, &c] {
        let is_told = |cluster: &Value| cluster["totals"]["permits"]["in_use"] == 1;
        let cluster = told_by(instance, "a heartbeat with the run", is_told).await;
        Checker(&document).check("Cluster", &cluster);
        let mut expected = BTreeMap::new();
        for (name, runs) in [("a", 1), ("b", 0), ("c", 0)] {
            expected.insert(name.to_owned(), json!(["live", name == instance.name(), runs, runs]));
        }
        assert_eq!(by_name(&cluster), expected);
        assert_eq!(
            cluster["totals"]["instances"],
            json!({"live": 3, "draining": 0, "lost": 0})
        );
        assert_eq!(
            cluster["totals"]["runs"],
            json!({"running": 1, "queued": 0, "waiting": 0})
        );
        let metrics = instance.client().unwrap().get("/metrics").await.text;
        for line in [
            "callboard_fleet_instances 3",
            "callboard_lease_held 1",
            "callboard_events_reach 1",
        ] {
            assert!(
                metrics.lines().any(|shown| shown == line),
                "{line} is not in\n{metrics}"
            );
        }
    }

    b.kill().await.unwrap();
    let cluster = told_by(&a, "the loss of b", |cluster| by_name(cluster)["b"][0] == "lost").await;
    assert_eq!(
        cluster["totals"]["instances"],
        json!({"live": 2, "draining": 0, "lost": 1})
    );
    // One that leaves as it should is not missed.
    c.leave().await.unwrap();
    let cluster = told_by(&a, "the absence of c", |cluster| !by_name(cluster).contains_key("c")).await;
    let shown: Value = serde_json::from_str(&command(&a, &["cluster", "--json"]).await).unwrap();
    Checker(&document).check("Cluster", &shown);
    assert_eq!(shown["totals"], cluster["totals"]);
    assert_eq!(by_name(&shown)["a"], json!(["live", false, 1, 1]));
    let printed = command(&a, &["cluster"]).await;
    for shown in ["lease over", "instances: 1 live, 1 lost; 1 of 200 permits in use\n"] {
        assert!(printed.contains(shown), "{shown} is not in\n{printed}");
    }
    client.cancel(&run).await;
    fleet.finish([a]).await;
}

/// The code of a refusal with 503, which says when to come back.
fn refused(reply: &crate::harness::Reply) -> String {
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.header("retry-after").is_some());
    reply.error_code().unwrap()
}

async fn until_not_ready_for(client: &Client, reason: &str) {
    until_some(reason, || async {
        let ready = client.get("/readyz").await;
        let reasons = ready.json()["reasons"].clone();
        let is_there = reasons.as_array().unwrap().contains(&json!(reason));
        (ready.status == 503 && is_there).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_has_lost_its_way_to_the_database_says_so_and_answers_in_time() {
    let fleet = TestFleet::new("[server]\ncancel_timeout = \"300ms\"\n").await;
    let postgres = address_of(&shared_postgres_url().unwrap()).unwrap();
    let proxy = Proxy::start(postgres).await.unwrap();
    let mut a = fleet.fleet.instance("a").unwrap();
    a.options_mut().database_url = through(fleet.database_url(), proxy.address()).unwrap();
    a.start().await.unwrap();
    let client = a.client().unwrap();
    let run = client.start_simulated(endless()).await;
    client.events(&run, None).await.unwrap().until("text.delta").await;

    proxy.set(Network::BlackHole);
    let code = refused(&client.cancel_raw(&run).await.unwrap());
    assert!(
        matches!(code.as_str(), "store_unavailable" | "cancel_unconfirmed"),
        "{code}"
    );
    until_not_ready_for(&client, "lease_lost").await;
    let start = client.try_start(&json!({"input": "Go."})).await;
    assert_eq!(refused(&start), "store_unavailable");
    let cluster = client.get("/api/v1/cluster").await;
    assert_eq!(refused(&cluster), "store_unavailable");
    let metrics = client.get("/metrics").await.text;
    assert!(metrics.contains("callboard_lease_held 0\n"), "{metrics}");
    let output = a.command(&["cluster"]).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    proxy.set(Network::Healthy);
    until_some("the way back", || async {
        (client.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let cluster = told_by(&a, "the new life", |cluster| {
        cluster["totals"]["instances"]["live"] == 1
    })
    .await;
    let answering = cluster["instances"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|instance| instance["answering"] == true);
    let answering: Vec<&Value> = answering.map(|instance| &instance["state"]).collect();
    assert_eq!(answering, ["live"], "{cluster}");
    until_some("the run to be cancelled", || async {
        (client.cancel_raw(&run).await.unwrap().status == 200).then_some(())
    })
    .await;
    assert_eq!(client.run(&run).await["state"], "cancelled");
    fleet.finish_after_errors([a]).await;
}
