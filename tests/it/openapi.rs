//! `/openapi.json` says what the server really does: every path answers, and real answers fit the schemas, with no key that the
//! document does not know.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server};

/// What does not fit, with where it is.
type Misfit = String;

/// Checks a value against a schema of the document: the subset of JSON Schema that the document uses.
pub(crate) struct Checker<'a>(pub(crate) &'a Value);

impl<'a> Checker<'a> {
    pub(crate) fn check(&self, schema_name: &str, value: &Value) {
        let schema = json!({"$ref": format!("#/components/schemas/{schema_name}")});
        if let Err(misfit) = self.fits(&schema, value, schema_name) {
            panic!("{misfit}\nin {value}");
        }
    }

    /// The check itself is worth something: it refuses this value with a key more, a key less, or a key of another type.
    fn refuses_changes_of(&self, schema_name: &str, value: &Value) {
        let schema = json!({"$ref": format!("#/components/schemas/{schema_name}")});
        let changes: [fn(&mut Value); 4] = [
            |run| run["surprise"] = json!(1),
            |run| run["links"]["surprise"] = json!(1),
            |run| drop(run.as_object_mut().unwrap().remove("state")),
            |run| run["usage"] = json!("much"),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = value.clone();
            change(&mut changed);
            assert!(self.fits(&schema, &changed, schema_name).is_err(), "change {index}");
        }
    }

    fn resolved<'b>(&self, schema: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        match schema["$ref"].as_str() {
            Some(reference) => self
                .0
                .pointer(reference.trim_start_matches('#'))
                .expect("a reference leads somewhere"),
            None => schema,
        }
    }

    fn fits(&self, schema: &Value, value: &Value, place: &str) -> Result<(), Misfit> {
        let schema = self.resolved(schema);
        if schema.get("oneOf").is_some() || schema.get("allOf").is_some() || schema.get("properties").is_some() {
            let known = self.known_keys(schema, value, place)?;
            let Some(object) = value.as_object() else {
                return Ok(());
            };
            if known.is_empty() {
                return Ok(());
            }
            return match object.keys().find(|key| !known.contains(key)) {
                Some(key) => Err(format!("{place}.{key} is not in the document")),
                None => Ok(()),
            };
        }
        self.plain_fits(schema, value, place)
    }

    /// The keys that the schema knows for this value, which fits so far.
    fn known_keys(&self, schema: &Value, value: &Value, place: &str) -> Result<Vec<String>, Misfit> {
        let schema = self.resolved(schema);
        if let Some(parts) = schema["allOf"].as_array() {
            let keys: Result<Vec<_>, _> = parts.iter().map(|part| self.known_keys(part, value, place)).collect();
            return Ok(keys?.concat());
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let tried: Vec<_> = choices
                .iter()
                .map(|choice| self.known_keys(choice, value, place))
                .collect();
            let misfits: Vec<&Misfit> = tried.iter().filter_map(|tried| tried.as_ref().err()).collect();
            let problem = format!("{place} fits none of: {misfits:?}");
            return tried.into_iter().find_map(Result::ok).ok_or(problem);
        }
        self.plain_fits(schema, value, place)?;
        let Some(properties) = schema["properties"].as_object() else {
            return Ok(Vec::new());
        };
        for required in schema["required"].as_array().into_iter().flatten() {
            let key = required.as_str().unwrap();
            if value.get(key).is_none() {
                return Err(format!("{place}.{key} is missing"));
            }
        }
        for (key, property) in properties {
            if let Some(value) = value.get(key) {
                self.fits(property, value, &format!("{place}.{key}"))?;
            }
        }
        Ok(properties.keys().cloned().collect())
    }

    fn plain_fits(&self, schema: &Value, value: &Value, place: &str) -> Result<(), Misfit> {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let allows = |name: &str| name == kind || (name == "number" && kind == "integer");
        let type_fits = match &schema["type"] {
            Value::String(name) => allows(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(allows),
            _ => true,
        };
        if !type_fits {
            return Err(format!("{place} is a {kind}, not {}", schema["type"]));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            return Err(format!("{place} is {value}, not one of {}", schema["enum"]));
        }
        for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
            self.fits(&schema["items"], entry, &format!("{place}[{index}]"))?;
        }
        if let (Some(entries), Some(schema)) = (value.as_object(), schema.get("additionalProperties")) {
            for (key, entry) in entries {
                self.fits(schema, entry, &format!("{place}.{key}"))?;
            }
        }
        Ok(())
    }
}

