//! What one claim of 16 runs costs in queues of several lengths, on the PostgreSQL that `CALLBOARD_TEST_POSTGRES_URL` names. Between two
//! claims the claimed runs end and as many new ones come, so that the queue keeps its length and has a past, as in production.

use std::time::{Duration, Instant};

use callboard::store::postgres::{PostgresOptions, PostgresStore};
use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::item::Usage;
use callboard_actors::ports::fleet::{Admitted, ClaimNext, ClaimedRun, FleetAdmission, MayWait, NewInstance};
use callboard_actors::ports::store::{RunCommit, StateChange};
use callboard_actors::ports::{Fleet, Store};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use criterion::{BenchmarkId, Criterion};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::runtime::Runtime;

#[path = "../src/store/postgres/tests/long_queue.rs"]
mod long_queue;

const LIMIT: u32 = 16;
const URL_VARIABLE: &str = "CALLBOARD_TEST_POSTGRES_URL";

struct Queue {
    store: PostgresStore,
    instance: InstanceId,
}

impl Queue {
    /// In a schema of its own, which is left behind.
    async fn filled(server: &str, accounts: i64, runs_of_each: i64) -> Self {
        let schema = format!("bench_{}", uuid::Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(server).await.expect("the server answers");
        let create = AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::query(create).execute(&mut connection).await.expect("a schema");
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}options=-csearch_path%3D{schema}");
        let runtime = tokio::runtime::Handle::current();
        let store = PostgresStore::open(PostgresOptions::new(&url), &runtime);
        let store = store.await.expect("opens");
        let mut connection = PgConnection::connect(&url).await.expect("the server answers");
        long_queue::fill(&mut connection, accounts, runs_of_each).await;
        let instance = NewInstance {
            id: InstanceId::new(),
            name: "bench".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            place: None,
            lease: Duration::from_secs(24 * 3600),
            shares_events: true,
        };
        let id = instance.id;
        store.join(instance).await.expect("joins");
        Self { store, instance: id }
    }

    async fn claim(&self) -> Vec<ClaimedRun> {
        let claim = ClaimNext {
            instance: self.instance,
            limit: LIMIT,
            reserve_seqs: 0,
            at: Timestamp::now(),
        };
        let claimed = self.store.claim_next(claim).await.expect("the store answers");
        assert_eq!(claimed.len(), LIMIT as usize);
        claimed
    }

    /// The run ends, and another of its account comes to the end of its line.
    async fn replace(&self, claimed: ClaimedRun) {
        let run = claimed.record;
        let completed = EventBody::RunCompleted {
            usage: Usage::default(),
        };
        let ending = RunCommit {
            run: run.id,
            account: run.account.clone(),
            epoch: run.epoch,
            events: encode(run.id, run.next_seq, [completed]),
            reserved_seq: 0,
            items: Vec::new(),
            progress: None,
            charges: Vec::new(),
            calls: None,
            change: Some(StateChange {
                to: RunState::Completed,
                error: None,
                waiting: None,
                at: Timestamp::now(),
            }),
        };
        self.store.commit(ending).await.expect("ends");
        let next = FleetAdmission {
            id: RunId::new(),
            account: run.account,
            tier: run.tier,
            instance: self.instance,
            idempotency: None,
            spec: run.spec,
            input: Vec::new(),
            has_permit: false,
            slot_limit: None,
            may_wait: Some(MayWait {
                account_limit: None,
                deadline: None,
            }),
            reserve_seqs: 0,
            created_at: Timestamp::now(),
        };
        let admitted = self.store.admit(next).await.expect("the store answers");
        assert!(matches!(admitted, Admitted::Queued { .. }));
    }

    /// The time of so many claims, without what is between them.
    async fn measure(&self, claims: u64) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..claims {
            let started = Instant::now();
            let claimed = self.claim().await;
            total += started.elapsed();
            futures::future::join_all(claimed.into_iter().map(|run| self.replace(run))).await;
        }
        total
    }
}

fn main() {
    let Ok(server) = std::env::var(URL_VARIABLE) else {
        println!("{URL_VARIABLE} is not set: run scripts/with-services cargo bench --bench queue_claim");
        return;
    };
    let runtime = Runtime::new().expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("claim of 16 runs");
    group.sample_size(50).measurement_time(Duration::from_secs(10));
    for (spread, accounts, runs_of_each) in [
        ("of many accounts", 50, 2),
        ("of many accounts", 50_000, 2),
        ("of one account", 1, 100),
        ("of one account", 1, 100_000),
    ] {
        let queue = runtime.block_on(Queue::filled(&server, accounts, runs_of_each));
        group.bench_function(BenchmarkId::new(spread, accounts * runs_of_each), |bencher| {
            bencher.iter_custom(|claims| runtime.block_on(queue.measure(claims)));
        });
    }
    group.finish();
    criterion.final_summary();
}
