//! Tools that reach out over HTTP, from the posted run to the server that is asked.

use serde_json::{Value, json};

use crate::harness::{Client, Site, until_some};
use crate::openapi::{Checker, document_of};
use crate::web_server::{Reply, WebServer, reply};

/// A configuration that may ask this server, and send it the secrets.
fn settings(server: &WebServer, more: &str) -> String {
    let (address, port) = (server.address, server.address.port());
    format!(
        "[outbound]\nallow = [\"127.0.0.1/32:{port}\"]\n\
         [secrets.TOKEN]\nenv = \"TOOL_TOKEN\"\nhosts = [\"http://{address}\"]\n\
         [secrets.THEIRS]\nenv = \"TOOL_TOKEN\"\nhosts = [\"http://{address}\"]\naccounts = [\"somebody_else\"]\n{more}\n"
    )
}

fn site(server: &WebServer, more: &str) -> Site {
    // Nobody listens there: whatever went through a proxy would fail.
    Site::new(&settings(server, more))
        .with_variable("TOOL_TOKEN", "hidden-token-of-the-test")
        .with_variable("http_proxy", "http://127.0.0.1:1")
        .with_variable("ALL_PROXY", "http://127.0.0.1:1")
}

fn http_tool(url: &str, more: Value) -> Value {
    let mut tool = json!({
        "type": "http", "name": "endpoint", "description": "Asks.", "url": url,
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    });
    tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tool
}

fn calling(tools: Value, calls: Value) -> Value {
    json!({"input": "Go.", "tools": tools, "model_options": {"simulate": {"tool_calls": calls, "text": "Done."}}})
}

/// What the run's tool calls brought, by place: the output, and whether it is an error.
async fn results(client: &Client, run: &str) -> Vec<(String, bool)> {
    let items = client.items(run).await;
    let results = items.iter().filter(|item| item["type"] == "tool_result");
    let result = |item: &Value| (item["output"].as_str().unwrap().to_owned(), item["is_error"] == true);
    results.map(result).collect()
}

async fn results_of(client: &Client, body: &Value) -> Vec<(String, bool)> {
    let run = client.start_run(body).await;
    let ended = client.run_when_ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    results(client, &run).await
}

#[tokio::test]
async fn a_declared_endpoint_is_asked_and_its_secret_stays_with_the_server() {
    let endpoint = WebServer::start(|request| {
        let token = request.header("authorization").unwrap_or_default();
        reply(
            "200 OK",
            &[("content-type", "application/json")],
            json!({"data": {"seen": token}}).to_string(),
        )
    })
    .await;
    let server = site(&endpoint, "").start().await;
    let client = server.client();
    let tool = http_tool(
        &endpoint.url("/items/{{id}}"),
        json!({"method": "GET", "headers": {"Authorization": "Bearer {{secret:TOKEN}}"}, "response_pointer": "/data/seen", "retry": "safe"}),
    );
    let body = calling(
        json!([tool]),
        json!([{"name": "endpoint", "arguments": {"id": 7}}, {"name": "endpoint", "arguments": {"id": "x"}}]),
    );
    let run = client.start_run(&body).await;
    let ended = client.run_when_ended(&run).await;
    Checker(&document_of(&client).await).check("Run", &ended);
    let results = results(&client, &run).await;
    let shown = results.iter().find(|(_, is_error)| !is_error).expect("one call fits");
    assert_eq!(shown.0, "Bearer [secret]");
    assert!(
        results
            .iter()
            .any(|(output, is_error)| *is_error && output.contains("wrong arguments: /id"))
    );
    let received = endpoint.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].line, "GET /items/7");
    assert_eq!(
        received[0].header("authorization"),
        Some("Bearer hidden-token-of-the-test")
    );
    assert!(
        received[0]
            .header("idempotency-key")
            .is_some_and(|key| key.starts_with(&format!("{run}/item_")))
    );
    let metrics = client.get("/metrics").await.text;
    assert!(
        metrics.contains("callboard_tool_calls_total{tool=\"http\",outcome=\"ok\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("callboard_tool_call_seconds_count{tool=\"http\"}"));
    // Neither the client nor anybody who reads what is kept or logged sees the secret.
    let events = client.events(&run, None).await.expect("a stream").rest().await;
    assert!(
        events
            .iter()
            .all(|event| !event.data.to_string().contains("hidden-token"))
    );
    let printed = server.finish_after_panics(&client).await;
    assert!(!printed.contains("hidden-token"));
}

