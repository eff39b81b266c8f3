//! Connections are kept: for the other keys of a provider, after a refusal, and after an answer whose last bytes come late.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard_actors::ports::{ModelDelta, ModelErrorKind};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::testing::Echo;
use super::*;

const REFUSAL: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\nsorry";
const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nb\r\ndata: end\n\n\r\n";
const LAST_BYTES: &str = "0\r\n\r\n";

/// A provider that refuses every call with one key and answers those with another, but ends no answer before it is told to.
struct Provider {
    base_url: String,
    connections: Arc<AtomicUsize>,
    may_end: Arc<Notify>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let provider = Self {
            base_url: format!("http://{}", listener.local_addr().expect("an address")),
            connections: Arc::default(),
            may_end: Arc::default(),
        };
        let (connections, may_end) = (provider.connections.clone(), provider.may_end.clone());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(connection, may_end.clone()));
            }
        });
        provider
    }

    fn upstream(&self, client: &ProviderClient, key: &str) -> Upstream {
        let options = UpstreamOptions {
            client: client.clone(),
            base_url: self.base_url.clone(),
            api_key: Some(key.to_owned().into()),
            upstream_model: "m".into(),
            max_event_size: 100,
        };
        Upstream::new(&options, "/x", KeyHeader::bearer()).expect("good options")
    }
}

async fn serve(connection: TcpStream, may_end: Arc<Notify>) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        // A call without a body ends with its head.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await?);
        }
        if String::from_utf8_lossy(&head).contains("refused-key") {
            connection.write_all(REFUSAL.as_bytes()).await?;
        } else {
            connection.write_all(ANSWER.as_bytes()).await?;
            may_end.notified().await;
            connection.write_all(LAST_BYTES.as_bytes()).await?;
        }
    }
}

#[tokio::test]
async fn one_connection_serves_all_keys_of_a_provider() {
    let provider = Provider::start().await;
    let client = ProviderClient::new(&provider.base_url, Duration::from_secs(5), 8).expect("a URL");
    let refused = provider.upstream(&client, "refused-key");
    let answered = provider.upstream(&client, "good-key");
    let caller = Caller {
        run_id: RunId::new(),
        attempt: 1,
    };
    let mut calls = 0;
    // The connection comes back a moment after the answer was heard: if it never did, every turn would need a new one.
    let is_used_again = async {
        while provider.connections.load(Ordering::SeqCst) >= calls {
            let error = refused.call(Vec::new(), caller, Echo).await.err().expect("refused");
            assert_eq!(error.kind, ModelErrorKind::Status(429));
            let answer = answered.call(Vec::new(), caller, Echo).await.expect("an answer");
            let pieces = answer.pieces.filter(|piece| ready(*piece != Ok(ModelDelta::Working)));
            assert_eq!(pieces.count().await, 1, "its end");
            provider.may_end.notify_one();
            calls += 1;
            // Whoever reads the last bytes has its turn.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    };
    let patience = Duration::from_secs(60);
    let in_time = tokio::time::timeout(patience, is_used_again).await;
    assert!(in_time.is_ok(), "two keys took a connection each, turn after turn");
}
