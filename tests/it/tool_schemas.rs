//! Schemas that clients declare, and arguments that models make: whatever they are, the server goes on.

use serde_json::{Map, Value, json};

use crate::harness::{Client, Server};

fn tool(parameters: &Value) -> Value {
    json!({"type": "client", "name": "ask_user", "description": "Asks the user.", "parameters": parameters})
}

/// What the model is told of a call with these arguments, in a run that ends without anybody's answer.
async fn told(client: &Client, parameters: &Value, arguments: &Value) -> String {
    let calls = json!([{"name": "ask_user", "arguments": arguments}]);
    let run = client
        .start_run(&json!({
            "input": "Go.", "tools": [tool(parameters)],
            "model_options": {"simulate": {"tool_calls": calls, "text": "Done."}}
        }))
        .await;
    let ended = client.run_when_ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let items = client.items(&run).await;
    let result = items
        .iter()
        .find(|item| item["type"] == "tool_result")
        .expect("a result");
    assert_eq!(result["is_error"], true, "{result}");
    result["output"].as_str().expect("a text").to_owned()
}

/// Each refers to the next one twice: 2^40 ways.
fn doubling() -> Map<String, Value> {
    let mut kept = Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        kept.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    kept.insert("d40".to_owned(), json!({"type": "string"}));
    kept
}

#[tokio::test]
async fn no_schema_and_no_arguments_keep_the_server_busy() {
    let server = Server::start("").await;
    let client = server.client();
    let (first, defs) = (json!({"$ref": "#/$defs/d0"}), doubling());
    for schema in [
        json!({"dependencies": {"a": first}, "$defs": defs}),
        json!({"$ref": "#/elsewhere", "elsewhere": {"properties": {"a": first}}, "$defs": defs}),
        json!({"propertyNames": first, "$defs": defs}),
    ] {
        for argument in [json!(1), json!("text")] {
            let told = told(&client, &schema, &json!({"a": argument})).await;
            assert!(told.contains("too long to check"), "{schema}: {told}");
        }
    }
    let numbers = json!({"properties": {"x": {"items": {"type": "string"}}}});
    let told_of_many = told(&client, &numbers, &json!({"x": vec![0; 300_000]})).await;
    assert_eq!(told_of_many, "wrong arguments: /x/0: 0 is not of type \"string\"");
    let told_of_few = told(&client, &numbers, &json!({"x": vec![0; 7]})).await;
    assert_eq!(told_of_few.matches("is not of type").count(), 5, "{told_of_few}");
    server.finish().await;
}

#[tokio::test]
async fn schemas_whose_work_cannot_be_bounded_are_refused_with_the_reason() {
    let server = Server::start("").await;
    let client = server.client();
    let defs = doubling();
    for (schema, reason) in [
        (
            json!({"$ref": "https://example.com/schema.json"}),
            "pointer within the schema",
        ),
        (json!({"$ref": "#/nowhere"}), "leads to nothing"),
        (json!({"type": "string"}), "arguments are an object"),
        (
            json!({"$ref": "#/x", "x": {"not": {"$dynamicRef": "#/x"}}}),
            "$dynamicRef",
        ),
        (
            json!({"$ref": "#/$defs/d0", "unevaluatedProperties": false, "$defs": defs}),
            "too much to look at",
        ),
    ] {
        let reply = client
            .try_start(&json!({"input": "Go.", "tools": [tool(&schema)]}))
            .await;
        let error = reply.expect_error(400, "invalid_value");
        assert_eq!(error["param"], "tools[0].parameters", "{schema}");
        assert!(
            error["message"].as_str().is_some_and(|told| told.contains(reason)),
            "{error}"
        );
    }
    server.finish().await;
}
