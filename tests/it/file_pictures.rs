//! Pictures in files: the model sees the picture, what is stored has its id, and a file that is gone breaks nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use callboard::files::FileFacts;
use callboard_actors::ids::{AccountId, FileId, RunId};
use callboard_actors::item::{ContentPart, ImageSource, Item, ItemContent, ItemStatus, Role};
use callboard_actors::llm::{
    CallFailure, CallListener, CallSettings, CallWish, ModelProgress, ModelTimeouts, Pictures, make_call,
};
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::rate_limits::KeyLimits;
use callboard_actors::ports::{ImageFileError, ImageFiles, Model, ModelAnswer, ModelError, ModelRequest};
use callboard_actors::retry::RetryPolicy;
use callboard_actors::run_state::RunState;
use callboard_actors::services::RunServices;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use crate::documents::PNG;
use crate::harness::{
    Answer, InProcess, ScriptedModel, Server, call_settings, limited_route, route, start_of, started,
};
use crate::web_server::{WebServer, reply};

/// Remembers what it was asked.
struct Witness {
    inner: Arc<ScriptedModel>,
    seen: Mutex<Vec<ModelRequest>>,
}

#[async_trait]
impl Model for Witness {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.seen.lock().unwrap().push(request.clone());
        self.inner.call(request).await
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        self.inner.check_options(options)
    }
}

async fn upload(server: &InProcess, account: AccountId, bytes: Vec<u8>) -> FileId {
    let files = server.files.clone();
    let uploading = server.io.spawn(async move {
        let mut upload = files.begin_upload(&account, None).await.unwrap();
        upload.write(bytes.into()).await.unwrap();
        let facts = FileFacts {
            filename: "a.png".into(),
            media_type: None,
            purpose: None,
        };
        upload.finish(facts).await.unwrap().id
    });
    uploading.await.unwrap()
}

fn picture(file_id: FileId) -> ContentPart {
    ContentPart::Image {
        source: ImageSource::File { file_id },
        detail: None,
        cache_control: None,
    }
}

#[actix_rt::test]
async fn a_model_sees_the_pictures_of_its_account_that_are_there_and_fit() {
    let server = InProcess::plain().await;
    let model = Arc::new(Witness {
        inner: ScriptedModel::new([Answer::Says("seen")]),
        seen: Mutex::default(),
    });
    let supervisor = server.supervisor(model.clone(), Vec::new()).await;
    let local = AccountId::local;
    let small = upload(&server, local(), PNG.to_vec()).await;
    let foreign = upload(&server, "other".parse().unwrap(), [PNG, b"x"].concat()).await;
    let too_large = upload(&server, local(), [PNG, &[1; 10_000]].concat()).await;
    let text = upload(&server, local(), b"text".to_vec()).await;
    let wanted = [small, foreign, too_large, text, FileId::new(), small];
    let content = wanted.into_iter().map(picture).collect();
    let mut start = start_of(json!({}), &[]);
    let role = Role::User;
    start.input = vec![Item::new(ItemStatus::Completed, ItemContent::Message { role, content })];
    let run = started(&supervisor, start).await;
    assert_eq!(server.ended(run).await.state, RunState::Completed);
    let shown = json!({"type": "image", "url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA="});
    let gone = json!({"type": "text", "text": ImageSource::NOT_SHOWN});
    let seen = model.seen.lock().unwrap()[0].conversation[0].clone();
    let seen = serde_json::to_value(&*seen).unwrap()["content"].take();
    assert_eq!(seen, json!([shown, gone, gone, gone, gone, shown]));
    let stored = serde_json::to_value(&server.items(run).await[0]).unwrap()["content"].take();
    let ids: Vec<Value> = wanted
        .iter()
        .map(|id| json!({"type": "image", "file_id": id}))
        .collect();
    assert_eq!(stored, Value::Array(ids));
    server.finish(supervisor).await;
}

