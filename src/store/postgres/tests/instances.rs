//! Several instances on one database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::item::Usage;
use callboard_actors::ports::fleet::{Heartbeat, InstanceLoad, NewInstance};
use callboard_actors::ports::store::{Admission, Creation, NewRun, RunCommit, StateChange};
use callboard_actors::ports::{Fleet, Store};
use callboard_actors::run_state::RunState;
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::time::Timestamp;
use sqlx::{ConnectOptions, Connection};

pub(super) fn starting(limit: u32) -> NewRun {
    let id = RunId::new();
    let started = EventBody::RunStarted { epoch: 1 };
    NewRun {
        id,
        account: "acme".parse().expect("an account"),
        tier: "standard".into(),
        instance: InstanceId::new(),
        idempotency: None,
        spec: Arc::new(RunSpec {
            agent: None,
            model: "fast".into(),
            fallback_models: Vec::new(),
            instructions: None,
            tools: Vec::new(),
            model_options: serde_json::Map::new(),
            metadata: std::collections::BTreeMap::new(),
            history: callboard_actors::spec::HistorySettings::default(),
            limits: RunLimits {
                max_steps: 1,
                max_output_tokens: None,
                max_total_tokens: None,
                max_cost_usd: None,
                deadline_seconds: 60,
            },
        }),
        input: Vec::new(),
        thread: None,
        admission: Admission::Start {
            slot_limit: Some(limit),
        },
        events: encode(id, 0, [started]).expect("an event"),
        reserved_seq: 0,
        created_at: Timestamp::now(),
    }
}

/// The last step of a run that has just started.
pub(super) fn ending(run: RunId) -> RunCommit {
    let cancelled = EventBody::RunCancelled {
        usage: Usage::default(),
    };
    RunCommit {
        run,
        account: "acme".parse().expect("an account"),
        epoch: 1,
        events: encode(run, 1, [cancelled]),
        reserved_seq: 0,
        items: Vec::new(),
        progress: None,
        charges: Vec::new(),
        calls: None,
        change: Some(StateChange {
            to: RunState::Cancelled,
            error: None,
            waiting: None,
            at: Timestamp::now(),
        }),
    }
}

/// What the account's row says, and what its runs say.
async fn counted(url: &str) -> (i32, i64) {
    let options = sqlx::postgres::PgConnectOptions::from_str(url).expect("a URL");
    let mut connection = options.connect().await.expect("connects");
    let counted = sqlx::query_as(
        "SELECT running, (SELECT count(*) FROM runs WHERE state = 'running') FROM accounts WHERE account = 'acme'",
    )
    .fetch_one(&mut connection)
    .await
    .expect("counts");
    connection.close().await.expect("closes");
    counted
}

/// A thousand starts from three instances, then all the ends at once: the limit holds, and the counter is the count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_instances_keep_one_limit() {
    const LIMIT: u32 = 20;
    let url = super::fresh_url().await;
    let stores = futures::future::join_all((0..3).map(|_| super::open(&url))).await;
    let starts = (0..1000).map(|index| {
        let store = stores[index % 3].clone();
        tokio::spawn(async move {
            let run = starting(LIMIT);
            (run.id, store.create_run(run).await.expect("the store answers"))
        })
    });
    let mut started = Vec::new();
    for start in futures::future::join_all(starts).await {
        let (run, creation) = start.expect("no panic");
        match creation {
            Creation::Created => started.push(run),
            other => assert_eq!(other, Creation::QuotaExceeded { running: LIMIT }),
        }
    }
    assert_eq!(started.len(), LIMIT as usize);
    assert_eq!(counted(&url).await, (20, 20));
    let ends = started.into_iter().enumerate().map(|(index, run)| {
        let store = stores[index % 3].clone();
        tokio::spawn(async move { store.commit(ending(run)).await })
    });
    for end in futures::future::join_all(ends).await {
        end.expect("no panic").expect("ends");
    }
    assert_eq!(counted(&url).await, (0, 0));
}

