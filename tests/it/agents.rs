//! Stored agents: named, versioned, and pinned by the runs that are made of them.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server, TestFleet, until_some};
use crate::openapi::{Checker, document_of};
use crate::rig::Reply;

const AGENTS: &str = "/api/v1/agents";

fn helper() -> Value {
    json!({
        "name": "helper", "description": "helps", "instructions": "Help {{who}} in {{language}}.",
        "variables": {"who": {"description": "whom"}, "language": {"default": "English"}},
        "model": "simulated", "tools": ["now", {"type": "client", "name": "ask", "description": "", "parameters": {"type": "object"}}],
        "model_options": {"simulate": {"text": "Done."}}, "limits": {"max_steps": 4, "deadline_seconds": 60},
        "metadata": {"team": "support"}
    })
}

fn path_of(agent: &Value) -> String {
    format!("{AGENTS}/{}", agent["id"].as_str().unwrap())
}

async fn created(client: &Client, body: &Value) -> Value {
    client.post(AGENTS, body).await.expect_status(201)
}

async fn patch(client: &Client, agent: &Value, body: &Value) -> Reply {
    let request = client.request(Method::PATCH, &path_of(agent)).json(body);
    Client::send(request).await.unwrap()
}

async fn delete(client: &Client, agent: &Value) -> Reply {
    Client::send(client.request(Method::DELETE, &path_of(agent)))
        .await
        .unwrap()
}

