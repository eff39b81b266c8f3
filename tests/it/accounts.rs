//! Rule 9: an id of another account answers 404, on every endpoint; and keys open what they should.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Site, run_to_end, until_some};

#[tokio::test]
async fn another_accounts_run_does_not_exist() {
    let site = Site::new("");
    let (acme_key, other_key) = (
        site.create_key("acme", "pro").await,
        site.create_key("other", "pro").await,
    );
    let server = site.start().await;
    let (acme, other) = (server.client_with(&acme_key), server.client_with(&other_key));
    let run = acme
        .start_simulated(json!({"fail": {"kind": "stall", "after_tokens": 1}}))
        .await;
    let made_up = format!("run_{}", "0".repeat(32));
    for id in [&run, &made_up] {
        let answers = [
            other.get(&format!("/api/v1/runs/{id}")).await,
            other.get(&format!("/api/v1/runs/{id}?wait=1")).await,
            other.get(&format!("/api/v1/runs/{id}/items")).await,
            other.get(&format!("/api/v1/runs/{id}/events")).await,
            other.get(&format!("/api/v1/runs/{id}/events?after=0")).await,
            other.post(&format!("/api/v1/runs/{id}/cancel"), &json!({})).await,
        ];
        for answer in answers {
            answer.expect_error(404, "run_not_found");
        }
    }
    assert!(other.all_of("/api/v1/runs").await.is_empty());
    assert_eq!(
        acme.run(&run).await["state"],
        "running",
        "a stranger's cancel did nothing"
    );
    let body = json!({"input": "Go."});
    let with_key = |client: &Client| {
        let request = client
            .request(Method::POST, "/api/v1/runs")
            .header("idempotency-key", "same");
        Client::send(request.json(&body))
    };
    let (mine, theirs) = (with_key(&acme).await.unwrap(), with_key(&other).await.unwrap());
    assert_ne!(
        mine.expect_status(201)["id"],
        theirs.expect_status(201)["id"],
        "keys are an account's own"
    );
    acme.cancel(&run).await;
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn missing_wrong_and_revoked_keys_are_refused() {
    let site = Site::new("[tiers.free]\nrequests_per_second = 0\n");
    let (good, gone) = (
        site.create_key("acme", "free").await,
        site.create_key("acme", "free").await,
    );
    let server = site.start().await;
    server
        .client()
        .get("/api/v1/runs")
        .await
        .expect_error(401, "missing_api_key");
    let wrong = server.client_with("ck_wrong").get("/api/v1/runs").await;
    wrong.expect_error(401, "invalid_api_key");
    assert!(wrong.header("www-authenticate").is_some());
    let revoked = server.client_with(&gone);
    revoked.get("/api/v1/runs").await.expect_status(200);
    let listed = run_to_end(site.path(), &["keys", "list"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        !listed.contains(&good) && !listed.contains(&gone),
        "secrets are shown once: {listed}"
    );
    let line = listed
        .lines()
        .find(|line| line.contains(&gone[gone.len() - 4..]))
        .unwrap();
    let key_id = line
        .split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .find(|word| word.starts_with("key_"))
        .unwrap();
    let revoking = run_to_end(site.path(), &["keys", "revoke", key_id]).await;
    assert!(revoking.status.success(), "{revoking:?}");
    until_some("the revoked key to stop working", || async {
        (revoked.get("/api/v1/runs").await.status == 401).then_some(())
    })
    .await;
    revoked.get("/api/v1/runs").await.expect_error(401, "revoked_api_key");
    let client = server.client_with(&good);
    client.get("/api/v1/runs").await.expect_status(200);
    server.finish_as(&client).await;
}

#[tokio::test]
async fn the_request_rate_of_a_tier_holds() {
    let site = Site::new("[tiers.free]\nrequests_per_second = 1\nburst = 5\n");
    let key = site.create_key("acme", "free").await;
    let server = site.start().await;
    let client = server.client_with(&key);
    let refused = until_some("a refusal", || async {
        let reply = client.get("/api/v1/runs").await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    refused.expect_error(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    server.leave().await;
}
