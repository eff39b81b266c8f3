//! What accounts have used: over HTTP for the account, on the command line for the operator.

use serde_json::{Value, json};

use crate::harness::{Server, run_to_end, until_some};
use crate::openapi::{Checker, document_of};

const USAGE: &str = "/api/v1/usage";

#[tokio::test]
async fn an_account_sees_what_its_runs_have_used_and_the_operator_sees_all() {
    let server = Server::start("").await;
    let acme = server.client_with(&server.site.create_key("acme", "pro").await);
    let zeta = server.client_with(&server.site.create_key("zeta", "pro").await);
    until_some("the keys to count", || async {
        (acme.get(USAGE).await.status == 200 && zeta.get(USAGE).await.status == 200).then_some(())
    })
    .await;
    let mut expected = 0;
    for _ in 0..2 {
        let run = acme.start_simulated(json!({"tokens": 5})).await;
        let run = acme.run_when_ended(&run).await;
        assert_eq!(run["state"], "completed");
        expected += run["usage"]["output_tokens"].as_u64().unwrap();
    }

    // It was durable with the end of the run: nothing is waited for.
    let usage = acme.get(USAGE).await.expect_status(200);
    Checker(&document_of(&acme).await).check("AccountUsage", &usage);
    assert_eq!(
        (&usage["object"], &usage["group_by"]),
        (&json!("usage"), &json!(["day", "model"]))
    );
    let entries = usage["data"].as_array().unwrap();
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry["calls"].as_u64().unwrap())
            .sum::<u64>(),
        2
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry["model"] == "simulated" && entry["day"].is_string())
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.get("provider").is_none() && entry.get("account").is_none())
    );
    let total = &usage["total"];
    assert_eq!(
        (&total["calls"], &total["usage"]["output_tokens"]),
        (&json!(2), &json!(expected))
    );
    let by_provider = acme.get(&format!("{USAGE}?group_by=provider")).await.expect_status(200);
    assert_eq!(by_provider["data"].as_array().unwrap().len(), 1);
    assert_eq!(by_provider["data"][0]["calls"], 2);
    assert_eq!(by_provider["total"], *total);
    let before = acme
        .get(&format!("{USAGE}?from=2020-01-01&to=2020-12-31"))
        .await
        .expect_status(200);
    assert_eq!((&before["data"], &before["total"]["calls"]), (&json!([]), &json!(0)));

    // Others do not see it.
    assert_eq!(zeta.get(USAGE).await.expect_status(200)["data"], json!([]));
    server.client().get(USAGE).await.expect_error(401, "missing_api_key");

    for (query, param) in [
        ("from=tomorrow", "from"),
        ("from=2020-01-01&to=2022-01-01", "from"),
        ("to=2020-02-30", "to"),
        ("group_by=account", "group_by"),
        ("group_by=day,day", "group_by"),
    ] {
        let refused = acme.get(&format!("{USAGE}?{query}")).await;
        assert_eq!(
            refused.expect_error(400, "invalid_parameter")["param"],
            param,
            "{query}"
        );
    }
    acme.get(&format!("{USAGE}?account=zeta"))
        .await
        .expect_error(400, "unknown_parameter");

    let said = run_to_end(server.site.path(), &["usage", "--json"]).await;
    assert!(said.status.success(), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["total"], *total);
    assert_eq!(said["data"][0]["account"], "acme");
    let said = run_to_end(server.site.path(), &["usage"]).await;
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("acme · simulated"),
        "{said:?}"
    );
    let said = run_to_end(server.site.path(), &["usage", "--account", "zeta"]).await;
    assert!(
        String::from_utf8_lossy(&said.stdout).starts_with("No model was called"),
        "{said:?}"
    );
    server.finish_as(&acme).await;
}