pub(crate) async fn document_of(client: &Client) -> Value {
    client.get("/openapi.json").await.expect_status(200)
}

#[tokio::test]
async fn every_path_of_the_document_answers() {
    let server = Server::start("").await;
    let client = server.client();
    let document = document_of(&client).await;
    let run = client.start_simulated(json!({"tokens": 2})).await;
    client.run_when_ended(&run).await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            // Each of its own: some are deleted.
            let made = match path.split('/').nth(3) {
                Some("agents") => {
                    let name = operation["operationId"].as_str().unwrap();
                    Some(client.post("/api/v1/agents", &json!({"name": name})).await)
                }
                Some("threads") => Some(client.post("/api/v1/threads", &json!({})).await),
                _ => None,
            };
            let id = match made {
                Some(made) => made.expect_status(201)["id"].as_str().unwrap().to_owned(),
                None if path.starts_with("/api/v1/files/") => client.upload("a.txt", b"a").await,
                None => run.clone(),
            };
            let request = client.request(method.clone(), &path.replace("{id}", &id));
            let reply = Client::send(request).await.unwrap();
            let status = reply.status.as_u16();
            assert!(!matches!(status, 404 | 405), "{method} {path}: {}", reply.text);
            // A run needs a body; all else is content with nothing.
            let is_known = operation["responses"].get(status.to_string()).is_some();
            assert!(
                is_known,
                "{method} {path} answers {status}, which the document does not know"
            );
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn real_answers_fit_the_document() {
    let server = Server::start("").await;
    let client = server.client();
    let document = document_of(&client).await;
    let checker = Checker(&document);
    let request = json!({
        "input": [
            {"role": "user", "content": "Go."},
            {"type": "tool_call", "call_id": "a", "name": "now", "arguments": "{}"},
            {"type": "tool_result", "call_id": "a", "output": "x", "is_error": true},
            {"type": "message", "role": "user", "content": [{"type": "text", "text": "On."}]}
        ],
        "instructions": "Be brief.", "tools": ["now", "echo"], "metadata": {"ticket": "1"}, "on_limit": "queue",
        "limits": {"max_steps": 5, "max_output_tokens": 1000, "deadline_seconds": 60}, "stream": false,
        "model_options": {"simulate": {
            "tokens": 8, "reasoning_tokens": 4, "tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "a"}}],
            "fail": {"kind": "break", "after_tokens": 3, "attempts": 1}
        }}
    });
    checker.check("RunRequest", &request);
    let created = client.try_start(&request).await.expect_status(201);
    checker.check("Run", &created);
    checker.refuses_changes_of("Run", &created);
    let completed = created["id"].as_str().unwrap().to_owned();
    checker.check("Run", &client.run_when_ended(&completed).await);
    let failing = json!({"fail": {"kind": "status", "status": 400}});
    let failed = client.start_simulated(failing).await;
    checker.check("Run", &client.run_when_ended(&failed).await);
    let stalled = client.start_simulated(json!({"first_token_ms": 600_000})).await;
    checker.check("Run", &client.cancel(&stalled).await);

    let asked = json!({"metadata": {"topic": "x"}, "items": [{"role": "user", "content": "Hello."}]});
    checker.check("ThreadRequest", &asked);
    let thread = client.post("/api/v1/threads", &asked).await.expect_status(201);
    checker.check("Thread", &thread);
    let thread = thread["id"].as_str().unwrap();
    let asked =
        json!({"input": "Go.", "on_busy": "queue", "history": {"policy": "drop_oldest_turns", "max_tokens": 1}});
    checker.check("ThreadRunRequest", &asked);
    let path = format!("/api/v1/threads/{thread}/runs");
    let in_thread = client.post(&path, &asked).await.expect_status(201);
    checker.check("Run", &in_thread);
    assert_eq!(in_thread["history"], asked["history"]);
    assert_eq!(created.get("history"), None);
    let in_thread = in_thread["id"].as_str().unwrap().to_owned();
    client.run_when_ended(&in_thread).await;
    let items = client.get(&format!("/api/v1/threads/{thread}/items")).await;
    checker.check("ThreadItemPage", &items.expect_status(200));

    for run in [&completed, &failed, &stalled, &in_thread] {
        let events = client
            .request(Method::GET, &format!("/api/v1/runs/{run}/events?limit=500"))
            .header("accept", "application/json");
        checker.check("EventPage", &Client::send(events).await.unwrap().expect_status(200));
        checker.check(
            "ItemPage",
            &client
                .get(&format!("/api/v1/runs/{run}/items"))
                .await
                .expect_status(200),
        );
    }
    for (path, status, schema) in [
        ("/api/v1/runs?limit=2", 200, "RunPage"),
        ("/api/v1/threads", 200, "ThreadPage"),
        ("/api/v1/models", 200, "Models"),
        ("/api/v1/models/keys", 200, "ModelKeys"),
        ("/api/v1/budget", 200, "Budget"),
        ("/api/v1/capacity", 200, "Capacity"),
        ("/api/v1/cluster", 200, "Cluster"),
        ("/api/v1/usage?group_by=day,model,provider", 200, "AccountUsage"),
        ("/healthz", 200, "Health"),
        ("/readyz", 200, "ReadinessAnswer"),
        ("/api/v1/runs?limit=x", 400, "ErrorAnswer"),
        ("/api/v1/runs/x", 404, "ErrorAnswer"),
    ] {
        checker.check(schema, &client.get(path).await.expect_status(status));
    }
    let file = client.try_upload("a.txt", b"a").await.expect_status(201);
    checker.check("File", &file);
    assert_eq!(file["object"], "file");
    checker.check("FilePage", &client.get("/api/v1/files").await.expect_status(200));
    let unknown_model = client.try_start(&json!({"input": "a", "model": "x"})).await;
    checker.check("ErrorAnswer", &unknown_model.expect_status(400));
    server.finish().await;
}

#[tokio::test]
async fn the_page_needs_no_key_and_nothing_from_elsewhere() {
    let server = Server::start("").await;
    let key = server.site.create_key("acme", "pro").await;
    let stranger = server.client();
    // The client follows the redirects.
    let pages = [
        stranger.get("/").await,
        stranger.get("/docs").await,
        stranger.get("/docs/").await,
    ];
    for page in pages {
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        assert!(
            page.header("content-security-policy")
                .unwrap()
                .contains("default-src 'self'")
        );
        assert!(!page.text.contains("://"), "{}", page.text);
        for part in page
            .text
            .split('"')
            .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
        {
            let file = stranger.get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
            assert_eq!(file.status, 200, "{part}");
            assert!(!file.text.is_empty());
        }
    }
    let settings = stranger.get("/docs/swagger-initializer.js").await.text;
    assert!(settings.contains("\"url\": \"/openapi.json\""), "{settings}");
    assert!(settings.contains("\"validatorUrl\": \"none\""), "{settings}");
    let scheme = &document_of(&stranger).await["components"]["securitySchemes"]["api_key"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
    stranger.get("/docs/nothing.js").await.expect_error(404, "not_found");
    stranger
        .post("/docs/", &json!({}))
        .await
        .expect_error(405, "method_not_allowed");
    let client = server.client_with(&key);
    server.finish_as(&client).await;
}
