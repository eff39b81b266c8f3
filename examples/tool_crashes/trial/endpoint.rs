//! The other end of the tool calls: it counts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use tokio::sync::watch;

/// How often each call has come, by its endpoint and its `Idempotency-Key`.
pub(super) type Counts = BTreeMap<(String, String), u32>;

/// Endpoints that count. Dropping it leaves them until the program ends; end it with [`Endpoint::stop`].
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    counted: Arc<Counted>,
    handle: ServerHandle,
    serving: JoinHandle<()>,
}

struct Counted {
    counts: Mutex<Counts>,
    /// Grows by one when a call comes, and again when it is answered.
    signals: watch::Sender<u64>,
}

impl Endpoint {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let counted = Arc::new(Counted {
            counts: Mutex::default(),
            signals: watch::Sender::new(0),
        });
        let (tell, told) = std::sync::mpsc::channel();
        let shared = counted.clone();
        let serving = std::thread::spawn(move || {
            let system = actix_web::rt::System::new();
            let served = system.block_on(async {
                let app = move || {
                    App::new()
                        .app_data(web::Data::from(shared.clone()))
                        .route("/{endpoint}", web::post().to(count))
                };
                let server = HttpServer::new(app)
                    .workers(1)
                    .disable_signals()
                    .listen(listener)?
                    .run();
                let _ = tell.send(server.handle());
                server.await
            });
            if let Err(error) = served {
                eprintln!("the endpoints ended: {error}");
            }
        });
        Ok(Self {
            address,
            counted,
            handle: told.recv().context("the endpoints did not start")?,
            serving,
        })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counted
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes when a call comes, and when it is answered.
    pub(super) fn signals(&self) -> watch::Receiver<u64> {
        self.counted.signals.subscribe()
    }

    pub(super) async fn stop(self) {
        self.handle.stop(false).await;
        // It has said so if it did not end well.
        let _ = self.serving.join();
    }
}

async fn count(request: HttpRequest, endpoint: web::Path<String>, counted: web::Data<Counted>) -> HttpResponse {
    let key = request.headers().get("idempotency-key");
    let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let answer = answer_to(&endpoint, &key);
    *counted
        .counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry((endpoint.into_inner(), key))
        .or_default() += 1;
    counted.signals.send_modify(|signals| *signals += 1);
    // Work takes a moment, in which the caller may die.
    actix_web::rt::time::sleep(Duration::from_millis(2)).await;
    counted.signals.send_modify(|signals| *signals += 1);
    HttpResponse::Ok().body(answer)
}

/// What the endpoint says to this call, however often it comes.
pub(super) fn answer_to(endpoint: &str, key: &str) -> String {
    format!("{endpoint} did {key}")
}
