//! What Callboard adds to a model call: the same call to a provider over HTTP on loopback, once asked directly and once by way of routes,
//! limits and lines. The budget is 0.3 ms at the median.
//!
//! `cargo bench --bench model_call` prints both and the difference of their medians.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callboard::llm::openai::OpenAiModel;
use callboard::llm::simulate_server::{SimulateServerOptions, SimulateServerSettings, start};
use callboard::llm::simulated::options::SimulateOptions;
use callboard::llm::upstream::{ProviderClient, UpstreamOptions};
use callboard::store::sqlite::{SqliteOptions, SqliteStore};
use callboard::stream::memory::{MemoryEventLog, MemoryLogOptions};
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::item::{Item, Role};
use callboard_actors::llm::{
    CallLine, CallListener, CallSettings, CallWish, Choice, ModelProgress, ModelRoute, ModelTimeouts, Target, make_call,
};
use callboard_actors::local_limits::{LimitTimes, LocalRateLimits};
use callboard_actors::ports::rate_limits::{KeyLimits, LimitedKey};
use callboard_actors::ports::{Model, ModelRequest};
use callboard_actors::retry::RetryPolicy;
use callboard_actors::services::RunServices;
use callboard_actors::testing::fixed_tools::FixedTools;
use callboard_actors::thread_lines::ThreadLines;
use futures::StreamExt;

const CALLS: usize = 4_000;
const WARM_UP: usize = 200;

/// Hears everything and does nothing about it.
struct Deaf;

#[async_trait]
impl CallListener for Deaf {
    async fn hear(&self, progress: ModelProgress) {
        std::hint::black_box(&progress);
    }
}

fn main() -> anyhow::Result<()> {
    let (address, _provider) = provider()?;
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let directory = tempfile::tempdir()?;
    let database = SqliteOptions::new(directory.path().join("bench.db"));
    io.block_on(async {
        let model: Arc<dyn Model> = Arc::new(OpenAiModel::new(UpstreamOptions {
            client: ProviderClient::new(&format!("http://{address}/v1"), Duration::from_secs(5), 8)?,
            base_url: format!("http://{address}/v1"),
            api_key: Some("sk-bench".to_owned().into()),
            upstream_model: "simulated".into(),
            max_event_size: 65_536,
        })?);
        let store = Arc::new(SqliteStore::open(database, &tokio::runtime::Handle::current()).await?);
        let services = Arc::new(services(store));
        let route = limited(model.clone());
        let (mut direct, mut routed) = (Vec::new(), Vec::new());
        // In turns, so that whatever else the machine does falls on both.
        for call in 0..WARM_UP + CALLS {
            let asked = ask(&model).await?;
            let called = call_by(&services, &route).await?;
            if call >= WARM_UP {
                direct.push(asked);
                routed.push(called);
            }
        }
        let [direct, routed] = [direct, routed].map(Percentiles::of);
        println!("{CALLS} calls each, one at a time, to a provider on loopback, milliseconds:");
        println!(
            "  asked directly            p50 {:.3}  p99 {:.3}",
            direct.p50, direct.p99
        );
        println!(
            "  by routes, limits, lines  p50 {:.3}  p99 {:.3}",
            routed.p50, routed.p99
        );
        println!(
            "  added at the median       {:.3}  (budget 0.3)",
            routed.p50 - direct.p50
        );
        anyhow::Ok(())
    })
}

struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let millis = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        Self {
            p50: millis(0.5),
            p99: millis(0.99),
        }
    }
}

/// A simulated provider on a thread of its own.
fn provider() -> anyhow::Result<(std::net::SocketAddr, std::thread::JoinHandle<()>)> {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let options = SimulateServerOptions {
                bind: ([127, 0, 0, 1], 0).into(),
                workers: 1,
                settings: SimulateServerSettings {
                    simulate: SimulateOptions {
                        tokens: 1,
                        ..SimulateOptions::default()
                    },
                    ..SimulateServerSettings::default()
                },
            };
            let (server, address) = start(options).expect("a free port");
            tell.send(address).expect("somebody waits");
            server.await.expect("it serves");
        });
    });
    Ok((told.recv()?, thread))
}

fn services(store: Arc<SqliteStore>) -> RunServices {
    RunServices {
        log: Arc::new(MemoryEventLog::new(store.clone(), MemoryLogOptions::default())),
        threads: store.clone(),
        store,
        thread_lines: ThreadLines::default(),
        models: HashMap::new(),
        account_budgets: None,
        pictures: None,
        shared_answers: None,
        toolbox: Arc::new(FixedTools::new([])),
        io: tokio::runtime::Handle::current(),
        settings: callboard::config::Config::default().run_settings(),
    }
}

/// A route with a key that has limits, none of which is reached.
fn limited(model: Arc<dyn Model>) -> Arc<ModelRoute> {
    let minute = Duration::from_secs(60);
    let calls = CallSettings {
        timeouts: ModelTimeouts {
            first_byte: minute,
            idle: minute,
            call: minute,
        },
        retry: RetryPolicy {
            max_attempts: 1,
            initial_backoff: minute,
            maximum_backoff: minute,
        },
        longest_wait: minute,
        expected_output_tokens: 100,
        max_output_tokens: 1000,
        cache_for: None,
    };
    let plain = ModelRoute::to("bench", model, calls);
    let target = &plain.targets[0];
    let key = LimitedKey {
        name: "bench/1".into(),
        provider: "bench".into(),
        limits: KeyLimits {
            requests_per_minute: Some(1_000_000),
            tokens_per_minute: Some(1_000_000_000),
            concurrent_calls: Some(1000),
        },
    };
    let target = Target {
        provider: target.provider.clone(),
        upstream_model: target.upstream_model.clone(),
        keys: Arc::new([key]),
        has_keys: true,
        models: target.models.clone(),
        line: CallLine::new(Arc::new(LocalRateLimits::new(LimitTimes::default())), 100),
        weight: 1,
        price: target.price,
    };
    Arc::new(ModelRoute {
        context_window: None,
        targets: vec![Arc::new(target)],
        choice: Choice::Ordered,
        ..plain
    })
}

fn request() -> ModelRequest {
    ModelRequest {
        run_id: RunId::new(),
        step: 1,
        attempt: 1,
        instructions: Some("Be brief.".into()),
        conversation: Arc::new([Arc::new(Item::message(Role::User, "Hello?"))]),
        tools: Arc::new([]),
        max_output_tokens: None,
        options: Arc::default(),
    }
}

async fn ask(model: &Arc<dyn Model>) -> anyhow::Result<Duration> {
    let request = request();
    let began = Instant::now();
    let mut pieces = model.call(request).await?.pieces;
    while let Some(piece) = pieces.next().await {
        std::hint::black_box(piece?);
    }
    Ok(began.elapsed())
}

async fn call_by(services: &Arc<RunServices>, route: &Arc<ModelRoute>) -> anyhow::Result<Duration> {
    let wish = CallWish {
        routes: vec![route.clone()],
        request: request(),
        account: AccountId::local(),
        tier: "local".into(),
        epoch: 1,
    };
    let began = Instant::now();
    let called = make_call(services.clone(), wish, Arc::new(Deaf)).await;
    called.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    Ok(began.elapsed())
}