#[actix_rt::test]
async fn the_newest_pictures_are_shown_where_not_all_fit() {
    let server = InProcess::plain().await;
    let model = Arc::new(Witness {
        inner: ScriptedModel::new([Answer::Says("seen")]),
        seen: Mutex::default(),
    });
    let supervisor = server.supervisor(model.clone(), Vec::new()).await;
    // A call carries 100,000 bytes: seven of these.
    let mut files = Vec::new();
    for seed in 0..9 {
        files.push(upload(&server, AccountId::local(), [PNG, &[seed; 9_900]].concat()).await);
    }
    let mut start = start_of(json!({}), &[]);
    start.input = files
        .iter()
        .map(|file| {
            let (role, content) = (Role::User, vec![picture(*file)]);
            Item::new(ItemStatus::Completed, ItemContent::Message { role, content })
        })
        .collect();
    let run = started(&supervisor, start).await;
    assert_eq!(server.ended(run).await.state, RunState::Completed);
    let request = model.seen.lock().unwrap()[0].clone();
    let is_shown = request.conversation.iter().map(|item| match &item.content {
        ItemContent::Message { content, .. } => matches!(content[0], ContentPart::Image { .. }),
        _ => panic!("another item"),
    });
    let is_shown: Vec<bool> = is_shown.collect();
    assert_eq!(is_shown, [false, false, true, true, true, true, true, true, true]);
    server.finish(supervisor).await;
}

/// Pictures of one hundred bytes each, but for one that is gone.
struct Small {
    gone: FileId,
    asked: AtomicU32,
}

#[async_trait]
impl ImageFiles for Small {
    async fn data_url(&self, _account: &AccountId, file: FileId) -> Result<String, ImageFileError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if file == self.gone {
            return Err(ImageFileError::Unknown);
        }
        let beginning = "data:image/png;base64,";
        Ok(format!("{beginning}{}", "a".repeat(100 - beginning.len())))
    }
}

#[actix_rt::test]
async fn a_picture_counts_as_often_as_it_is_shown_and_is_looked_for_once() {
    // So many bytes and pictures, and how many of the newest places fit.
    for (bytes, count, fitting) in [(10_000, 7, 7), (799, 50, 7), (10_000, 50, 20)] {
        let server = InProcess::plain().await;
        let model = Arc::new(Witness {
            inner: ScriptedModel::new([Answer::Says("seen")]),
            seen: Mutex::default(),
        });
        let files = Arc::new(Small {
            gone: FileId::new(),
            asked: AtomicU32::new(0),
        });
        let services = RunServices {
            pictures: Some(Pictures {
                files: files.clone(),
                max_bytes_per_call: bytes,
                max_count_per_call: count,
            }),
            ..server.services(model.clone(), Vec::new())
        };
        let supervisor = server.supervisor_with(services, 1).await;
        let same = FileId::new();
        let content = [vec![picture(files.gone); 2], vec![picture(same); 20]].concat();
        let mut start = start_of(json!({}), &[]);
        let role = Role::User;
        start.input = vec![Item::new(ItemStatus::Completed, ItemContent::Message { role, content })];
        let run = started(&supervisor, start).await;
        assert_eq!(server.ended(run).await.state, RunState::Completed);
        let seen = model.seen.lock().unwrap()[0].conversation[0].clone();
        let ItemContent::Message { content, .. } = &seen.content else {
            panic!("another item");
        };
        let shown: Vec<&Arc<str>> = content
            .iter()
            .filter_map(|part| match part {
                ContentPart::Image {
                    source: ImageSource::Url { url },
                    ..
                } => Some(url),
                _ => None,
            })
            .collect();
        assert_eq!((content.len(), shown.len()), (22, fitting));
        assert_eq!(content[0], ContentPart::text(ImageSource::NOT_SHOWN));
        assert!(
            shown.iter().all(|url| Arc::ptr_eq(url, shown[0])),
            "it is in memory once"
        );
        let looked_for = if fitting == 20 { 2 } else { 1 };
        assert_eq!(files.asked.load(Ordering::SeqCst), looked_for);
        server.finish(supervisor).await;
    }
}

/// Pictures that are away so many times, and are asked for more often than that or not.
struct AwayFirst {
    times: u32,
    asked: AtomicU32,
}

#[async_trait]
impl ImageFiles for AwayFirst {
    async fn data_url(&self, _account: &AccountId, _file: FileId) -> Result<String, ImageFileError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) < self.times {
            return Err(ImageFileError::Unavailable);
        }
        Ok("data:image/png;base64,aGk=".to_owned())
    }
}

