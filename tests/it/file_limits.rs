//! Files belong to one account, and what an upload may be has limits, each with a refusal of its own.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;

use crate::documents::PNG;
use crate::files::parsing;
use crate::harness::{Client, Server, Site};

#[tokio::test]
async fn another_accounts_file_does_not_exist() {
    let site = Site::new("");
    let (acme_key, other_key) = (
        site.create_key("acme", "pro").await,
        site.create_key("other", "pro").await,
    );
    let server = site.start().await;
    let (acme, other) = (server.client_with(&acme_key), server.client_with(&other_key));
    let file = acme.upload("secret.png", PNG).await;
    let path = format!("/api/v1/files/{file}");
    for answer in [
        other.get(&path).await,
        other.get(&format!("{path}/content")).await,
        other.delete(&path).await,
        other.get("/api/v1/files/file_x").await,
    ] {
        answer.expect_error(404, "file_not_found");
    }
    assert!(other.all_of("/api/v1/files").await.is_empty());
    let picture = json!({"input": [{"role": "user", "content": [{"type": "image", "file_id": file}]}]});
    let refused = other.try_start(&picture).await.expect_error(400, "unknown_file");
    assert_eq!(refused["param"], "input[0].content[0].file_id");
    let (text, is_error) = other.parse(&json!({"file_id": file})).await;
    assert_eq!((text.as_str(), is_error), ("there is no file with this id", true));
    acme.get(&path).await.expect_status(200);
    let mine = acme.start_run(&picture).await;
    assert_eq!(acme.run_when_ended(&mine).await["state"], "completed");
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn pictures_that_no_model_can_be_shown_are_refused_before_the_run() {
    let settings = "[files]\nmax_image = \"1KB\"\nmax_images_per_call = \"3KB\"\nmax_image_count = 3\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let large = |seed: u8, bytes: usize| [PNG, &vec![seed; bytes]].concat();
    let text = client.upload("a.png", b"no picture").await;
    let too_large = client.upload("b.png", &large(1, 1000)).await;
    let (first, second) = (
        client.upload("c.png", &large(1, 900)).await,
        client.upload("d.png", &large(2, 900)).await,
    );
    let tiny = client.upload("e.png", PNG).await;
    let showing = |files: &[&str]| {
        let parts: Vec<_> = files
            .iter()
            .map(|file| json!({"type": "image", "file_id": file}))
            .collect();
        json!([{"role": "user", "content": "Look:"}, {"role": "user", "content": parts}])
    };
    let starting = |files: &[&str]| json!({"input": showing(files)});
    let made_up = format!("file_{}", "0".repeat(32));
    for (files, code, param) in [
        (vec![made_up.as_str()], "unknown_file", "[1].content[0].file_id"),
        (vec!["nonsense"], "unknown_file", "[1].content[0].file_id"),
        (vec![&first, &text], "invalid_image", "[1].content[1].file_id"),
        (vec![&too_large], "invalid_image", "[1].content[0].file_id"),
        (
            vec![&first, &second, &tiny, &first],
            "invalid_image",
            "[1].content[3].file_id",
        ),
        // The same one counts as often as it is sent: by its bytes, and as a picture.
        (vec![&first, &first, &first], "invalid_image", "[1].content[2].file_id"),
        (
            vec![&tiny, &tiny, &tiny, &tiny],
            "invalid_image",
            "[1].content[3].file_id",
        ),
    ] {
        let error = client.try_start(&starting(&files)).await.expect_error(400, code);
        assert_eq!(error["param"], format!("input{param}"));
        let thread = json!({"items": showing(&files)});
        let refused = client.post("/api/v1/threads", &thread).await;
        assert_eq!(refused.expect_error(400, code)["param"], format!("items{param}"));
    }
    for files in [[&first, &first, &tiny], [&first, &second, &tiny]] {
        let thread = json!({"items": showing(&files.map(String::as_str))});
        client.post("/api/v1/threads", &thread).await.expect_status(201);
    }
    let both =
        json!({"input": [{"role": "user", "content": [{"type": "image", "file_id": first, "url": "https://a.b/c"}]}]});
    client.try_start(&both).await.expect_error(400, "invalid_value");
    // Started once, it is the same run again, whatever became of the picture.
    let start = || {
        let request = client
            .request(Method::POST, "/api/v1/runs")
            .header("idempotency-key", "k");
        Client::send(request.json(&starting(&[&first])))
    };
    let run = start().await.unwrap().expect_status(201);
    client.run_when_ended(run["id"].as_str().unwrap()).await;
    let items = client.items(run["id"].as_str().unwrap()).await;
    assert_eq!(
        items[1]["content"],
        json!([{"type": "image", "file_id": first}]),
        "the id is kept"
    );
    let deleted = client.delete(&format!("/api/v1/files/{first}")).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(start().await.unwrap().expect_status(200)["id"], run["id"]);
    client
        .try_start(&starting(&[&first]))
        .await
        .expect_error(400, "unknown_file");
    server.finish().await;
}

#[tokio::test]
async fn each_limit_of_an_upload_has_its_refusal() {
    let settings = "[files]\nmax_file = \"10KB\"\nmax_files_per_account = 2\nmax_bytes_per_account = \"15KB\"\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let error = client
        .try_upload("a", &[1; 10_001])
        .await
        .expect_error(413, "file_too_large");
    assert_eq!(error["limit"], 10_000);
    client
        .try_upload("a", &[1; 200_000])
        .await
        .expect_error(413, "file_too_large");
    client.upload("a", &[1; 10_000]).await;
    let error = client
        .try_upload("b", &[2; 5_001])
        .await
        .expect_error(403, "file_quota_exceeded");
    assert_eq!((&error["bytes"], &error["max_bytes"]), (&json!(10_000), &json!(15_000)));
    let again = client.upload("the same", &[1; 10_000]).await;
    let error = client
        .try_upload("c", b"c")
        .await
        .expect_error(403, "file_quota_exceeded");
    assert_eq!((&error["files"], &error["max_files"]), (&json!(2), &json!(2)));
    let deleted = client.delete(&format!("/api/v1/files/{again}")).await;
    assert_eq!(deleted.status, 204);
    client.upload("c", b"c").await;
    assert_eq!(client.all_of("/api/v1/files").await.len(), 2);
    server.finish().await;
}

#[tokio::test]
async fn what_is_no_upload_says_what_is_wrong_with_it() {
    let server = Server::start("").await;
    let client = server.client();
    let file: (&str, Option<&str>, &[u8]) = ("file", Some("a.txt"), b"a");
    for (parts, code, param) in [
        (vec![("purpose", None, b"x".as_slice())], "missing_field", "file"),
        (vec![file, file], "duplicate_field", "file"),
        (vec![file, ("colour", None, b"red")], "unknown_field", "colour"),
        (vec![("file", None, b"a")], "invalid_value", "file"),
        (vec![file, ("purpose", None, b"a b")], "invalid_value", "purpose"),
    ] {
        let error = client.try_form(&parts).await.expect_error(400, code);
        assert_eq!(error["param"], param);
    }
    let post = |path: &str, content_type: &str, body: &'static str| {
        let request = client.request(Method::POST, path).header(CONTENT_TYPE, content_type);
        Client::send(request.body(body))
    };
    let form = "multipart/form-data; boundary=x";
    for (path, content_type, body, code) in [
        ("/api/v1/files", form, "--x\r\nnonsense", "invalid_multipart"),
        ("/api/v1/files", "multipart/form-data", "", "invalid_multipart"),
        ("/api/v1/files", "text/plain", "abc", "missing_field"),
        ("/api/v1/files?filename=", "text/plain", "abc", "invalid_parameter"),
        ("/api/v1/files?name=a", "text/plain", "abc", "unknown_parameter"),
    ] {
        post(path, content_type, body).await.unwrap().expect_error(400, code);
    }
    let raw = post(
        "/api/v1/files?filename=a%20b.csv&purpose=data",
        "text/csv; charset=utf-8",
        "a,b",
    )
    .await;
    let raw = raw.unwrap().expect_status(201);
    assert_eq!(
        (&raw["filename"], &raw["media_type"], &raw["purpose"]),
        (&json!("a b.csv"), &json!("text/csv"), &json!("data"))
    );
    assert_eq!(client.all_of("/api/v1/files").await.len(), 1, "nothing else was kept");
    let run = client.start_run(&parsing(&json!({"file_id": raw["id"]}))).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    server.finish().await;
}