#[tokio::test]
async fn what_is_wrong_with_a_declared_endpoint_is_told_by_field() {
    let endpoint = WebServer::start(|_| reply("200 OK", &[], "")).await;
    let server = site(&endpoint, "").start().await;
    let client = server.client();
    let good = endpoint.url("/");
    for (url, more, param) in [
        ("http://127.0.0.1:9/", json!({}), "tools[0].url"),
        ("http://2130706433/", json!({}), "tools[0].url"),
        (
            "http://[::ffff:169.254.169.254]/latest/meta-data",
            json!({}),
            "tools[0].url",
        ),
        ("file:///etc/passwd", json!({}), "tools[0].url"),
        ("https://{{id}}.example.com/", json!({}), "tools[0].url"),
        ("https://example.com/{{name}}", json!({}), "tools[0].url"),
        (&good, json!({"parameters": {"type": 7}}), "tools[0].parameters"),
        (&good, json!({"method": "TRACE"}), "tools[0].method"),
        (&good, json!({"headers": {"Host": "x"}}), "tools[0].headers.Host"),
        (
            &good,
            json!({"headers": {"X-Key": "{{secret:NONE}}"}}),
            "tools[0].headers.X-Key",
        ),
        (
            &good,
            json!({"headers": {"X-Key": "{{secret:THEIRS}}"}}),
            "tools[0].headers.X-Key",
        ),
        (
            "https://example.com/",
            json!({"headers": {"X-Key": "{{secret:TOKEN}}"}}),
            "tools[0].headers.X-Key",
        ),
        (
            "https://example.com/",
            json!({"signing_secret": "TOKEN"}),
            "tools[0].signing_secret",
        ),
        (&good, json!({"method": "GET", "body": {}}), "tools[0].body"),
        (&good, json!({"response_pointer": "x"}), "tools[0].response_pointer"),
        (&good, json!({"timeout_seconds": 31}), "tools[0].timeout_seconds"),
        (&good, json!({"retry": "always"}), "tools[0].retry"),
        (&good, json!({"surprise": 1}), "tools[0].surprise"),
    ] {
        let reply = client
            .try_start(&calling(json!([http_tool(url, more.clone())]), json!([])))
            .await;
        let code = if more["surprise"].is_null() {
            "invalid_value"
        } else {
            "unknown_field"
        };
        let error = reply.expect_error(400, code);
        assert_eq!(error["param"], param, "{url} {more}: {error}");
    }
    assert_eq!(endpoint.received().len(), 0);
    server.finish().await;
}