async fn join(store: &impl Fleet, lease: Duration) -> InstanceId {
    let instance = NewInstance {
        id: InstanceId::new(),
        name: "one of the fleet".into(),
        version: "0.0.1".into(),
        place: None,
        lease,
        shares_events: true,
    };
    let id = instance.id;
    store.join(instance).await.expect("joins");
    id
}

/// A renewal that began in time may be slow to be committed. Until it is, the lease that everyone else sees may be over: nobody takes its
/// runs then, or its owner would be told that it holds its lease and have lost them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_being_renewed_is_not_over() {
    const LEASE: Duration = Duration::from_secs(600);
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let (owner, taker) = (join(&store, Duration::ZERO).await, join(&store, LEASE).await);
    let run = NewRun {
        instance: owner,
        ..starting(1)
    };
    assert_eq!(store.create_run(run.clone()).await, Ok(Creation::Created));
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).expect("a URL");
    let mut connection = options.connect().await.expect("connects");
    let mut renewal = connection.begin().await.expect("begins");
    sqlx::query("UPDATE instances SET lease_until = clock_timestamp() + interval '1 hour' WHERE id = $1")
        .bind(owner.uuid().as_bytes().to_vec())
        .execute(&mut *renewal)
        .await
        .expect("renews");
    assert_eq!(store.take_over(taker, 10).await, Ok(Vec::new()));
    renewal.commit().await.expect("commits");
    assert_eq!(store.take_over(taker, 10).await, Ok(Vec::new()));
    let heartbeat = Heartbeat {
        instance: owner,
        lease: LEASE,
        load: InstanceLoad::default(),
    };
    assert!(store.heartbeat(heartbeat).await.expect("the store answers").held);
    store.leave(owner).await.expect("leaves");
    let taken = store.take_over(taker, 10).await.expect("the store answers");
    assert_eq!(taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), [run.id]);
    connection.close().await.expect("closes");
}

/// One of them migrates, the others find it done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_open_an_empty_database_at_once_migrate_it_once() {
    let url = super::fresh_url().await;
    let stores = futures::future::join_all((0..4).map(|_| super::open(&url))).await;
    assert_eq!(stores.len(), 4);
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).expect("a URL");
    let mut connection = options.connect().await.expect("connects");
    let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    let all = super::super::open::MIGRATIONS.iter().count();
    assert_eq!(usize::try_from(migrations), Ok(all));
    connection.close().await.expect("closes");
}

/// Never more than the server grants, never less than one of each.
#[test]
fn connections_are_clamped_to_what_the_server_grants() {
    use super::super::open::share;
    let shares = |granted, wanted| {
        let shares = share(granted, wanted, 4);
        (shares.lanes, shares.control, shares.readers)
    };
    assert_eq!(shares(500, 300), (4, 5, 290));
    assert_eq!(shares(97, 300), (4, 5, 84));
    assert_eq!(shares(97, 20), (4, 5, 10));
    assert_eq!(shares(12, 20), (2, 2, 4));
    assert_eq!(shares(1, 20), (1, 1, 1));
}

/// Others lock the account before its runs, so whoever has a run must not wait for the account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telling_positions_waits_for_nobody_who_has_the_account() {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let run = NewRun {
        admission: Admission::Queue { deadline: None },
        ..starting(1)
    };
    let (id, account) = (run.id, run.account.clone());
    assert_eq!(store.create_run(run).await, Ok(Creation::Created));
    let options = sqlx::postgres::PgConnectOptions::from_str(&url).expect("a URL");
    let mut other = options.connect().await.expect("connects");
    let mut transaction = other.begin().await.expect("begins");
    sqlx::query("SELECT 1 FROM accounts WHERE account = 'acme' FOR UPDATE")
        .execute(&mut *transaction)
        .await
        .expect("locks");
    let telling = store.tell_positions(&account, Duration::ZERO, 10);
    let told = tokio::time::timeout(Duration::from_secs(60), telling).await;
    let told = told.expect("it does not wait for the account").expect("tells");
    assert_eq!(told.iter().map(|told| told.run).collect::<Vec<_>>(), [id]);
    transaction.rollback().await.expect("rolls back");
}