#[actix_rt::test]
async fn a_storage_that_is_away_is_asked_again_as_a_provider_is_and_then_fails_the_run() {
    for (times, state, asked) in [(2, RunState::Completed, 3), (u32::MAX, RunState::Failed, 3)] {
        let server = InProcess::plain().await;
        let model = ScriptedModel::new([Answer::Says("seen")]);
        let asking = Arc::new(AwayFirst {
            times,
            asked: AtomicU32::new(0),
        });
        let services = RunServices {
            models: HashMap::from([(
                "simulated".to_owned(),
                route("simulated", call_settings(3), &[("simulated", model.clone())]),
            )]),
            pictures: Some(Pictures {
                files: asking.clone(),
                max_bytes_per_call: 1000,
                max_count_per_call: 10,
            }),
            ..server.services(model.clone(), Vec::new())
        };
        let supervisor = server.supervisor_with(services, 1).await;
        let mut start = start_of(json!({}), &[]);
        let (role, content) = (Role::User, vec![picture(FileId::new())]);
        start.input = vec![Item::new(ItemStatus::Completed, ItemContent::Message { role, content })];
        let run = started(&supervisor, start).await;
        let ended = server.ended(run).await;
        assert_eq!(ended.state, state);
        let code = ended.error.map(|error| error.code.as_str());
        assert_eq!(code, (state == RunState::Failed).then_some("files_unavailable"));
        assert_eq!(asking.asked.load(Ordering::SeqCst), asked);
        server.finish(supervisor).await;
    }
}

#[actix_rt::test]
async fn a_call_that_waits_for_room_has_none_of_its_pictures_in_memory() {
    let server = InProcess::plain().await;
    let model = ScriptedModel::behind_a_turnstile([Answer::Says("seen")]);
    let asking = Arc::new(AwayFirst {
        times: 0,
        asked: AtomicU32::new(0),
    });
    let limits = KeyLimits {
        concurrent_calls: Some(1),
        ..KeyLimits::default()
    };
    let (route, _) = limited_route("simulated", call_settings(1), "provider", &[&model], limits);
    let services = RunServices {
        models: HashMap::from([("simulated".to_owned(), route)]),
        pictures: Some(Pictures {
            files: asking.clone(),
            max_bytes_per_call: 1000,
            max_count_per_call: 10,
        }),
        ..server.services(model.clone(), Vec::new())
    };
    let supervisor = server.supervisor_with(services, 2).await;
    let showing = || {
        let mut start = start_of(json!({}), &[]);
        let (role, content) = (Role::User, vec![picture(FileId::new())]);
        start.input = vec![Item::new(ItemStatus::Completed, ItemContent::Message { role, content })];
        start
    };
    let first = started(&supervisor, showing()).await;
    let second = started(&supervisor, showing()).await;
    // One of them has the only room, and the other says that it waits.
    let waits = |run| server.run_after(run, "model.waiting");
    futures::future::select(Box::pin(waits(first)), Box::pin(waits(second))).await;
    assert!(asking.asked.load(Ordering::SeqCst) <= 1, "that of the other");
    model.turnstile.add_permits(2);
    for run in [first, second] {
        assert_eq!(server.ended(run).await.state, RunState::Completed);
    }
    assert_eq!(asking.asked.load(Ordering::SeqCst), 2);
    server.finish(supervisor).await;
}

/// A storage that is in trouble: it says so at once, or nothing at all.
struct Away {
    is_silent: bool,
    asked: AtomicU32,
    is_asked: Notify,
}

#[async_trait]
impl ImageFiles for Away {
    async fn data_url(&self, _account: &AccountId, _file: FileId) -> Result<String, ImageFileError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.is_asked.notify_one();
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        Err(ImageFileError::Unavailable)
    }
}

/// Does not care.
struct Deaf;

#[async_trait]
impl CallListener for Deaf {
    async fn hear(&self, _progress: ModelProgress) {}
}

