//! Files: what is uploaded is what comes back, to its owner and nobody else, within limits, and a model and its tools can see it.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server};

/// A form as browsers and other people's clients write it.
pub(crate) fn form(parts: &[(&str, Option<&str>, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "----callboard-test";
    let mut body = Vec::new();
    for (name, filename, bytes) in parts {
        let filename = filename
            .map(|filename| format!("; filename=\"{filename}\""))
            .unwrap_or_default();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"{filename}\r\nContent-Type: text/plain\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

impl Client {
    pub(crate) async fn try_upload(&self, filename: &str, bytes: &[u8]) -> Reply {
        self.try_form(&[("file", Some(filename), bytes)]).await
    }

    pub(crate) async fn try_form(&self, parts: &[(&str, Option<&str>, &[u8])]) -> Reply {
        let (content_type, body) = form(parts);
        let request = self.request(Method::POST, "/api/v1/files");
        Client::send(request.header(CONTENT_TYPE, content_type).body(body))
            .await
            .unwrap()
    }

    /// Uploads a file and gives its id.
    pub(crate) async fn upload(&self, filename: &str, bytes: &[u8]) -> String {
        let file = self.try_upload(filename, bytes).await.expect_status(201);
        file["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        Client::send(self.request(Method::DELETE, path)).await.unwrap()
    }

    /// What the tool `parse_file` says, in a run of its own: the text, and whether it is an error.
    pub(crate) async fn parse(&self, arguments: &Value) -> (String, bool) {
        let run = self.start_run(&parsing(arguments)).await;
        let ended = self.run_when_ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended}");
        let items = self.items(&run).await;
        let result = items.iter().find(|item| item["type"] == "tool_result").unwrap();
        let is_error = result["is_error"].as_bool().unwrap_or(false);
        (result["output"].as_str().unwrap().to_owned(), is_error)
    }
}

/// A run that calls `parse_file` once.
pub(crate) fn parsing(arguments: &Value) -> Value {
    json!({
        "input": "Read it.",
        "tools": ["parse_file"],
        "model_options": {"simulate": {"tool_calls": [{"name": "parse_file", "arguments": arguments}]}},
    })
}

#[tokio::test]
async fn an_upload_comes_back_as_it_was() {
    let server = Server::start("").await;
    let client = server.client();
    let bytes: Vec<u8> = (0..700_000u32).map(|number| (number % 251) as u8).collect();
    let file = client
        .try_form(&[("purpose", None, b"user_data"), ("file", Some("données.bin"), &bytes)])
        .await
        .expect_status(201);
    assert_eq!(file["filename"], "données.bin");
    assert_eq!(file["bytes"], bytes.len());
    assert_eq!(file["purpose"], "user_data");
    let id = file["id"].as_str().unwrap();
    assert!(id.starts_with("file_"), "{id}");
    let path = format!("/api/v1/files/{id}");
    assert_eq!(client.get(&path).await.expect_status(200), file);
    assert_eq!(client.all_of("/api/v1/files").await, std::slice::from_ref(&file));
    let content = client
        .request(Method::GET, &format!("{path}/content"))
        .send()
        .await
        .unwrap();
    assert_eq!(content.headers()["x-content-type-options"], "nosniff");
    assert_eq!(content.bytes().await.unwrap(), bytes);
    assert_eq!(client.delete(&path).await.status, 204);
    for path in [path.clone(), format!("{path}/content")] {
        client.get(&path).await.expect_error(404, "file_not_found");
    }
    client.delete(&path).await.expect_error(404, "file_not_found");
    assert!(client.all_of("/api/v1/files").await.is_empty());
    server.finish().await;
}

#[tokio::test]
async fn text_of_an_upload_reaches_the_model() {
    let server = Server::start("").await;
    let client = server.client();
    let file = client.upload("notes.md", b"# Notes\n\nBuy milk.\n").await;
    let (text, is_error) = client.parse(&json!({"file_id": file})).await;
    assert!(!is_error, "{text}");
    assert_eq!(text, "notes.md (text, 3 lines)\n\n# Notes\n\nBuy milk.\n");
    server.finish().await;
}