/// Lets a run call an endpoint that never answers, kills the server and starts it again; gives the keys that the endpoint saw by the time
/// that `until` is so.
async fn killed_during_a_call(retry: &str, until: impl AsyncFn(&Client, &str, &WebServer) -> bool) -> Vec<String> {
    let endpoint = WebServer::start(|_| Reply::Silence).await;
    let site = site(&endpoint, "[tools]\ntimeout = \"10m\"");
    let server = site.with_variable("CALLBOARD__OUTBOUND__TIMEOUT", "10m").start().await;
    let tool = http_tool(&endpoint.url("/pay"), json!({"retry": retry}));
    let body = calling(json!([tool]), json!([{"name": "endpoint", "arguments": {"id": 1}}]));
    let run = server.client().start_run(&body).await;
    let client = server.client();
    until_some("the endpoint to be asked", || async {
        client.run(&run).await;
        (endpoint.received().len() == 1).then_some(())
    })
    .await;
    let server = server.kill().await.start().await;
    let client = server.client();
    until_some("the run to go on", || async {
        until(&client, &run, &endpoint).await.then_some(())
    })
    .await;
    client.cancel(&run).await;
    let received = endpoint.received();
    server.finish().await;
    let key = |name: &str| {
        received
            .iter()
            .map(|request| request.header(name).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    key("idempotency-key")
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_made_again_with_the_same_key_or_not_at_all() {
    let keys = killed_during_a_call("idempotent", async |client, run, endpoint| {
        client.run(run).await;
        endpoint.received().len() == 2
    })
    .await;
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);

    let keys = killed_during_a_call("unsafe", async |client, run, endpoint| {
        let view = client.run(run).await;
        if view["waiting"] == "needs_review" && endpoint.received().len() == 1 {
            let metrics = client.get("/metrics").await.text;
            let counted = "callboard_runs_waiting_total{reason=\"needs_review\"} 1\n";
            assert!(metrics.contains(counted), "{metrics}");
            // Only a person sends it again.
            let call = &view["waiting_calls"][0]["call_id"];
            let reviews = json!({"reviews": [{"call_id": call, "action": "retry"}]});
            client
                .post(&format!("/api/v1/runs/{run}/review"), &reviews)
                .await
                .expect_status(200);
        }
        endpoint.received().len() == 2
    })
    .await;
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_call_waits_for_its_place_within_its_time() {
    let endpoint = WebServer::start(|_| Reply::Silence).await;
    let server = site(&endpoint, "").start().await;
    let client = server.client();
    let tool = http_tool(&endpoint.url("/"), json!({"max_concurrent": 1, "timeout_seconds": 1}));
    let call = json!({"name": "endpoint", "arguments": {"id": 1}});
    let mut told = results_of(&client, &calling(json!([tool]), json!([call, call]))).await;
    told.sort();
    let expected = [
        "the server at this address did not answer within 1s; it is not known whether the call was done",
        "the tool did not answer within 1s; it is not known whether the call was done",
        "the tool was busy with other calls for 1s; this call was not made",
    ];
    assert!(
        told.iter()
            .all(|(output, is_error)| *is_error && expected.contains(&output.as_str())),
        "{told:?}"
    );
    // Whether the second one gets its place in its last moment the machine says. (That a call without a place is not made is tried where
    // time stands still.)
    let made = told.iter().filter(|(output, _)| output != expected[2]).count();
    assert!((1..=made).contains(&endpoint.received().len()), "{told:?}");
    server.finish().await;
}

#[tokio::test]
async fn the_servers_own_tools_work_once_they_are_configured() {
    let endpoint = WebServer::start(|request| match request.line.as_str() {
        "POST /search" => reply(
            "200 OK",
            &[],
            r#"{"hits": [{"title": "T", "url": "https://x.example/", "snippet": "S"}]}"#,
        ),
        _ => reply("200 OK", &[("content-type", "text/html")], "<title>Page</title><p>text"),
    })
    .await;
    let more = format!(
        "[tools]\nenabled = [\"calculator\", \"fetch_url\", \"search\", \"sql_query\"]\n\
         [tools.limits.fetch_url]\nmax_concurrent = 1\n\
         [tools.search]\nurl = \"{}\"\nmethod = \"POST\"\nbody = {{ q = \"{{{{query}}}}\" }}\nresults = \"/hits\"\n\
         headers = {{ X-Token = \"{{{{secret:TOKEN}}}}\" }}\n\
         [tools.databases.shop]\nsqlite_path = \"./shop.db\"",
        endpoint.url("/search")
    );
    let site = site(&endpoint, &more);
    let shop = rusqlite::Connection::open(site.path().join("shop.db")).unwrap();
    shop.execute_batch("CREATE TABLE goods (name TEXT); INSERT INTO goods VALUES ('pen')")
        .unwrap();
    drop(shop);
    let server = site.start().await;
    let client = server.client();
    let tools = json!(["calculator", "fetch_url", "search", "sql_query"]);
    let calls = json!([
        {"name": "calculator", "arguments": {"expression": "2^10"}},
        {"name": "fetch_url", "arguments": {"url": endpoint.url("/page")}},
        {"name": "fetch_url", "arguments": {"url": "http://169.254.169.254/latest/meta-data/"}},
        {"name": "search", "arguments": {"queries": ["a", "b"]}},
        {"name": "sql_query", "arguments": {"queries": ["SELECT name FROM goods", "DELETE FROM goods"]}},
    ]);
    let told = results_of(&client, &calling(tools, calls)).await;
    let found = json!([
        {"query": "a", "results": [{"title": "T", "url": "https://x.example/", "snippet": "S"}]},
        {"query": "b", "results": [{"title": "T", "url": "https://x.example/", "snippet": "S"}]},
    ]);
    let rows = json!([
        {"columns": ["name"], "rows": [["pen"]]},
        {"error": "only statements that read are allowed"},
    ]);
    let as_json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    for (what, is_there) in [
        ("the power", told.contains(&("1024".to_owned(), false))),
        ("the page", told.contains(&("# Page\n\ntext".to_owned(), false))),
        (
            "the refusal",
            told.contains(&("this address cannot be reached from here".to_owned(), true)),
        ),
        (
            "what was found",
            told.iter().any(|(output, _)| as_json(output) == found),
        ),
        ("the rows", told.iter().any(|(output, _)| as_json(output) == rows)),
    ] {
        assert!(is_there, "{what}: {told:?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_found_at_the_start() {
    let settings = "[secrets.A]\nenv = \"NOT_SET_ANYWHERE\"\nhosts = [\"a.example\"]\n[secrets.B]\nfile = \"./none\"\nhosts = [\"b.example\"]\n";
    let site = Site::new(settings);
    for arguments in [&["config", "check"][..], &["serve"]] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("secrets.A") && told.contains("NOT_SET_ANYWHERE") && told.contains("secrets.B"),
            "{told}"
        );
    }
}