#[tokio::test(start_paused = true)]
async fn while_the_storage_is_in_trouble_others_have_the_room_of_calls_with_pictures() {
    let hour = Duration::from_secs(3600);
    for is_silent in [false, true] {
        let server = InProcess::plain().await;
        let model = ScriptedModel::new([Answer::Says("seen")]);
        let away = Arc::new(Away {
            is_silent,
            asked: AtomicU32::new(0),
            is_asked: Notify::new(),
        });
        let usual = call_settings(3);
        // Nobody waits for room as long as for the next try at the storage.
        let calls = CallSettings {
            timeouts: ModelTimeouts {
                call: 100 * hour,
                ..usual.timeouts
            },
            retry: RetryPolicy {
                initial_backoff: hour,
                maximum_backoff: hour,
                ..usual.retry
            },
            ..usual
        };
        let limits = KeyLimits {
            concurrent_calls: Some(1),
            ..KeyLimits::default()
        };
        let (route, _) = limited_route("simulated", calls, "provider", &[&model], limits);
        let services = Arc::new(RunServices {
            pictures: Some(Pictures {
                files: away.clone(),
                max_bytes_per_call: 1000,
                max_count_per_call: 10,
            }),
            ..server.services(model.clone(), Vec::new())
        });
        let call = |part| {
            let (role, content) = (Role::User, vec![part]);
            let item = Item::new(ItemStatus::Completed, ItemContent::Message { role, content });
            let wish = CallWish {
                routes: vec![route.clone()],
                request: ModelRequest {
                    run_id: RunId::new(),
                    step: 1,
                    attempt: 1,
                    instructions: None,
                    conversation: Arc::new([Arc::new(item)]),
                    tools: Arc::new([]),
                    max_output_tokens: None,
                    options: Arc::default(),
                },
                account: AccountId::local(),
                tier: "one".to_owned(),
                epoch: 1,
            };
            tokio::spawn(make_call(services.clone(), wish, Arc::new(Deaf)))
        };
        let showing = call(picture(FileId::new()));
        away.is_asked.notified().await;
        let without = call(ContentPart::text("Hello.")).await.unwrap();
        assert!(without.is_ok(), "{without:?}");
        assert_eq!(away.asked.load(Ordering::SeqCst), 1);
        let showing = showing.await.unwrap();
        assert!(matches!(showing, Err(CallFailure::Files)), "{showing:?}");
        assert_eq!((away.asked.load(Ordering::SeqCst), model.asked()), (3, 1));
        server.io.shutdown_background();
    }
}

#[tokio::test]
async fn each_dialect_sends_the_picture_in_its_own_form_and_never_the_id() {
    let refusing = json!({"error": {"type": "invalid_request_error", "message": "no"}}).to_string();
    let provider = WebServer::start(move |_| reply("400 Bad Request", &[], &refusing)).await;
    let dialects = ["openai", "openai-responses", "anthropic"];
    let models = dialects.map(|dialect| {
        let url = provider.url("/v1");
        format!("[models.{dialect}]\nprovider = \"{dialect}\"\nbase_url = \"{url}\"\nupstream_model = \"sees\"\nmax_attempts = 1\n")
    });
    let server = Server::start(&models.concat()).await;
    let client = server.client();
    let file = client.upload("a.png", PNG).await;
    let encoded = STANDARD.encode(PNG);
    let url = format!("data:image/png;base64,{encoded}");
    let of_anthropic = json!({"type": "base64", "media_type": "image/png", "data": encoded});
    for (dialect, place, form) in [
        ("openai", "/messages/0/content/1/image_url/url", json!(url)),
        ("openai-responses", "/input/0/content/1/image_url", json!(url)),
        ("anthropic", "/messages/0/content/1/source", of_anthropic),
    ] {
        let content = json!([{"type": "text", "text": "Look:"}, {"type": "image", "file_id": file}]);
        let run = client
            .start_run(&json!({"model": dialect, "input": [{"role": "user", "content": content}]}))
            .await;
        assert_eq!(client.run_when_ended(&run).await["state"], "failed");
        let sent = provider.received().pop().unwrap().text();
        assert!(!sent.contains(&file), "{sent}");
        let sent: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent.pointer(place), Some(&form), "{dialect}: {sent}");
        assert_eq!(
            client.items(&run).await[0]["content"],
            content,
            "what is kept has the id"
        );
    }
    server.finish().await;
}