fn names(agents: &[Value]) -> Vec<&str> {
    agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_agent_is_made_changed_read_listed_and_deleted() {
    let server = Server::start("").await;
    let client = server.client();
    let document = document_of(&client).await;
    let checker = Checker(&document);
    checker.check("AgentRequest", &helper());
    let reply = client.post(AGENTS, &helper()).await;
    let first = reply.expect_status(201);
    assert_eq!(reply.header("location"), Some(path_of(&first).as_str()));
    checker.check("Agent", &first);
    assert_eq!((&first["version"], &first["tools"]), (&json!(1), &helper()["tools"]));
    assert_eq!(client.get(&path_of(&first)).await.expect_status(200), first);

    // What is given takes the place of what is there, `null` takes it away, and all else stays.
    let change = json!({"name": "assistant", "limits": {"max_steps": null, "max_output_tokens": 9}, "tools": ["now"], "model": null});
    checker.check("AgentChange", &json!({"expected_version": 1, "tools": ["now"]}));
    let second = patch(&client, &first, &change).await.expect_status(200);
    checker.check("Agent", &second);
    assert_eq!((&second["version"], &second["name"]), (&json!(2), &json!("assistant")));
    assert_eq!(
        second["limits"],
        json!({"deadline_seconds": 60, "max_output_tokens": 9})
    );
    assert_eq!((&second["tools"], &second["model"]), (&json!(["now"]), &Value::Null));
    assert_eq!(second["instructions"], first["instructions"]);
    let nothing = patch(&client, &first, &json!({"tools": ["now"]}))
        .await
        .expect_status(200);
    assert_eq!(nothing, second, "what changes nothing makes no version");

    let versions = client.all_of(&format!("{}/versions", path_of(&first))).await;
    assert_eq!(versions, [second.clone(), first.clone()]);
    let old = client
        .get(&format!("{}?version=1", path_of(&first)))
        .await
        .expect_status(200);
    assert_eq!(old, first);
    let none = client.get(&format!("{}?version=3", path_of(&first))).await;
    none.expect_error(404, "agent_not_found");

    let other = created(&client, &json!({"name": "plain"})).await;
    checker.check("Agent", &other);
    assert_eq!(names(&client.all_of(AGENTS).await), ["plain", "assistant"]);
    let page = client.get(&format!("{AGENTS}?limit=1")).await.expect_status(200);
    checker.check("AgentPage", &page);
    assert_eq!(page["has_more"], true);
    let named = client.get(&format!("{AGENTS}?name=assistant")).await.expect_status(200);
    assert_eq!(named["data"], json!([second]));

    assert_eq!(delete(&client, &first).await.status, 204);
    delete(&client, &first).await.expect_error(404, "agent_not_found");
    client.get(&path_of(&first)).await.expect_error(404, "agent_not_found");
    patch(&client, &first, &json!({}))
        .await
        .expect_error(404, "agent_not_found");
    assert_eq!(names(&client.all_of(AGENTS).await), ["plain"]);
    server.finish().await;
}

#[tokio::test]
async fn a_run_is_made_of_the_version_that_its_agent_has_and_keeps_it() {
    let server = Server::start("").await;
    let client = server.client();
    let agent = created(&client, &helper()).await;
    let id = agent["id"].as_str().unwrap();
    let run = client
        .try_start(&json!({"agent": "helper", "variables": {"who": "{{language}}", "language": 3}, "input": "Go."}))
        .await
        .expect_status(201);
    assert_eq!(run["agent"], json!({"id": id, "version": 1}));
    assert_eq!(run["instructions"], "Help {{language}} in 3.");
    assert_eq!(
        (&run["tools"], &run["limits"]["max_steps"]),
        (&helper()["tools"], &json!(4))
    );
    assert_eq!(run["metadata"], json!({}), "the agent's is the agent's");
    let run = run["id"].as_str().unwrap();
    assert_eq!(client.run_when_ended(run).await["output"], "[simulated] Done.");

    // It counts at once, and what the run says goes before what the agent says.
    let change = json!({"instructions": "Do {{who}}.", "variables": {"language": null}});
    patch(&client, &agent, &change).await.expect_status(200);
    let own = json!({"agent": {"id": id}, "variables": {"who": true}, "input": "Go.", "tools": [], "limits": {"max_steps": 2}});
    let second = client.try_start(&own).await.expect_status(201);
    assert_eq!(second["agent"]["version"], 2);
    assert_eq!(
        (&second["instructions"], &second["tools"]),
        (&json!("Do true."), &json!([]))
    );
    let limits = &second["limits"];
    assert_eq!(
        (&limits["max_steps"], &limits["deadline_seconds"]),
        (&json!(2), &json!(60))
    );
    let old = json!({"agent": {"name": "helper", "version": 1}, "variables": {"who": "me"}, "input": "Go."});
    let third = client.try_start(&old).await.expect_status(201);
    assert_eq!(
        (&third["agent"]["version"], &third["instructions"]),
        (&json!(1), &json!("Help me in English."))
    );
    let said = json!({"agent": "helper", "instructions": "Sing.", "input": "Go."});
    assert_eq!(
        client.try_start(&said).await.expect_status(201)["instructions"],
        "Sing."
    );

    assert_eq!(delete(&client, &agent).await.status, 204);
    assert_eq!(client.run(run).await["agent"], json!({"id": id, "version": 1}));
    let gone = client.try_start(&old).await;
    assert_eq!(gone.expect_error(400, "unknown_agent")["param"], "agent");
    for run in client.all_of("/api/v1/runs").await {
        client.run_when_ended(run["id"].as_str().unwrap()).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn wrong_agents_are_refused_with_the_field_that_is_wrong() {
    let server = Server::start("").await;
    let client = server.client();
    let long = "x".repeat(70);
    let wrong: Vec<(Value, &str, &str)> = vec![
        (json!({}), "missing_field", "name"),
        (json!({"name": 3}), "invalid_type", "name"),
        (json!({"name": ""}), "invalid_value", "name"),
        (json!({"name": "a b"}), "invalid_value", "name"),
        (json!({"name": "-a"}), "invalid_value", "name"),
        (json!({"name": long}), "invalid_value", "name"),
        (json!({"name": "agt_x"}), "invalid_value", "name"),
        (json!({"name": "a", "colour": 1}), "unknown_field", "colour"),
        (json!({"name": "a", "input": "x"}), "unknown_field", "input"),
        (json!({"name": "a", "model": "gone"}), "unknown_model", "model"),
        (json!({"name": "a", "tools": ["gone"]}), "unknown_tool", "tools[0]"),
        (
            json!({"name": "a", "limits": {"max_steps": 0}}),
            "invalid_value",
            "limits.max_steps",
        ),
        (json!({"name": "a", "metadata": {"a": 1}}), "invalid_type", "metadata.a"),
        (json!({"name": "a", "variables": []}), "invalid_type", "variables"),
        (
            json!({"name": "a", "variables": {"1": {}}}),
            "invalid_value",
            "variables.1",
        ),
        (
            json!({"name": "a", "variables": {"b": {"must": true}}}),
            "unknown_field",
            "variables.b.must",
        ),
        (
            json!({"name": "a", "variables": {"b": {"default": []}}}),
            "invalid_type",
            "variables.b.default",
        ),
        (
            json!({"name": "a", "instructions": "{{c}}", "variables": {"b": {}}}),
            "invalid_value",
            "instructions",
        ),
        (
            json!({"name": "a", "model_options": {"simulate": {"tokens": "x"}}}),
            "invalid_model_option",
            "model_options.simulate.tokens",
        ),
    ];
    for (body, code, param) in &wrong {
        let error = client.post(AGENTS, body).await.expect_error(400, code);
        assert_eq!(error["param"], *param, "{body}");
    }
    assert_eq!(client.all_of(AGENTS).await, [Value::Null; 0]);

    let agent = created(&client, &helper()).await;
    let taken = client
        .post(AGENTS, &helper())
        .await
        .expect_error(409, "agent_name_taken");
    assert_eq!((&taken["param"], &taken["agent_id"]), (&json!("name"), &agent["id"]));
    for (body, code, param) in [
        (json!({"name": null}), "missing_field", "name"),
        (json!({"limits": 3}), "invalid_type", "limits"),
        (json!({"variables": {"who": null}}), "invalid_value", "instructions"),
        (json!({"expected_version": 0}), "invalid_value", "expected_version"),
        (json!({"version": 1}), "unknown_field", "version"),
        (json!([]), "invalid_type", ""),
    ] {
        let error = patch(&client, &agent, &body).await.expect_error(400, code);
        assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{body}");
    }
    let late = patch(&client, &agent, &json!({"expected_version": 2, "description": "x"})).await;
    let late = late.expect_error(409, "agent_version_conflict");
    assert_eq!(
        (&late["version"], &late["param"]),
        (&json!(1), &json!("expected_version"))
    );
    assert_eq!(client.get(&path_of(&agent)).await.expect_status(200), agent);
    let merge_patch = client
        .request(Method::PATCH, &path_of(&agent))
        .header("content-type", "application/merge-patch+json");
    let unchanged = Client::send(merge_patch.body("{}")).await.unwrap();
    assert_eq!(unchanged.expect_status(200), agent);
    let counting = json!({
        "name": "counting", "instructions": "{{times}} {{loud}}", "variables": {"times": {"default": 3}, "loud": {"default": true}}
    });
    let counting = created(&client, &counting).await;
    assert_eq!(counting["variables"]["times"]["default"], "3");
    Checker(&document_of(&client).await).check("Agent", &counting);
    let run = client.start_run(&json!({"agent": "counting", "input": "Go."})).await;
    assert_eq!(client.run_when_ended(&run).await["instructions"], "3 true");

    let wordy = json!({"name": "wordy", "instructions": "{{who}}".repeat(10_000), "variables": {"who": {}}});
    created(&client, &wordy).await;
    for (agent, variables, code, param) in [
        (json!("nobody"), json!({}), "unknown_agent", "agent"),
        (
            json!("agt_01a20970c5dd71cbbba32a24347add9d"),
            json!({}),
            "unknown_agent",
            "agent",
        ),
        (json!({"id": "x"}), json!({}), "unknown_agent", "agent.id"),
        (json!({}), json!({}), "invalid_value", "agent"),
        (
            json!({"id": agent["id"], "name": "helper"}),
            json!({}),
            "invalid_value",
            "agent",
        ),
        (
            json!({"name": "helper", "version": 7}),
            json!({"who": "me"}),
            "unknown_agent",
            "agent.version",
        ),
        (json!(3), json!({}), "invalid_type", "agent"),
        (json!("helper"), json!({}), "invalid_value", "variables.who"),
        (
            json!("helper"),
            json!({"who": "me", "whom": "me"}),
            "invalid_value",
            "variables.whom",
        ),
        (json!("helper"), json!({"who": []}), "invalid_type", "variables.who"),
        (
            json!("helper"),
            json!({"who": "x".repeat(200_000)}),
            "invalid_value",
            "variables.who",
        ),
        // Filled in they would have almost a gigabyte.
        (
            json!("wordy"),
            json!({"who": "x".repeat(90_000)}),
            "invalid_value",
            "variables",
        ),
        (Value::Null, json!({"who": "me"}), "invalid_value", "variables"),
    ] {
        let body = json!({"agent": agent, "variables": variables, "input": "Go."});
        let error = client.try_start(&body).await.expect_error(400, code);
        assert_eq!(error["param"], param, "{agent}");
    }
    server.finish().await;
}

#[tokio::test]
async fn what_an_agent_got_wrong_since_is_told_as_the_agents() {
    let server = Server::start("").await;
    let client = server.client();
    let agent = json!({"name": "helper", "tools": ["wait"], "model_options": {"simulate": {"text": "a"}}});
    created(&client, &agent).await;
    let site = server.leave().await.with_variable("CALLBOARD__TOOLS__ENABLED", "now");
    let server = site.start().await;
    let client = server.client();
    let error = client.try_start(&json!({"agent": "helper", "input": "Go."})).await;
    let error = error.expect_error(400, "unknown_tool");
    assert_eq!(error["param"], "agent");
    assert!(error["message"].as_str().unwrap().contains("`wait`"), "{error}");
    let own = json!({"agent": "helper", "input": "Go.", "tools": ["gone"]});
    assert_eq!(
        client.try_start(&own).await.expect_error(400, "unknown_tool")["param"],
        "tools[0]"
    );
    let run = client
        .start_run(&json!({"agent": "helper", "input": "Go.", "tools": ["now"]}))
        .await;
    assert_eq!(client.run_when_ended(&run).await["output"], "[simulated] a");
    server.finish().await;
}

#[tokio::test]
async fn agents_belong_to_their_account() {
    let server = Server::start("").await;
    let keys = [
        server.site.create_key("acme", "pro").await,
        server.site.create_key("other", "pro").await,
    ];
    let [acme, other] = keys.each_ref().map(|key| server.client_with(key));
    let agent = created(&acme, &json!({"name": "helper"})).await;
    other.get(&path_of(&agent)).await.expect_error(404, "agent_not_found");
    let versions = format!("{}/versions", path_of(&agent));
    other.get(&versions).await.expect_error(404, "agent_not_found");
    patch(&other, &agent, &json!({"description": "x"}))
        .await
        .expect_error(404, "agent_not_found");
    delete(&other, &agent).await.expect_error(404, "agent_not_found");
    for named in [&agent["id"], &json!("helper")] {
        let run = other.try_start(&json!({"agent": named, "input": "Go."})).await;
        run.expect_error(400, "unknown_agent");
    }
    created(&other, &json!({"name": "helper"})).await;
    assert_eq!(acme.all_of(AGENTS).await, [agent]);
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn changes_that_come_at_once_are_all_made_unless_they_say_what_they_have_seen() {
    let server = Server::start("").await;
    let client = server.client();
    let agent = created(&client, &json!({"name": "helper"})).await;
    let changes: Vec<Value> = (0..10).map(|at| json!({"metadata": {format!("k{at}"): "v"}})).collect();
    for reply in join_all(changes.iter().map(|change| patch(&client, &agent, change))).await {
        reply.expect_status(200);
    }
    let after = client.get(&path_of(&agent)).await.expect_status(200);
    assert_eq!(
        (&after["version"], after["metadata"].as_object().unwrap().len()),
        (&json!(11), 10)
    );
    let seen: Vec<Value> = (0..5)
        .map(|at| json!({"expected_version": 11, "description": format!("of {at}")}))
        .collect();
    let replies = join_all(seen.iter().map(|change| patch(&client, &agent, change))).await;
    let written: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(written.len(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!(reply.expect_error(409, "agent_version_conflict")["version"], 12);
    }
    server.finish().await;
}

#[tokio::test]
async fn an_instance_hears_of_what_another_one_changed() {
    let fleet = TestFleet::new("").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let [here, there] = [&a, &b].map(|instance| instance.client().unwrap());
    let agent = created(
        &here,
        &json!({"name": "helper", "model_options": {"simulate": {"text": "Done."}}}),
    )
    .await;
    let version = async || {
        let run = there.try_start(&json!({"agent": "helper", "input": "Go."})).await;
        if run.status == 400 {
            run.expect_error(400, "unknown_agent");
            return Value::Null;
        }
        let run = run.expect_status(201);
        there.run_when_ended(run["id"].as_str().unwrap()).await;
        run["agent"]["version"].clone()
    };
    assert_eq!(version().await, 1);
    for expected in 2..=4 {
        let change = json!({"description": format!("{expected}")});
        assert_eq!(
            patch(&here, &agent, &change).await.expect_status(200)["version"],
            expected
        );
        // A notice is faster than what is kept gets old; how much faster is nothing a test should ask.
        until_some("the change to be known", || async {
            (version().await == expected).then_some(())
        })
        .await;
    }
    assert_eq!(delete(&here, &agent).await.status, 204);
    until_some("the deletion to be known", || async {
        version().await.is_null().then_some(())
    })
    .await;
    fleet.finish([a, b]).await;
}
